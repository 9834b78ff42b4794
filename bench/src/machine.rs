//! The machine of the measurement.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use millrace_testkit::Stack;
use serde_json::{Value, json};

use crate::cpu;
use crate::stack::database;

const LOOK: Duration = Duration::from_secs(1);
/// Below this share of idle time before the start, figures are not reliable.
const IDLE_MIN: f64 = 0.85;

/// Postgres's settings that a throughput rests on.
const POSTGRES: &str = "SELECT json_object_agg(name, setting)::text FROM pg_settings WHERE name IN
    ('server_version', 'fsync', 'synchronous_commit', 'wal_level', 'shared_buffers', 'max_wal_size', 'full_page_writes')";

/// Warns when other programs use this machine.
pub(crate) async fn warn_when_busy() -> Result<()> {
    let before = cpu::machine_stat()?;
    tokio::time::sleep(LOOK).await;
    let idle = cpu::idle_share(&before, &cpu::machine_stat()?).unwrap_or(0.0);
    if idle < IDLE_MIN {
        eprintln!(
            "warning: the machine is only {:.0} % idle before the start: these figures are no measurement",
            idle * 100.0
        );
    }
    Ok(())
}

/// The machine, the stack's settings and the code.
pub(crate) async fn describe(stack: &Stack) -> Result<Value> {
    let mut connection = database(stack.write_database_url()).await?;
    let postgres: String = sqlx::query_scalar(POSTGRES).fetch_one(&mut connection).await?;
    let elasticsearch = stack
        .elasticsearch(
            reqwest::Method::GET,
            "_nodes/_local/jvm?filter_path=nodes.*.version,nodes.*.jvm.mem.heap_max_in_bytes",
            None,
        )
        .await?;
    Ok(json!({
        "at": chrono::Utc::now().to_rfc3339(),
        "commit": output("git", &["describe", "--always", "--dirty"]),
        "processors": std::thread::available_parallelism()?.get(),
        "processor": line_of("/proc/cpuinfo", "model name"),
        "memory": line_of("/proc/meminfo", "MemTotal"),
        "kernel": output("uname", &["-r"]),
        "postgres": serde_json::from_str::<Value>(&postgres)?,
        "elasticsearch": elasticsearch,
    }))
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn line_of(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
