//! At rest: what a running instance costs while nothing arrives.

use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_testkit::{Memory, Running};
use serde_json::json;

use crate::cli::Rest;
use crate::cpu::{self, Components, Seconds};
use crate::instance::Instance;
use crate::report::Report;
use crate::stack;

const COLUMNS: [&str; 3] = ["process", "share of one processor, %", "context switches a second"];
/// Of all databases of the cluster that the write side is in.
const COMMITS: &str = "SELECT sum(xact_commit)::bigint FROM pg_stat_database";

/// What had been used at one time.
struct Look {
    cpu: Seconds,
    switches: u64,
    commits: i64,
}

/// Measures a fresh instance.
pub(crate) async fn measure(instance: &Instance, options: &Rest) -> Result<Report> {
    instance.recreate().await?;
    let mut running = instance.start(&[], &[]).await?;
    instance.millrace(&["status", "--wait", "5m"]).await?;
    tokio::time::sleep(Duration::from_secs(options.quiet.into())).await;
    let (before, after) = looks(instance, options, &running).await?;
    running.check()?;
    let (memory, threads) = (running.memory()?, threads(running.pid())?);
    running.stop()?;
    Ok(report(instance, options, (&before, &after), memory, threads))
}

async fn looks(instance: &Instance, options: &Rest, running: &Running) -> Result<(Look, Look)> {
    let mut postgres = stack::database(instance.stack.write_database_url()).await?;
    let components = Components::find(&instance.stack).with("millrace", running.pid());
    let mut look = async || {
        let commits = sqlx::query_scalar(COMMITS).fetch_one(&mut postgres).await?;
        anyhow::Ok(Look { cpu: components.used()?, switches: switches(running.pid())?, commits })
    };
    let before = look().await?;
    tokio::time::sleep(Duration::from_secs(options.seconds.into())).await;
    Ok((before, look().await?))
}

fn threads(pid: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

/// Of all its threads that still live.
fn switches(pid: u32) -> Result<u64> {
    let of = |task: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        Ok(status.lines().filter_map(switched).sum::<u64>())
    };
    std::fs::read_dir(format!("/proc/{pid}/task"))?.map(of).sum::<std::io::Result<u64>>().context("threads")
}

fn switched(line: &str) -> Option<u64> {
    let (name, count) = line.split_once(':')?;
    if name.ends_with("voluntary_ctxt_switches") { count.trim().parse().ok() } else { None }
}

fn report(
    instance: &Instance,
    options: &Rest,
    (before, after): (&Look, &Look),
    memory: Memory,
    threads: usize,
) -> Report {
    let seconds = f64::from(options.seconds);
    let switches = after.switches.saturating_sub(before.switches) as f64 / seconds;
    let used = cpu::between(&before.cpu, &after.cpu);
    let row = |(name, used): (&&str, &f64)| {
        let switches = if *name == "millrace" { format!("{switches:.0}") } else { String::new() };
        vec![(*name).to_owned(), format!("{:.2}", used / seconds * 100.0), switches]
    };
    let commits = (after.commits - before.commits) as f64 / seconds;
    let note = format!(
        "Postgres commits {commits:.1} transactions a second. millrace run: {threads} threads, {:.0} MB resident.",
        memory.now_mb
    );
    let figures = json!({
        "settings": instance.settings(), "seconds": options.seconds, "cpu_seconds": used, "threads": threads, "memory": memory,
        "context_switches_per_second": switches, "commits_per_second": commits,
    });
    let title = format!("Nothing arrives for {seconds} s: every context and view, level");
    Report {
        title,
        columns: COLUMNS.to_vec(),
        rows: used.iter().map(row).collect(),
        notes: vec![note],
        figures,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_context_switches_count() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t5\n";
        assert_eq!(status.lines().filter_map(switched).sum::<u64>(), 12);
    }
}
