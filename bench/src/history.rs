//! History: what operators and the auditor ask, and how fast commands are decided, without and with very many events.
//!
//! The events are put into the outbox and onto their topic at once, before there is a replication slot: Debezium carries none of them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use millrace_schemas::Message as _;
use serde::Serialize;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::cli::{History, Order};
use crate::drain::offsets::{Offsets, Side};
use crate::instance::{Instance, PATIENCE};
use crate::load::{self, Step, customers, steps};
use crate::preload::{self, Encoder};
use crate::report::{Report, whole};
use crate::stack::database;

const COLUMNS: [&str; 7] = [
    "events",
    "status s",
    "commands s",
    "commands --stream s",
    "verify s",
    "verify --incremental s",
    "commands/s",
];
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Rows that are copied at a time.
const AT_ONCE: usize = 20_000;

/// What was measured with so many events.
#[derive(Debug, Serialize)]
struct Measured {
    events: u64,
    /// Seconds of each question.
    status: f64,
    commands: f64,
    commands_of_stream: f64,
    verify: f64,
    incremental: f64,
    commands_per_second: f64,
}

/// Measures an instance without events, then one with all of them.
pub(crate) async fn measure(instance: &Instance, options: &History) -> Result<Report> {
    let instance = &instance.with("contexts=[\"customers\"]");
    let mut measured = Vec::new();
    for events in [0, options.events] {
        measured.push(point(instance, options, events / customers::VERSIONS).await?);
    }
    let notes =
        vec!["`verify` is the first look, `verify --incremental` the second of two after it.".to_owned()];
    let rows = measured.iter().map(Measured::row).collect();
    let title = "What grows with history".to_owned();
    let figures = json!({"settings": instance.settings(), "points": measured});
    Ok(Report { title, columns: COLUMNS.to_vec(), rows, notes, figures })
}

async fn point(instance: &Instance, options: &History, streams: u64) -> Result<Measured> {
    instance.recreate().await?;
    if streams > 0 {
        fill(instance, streams).await?;
    }
    let running = instance.start(&[], &[]).await?;
    instance.millrace(&["status", "--wait", "2h"]).await?;
    let some = customers::customer(Step { stream: streams / 2, version: 1 });
    let status = seconds(instance, &["status"]).await?;
    let commands = seconds(instance, &["commands"]).await?;
    let commands_of_stream = seconds(instance, &["commands", "--stream", &some]).await?;
    let verify = seconds(instance, &["verify"]).await?;
    seconds(instance, &["verify", "--incremental"]).await?;
    let incremental = seconds(instance, &["verify", "--incremental"]).await?;
    running.stop()?;
    let commands_per_second = drain(instance, streams, options.commands).await?;
    let events = streams * customers::VERSIONS;
    Ok(Measured { events, status, commands, commands_of_stream, verify, incremental, commands_per_second })
}

/// How long a command of the program takes, whatever it says: without events there is no stream to be found.
async fn seconds(instance: &Instance, arguments: &[&str]) -> Result<f64> {
    let began = Instant::now();
    let output = instance.run(arguments, &[]).await?;
    let taken = began.elapsed().as_secs_f64();
    let told = String::from_utf8_lossy(&output.stderr);
    let must = arguments.first() == Some(&"verify");
    ensure!(!must || output.status.success(), "millrace {}: {told}", arguments.join(" "));
    eprintln!("millrace {}: {taken:.2} s", arguments.join(" "));
    Ok(taken)
}

/// New customers are registered, a second.
async fn drain(instance: &Instance, first: u64, commands: u64) -> Result<f64> {
    instance.stop_debezium().await?;
    let mut offsets = Offsets::watch(instance, Side::Write, "commands").await?;
    let registrations = (first..first + commands).map(|stream| Step { stream, version: 1 });
    preload::customer_steps(instance, registrations).await?;
    let mut running = instance.start(&["commands"], &["elasticsearch.publish=false".to_owned()]).await?;
    let from = offsets.at_least(commands / 10, &mut running).await?;
    let to = offsets.at_least(commands, &mut running).await?;
    running.stop()?;
    Ok((to.records - from.records) as f64 / to.at.duration_since(from.at).as_secs_f64())
}

/// Puts events into the outbox, the ledger and the streams as if they had been decided, and onto their topic as if they had been carried.
async fn fill(instance: &Instance, streams: u64) -> Result<()> {
    instance.remove_debezium().await?;
    let mut write = database(instance.stack.write_database_url()).await?;
    let schema = &instance.name;
    drop_slot(&mut write, &format!("{schema}_outbox")).await?;
    execute(&mut write, format!("SET search_path = \"{schema}\"")).await?;
    let encoder = Encoder::new(&instance.stack).learn("CustomerRegistered").await?;
    let encoder = encoder.learn("CustomerDetailsChanged").await?;
    let all: Vec<Step> = steps(0..streams, customers::VERSIONS, Order::Together).collect();
    for steps in all.chunks(AT_ONCE) {
        copy(&mut write, OUTBOX, lines(steps, |step| outbox(instance, &encoder, step))?).await?;
        copy(&mut write, COMMAND, lines(steps, |step| Ok(command(instance, step)))?).await?;
    }
    let streams_of = "INSERT INTO stream (context, id, version, state_version)
                      SELECT aggregatetype, aggregateid, max(version), 0 FROM outbox GROUP BY 1, 2";
    execute(&mut write, streams_of.to_owned()).await?;
    execute(&mut write, "VACUUM ANALYZE outbox, command, stream".to_owned()).await?;
    preload::customer_events(instance, 0..streams, Order::Together).await?;
    instance.millrace(&["setup"]).await
}

/// Once the connector has let go of it.
async fn drop_slot(connection: &mut PgConnection, name: &str) -> Result<()> {
    let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active";
    let there = "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)";
    let until = Instant::now() + PATIENCE;
    loop {
        sqlx::query(drop).bind(name).execute(&mut *connection).await?;
        if !sqlx::query_scalar::<_, bool>(there).bind(name).fetch_one(&mut *connection).await? {
            return Ok(());
        }
        ensure!(Instant::now() < until, "the connector does not let go of the slot {name}");
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

const OUTBOX: &str =
    "COPY outbox (id, aggregatetype, aggregateid, type, payload, topic, version, command_id, occurred_at)
     FROM STDIN WITH (FORMAT csv)";
const COMMAND: &str =
    "COPY command (id, source, fingerprint, type, context, stream, topic, partition, \"offset\", status,
                                     versions, received_at) FROM STDIN WITH (FORMAT csv)";

fn lines(steps: &[Step], line: impl Fn(Step) -> Result<String>) -> Result<String> {
    steps.iter().map(|step| line(*step)).collect()
}

fn outbox(instance: &Instance, encoder: &Encoder<'_>, step: Step) -> Result<String> {
    let (event, customer) = (customers::event(step), customers::customer(step));
    let id = load::event_id(&customer, step.version);
    let mut payload = String::new();
    for byte in encoder.encode(&event)? {
        write!(payload, "{byte:02x}")?;
    }
    let (name, topic) = (event.full_name(), instance.topic("evt", "customers"));
    let (version, cause, (time, _)) = (step.version, cause(step), load::time(step));
    Ok(format!("{id},customers,{customer},{name},\\x{payload},{topic},{version},{cause},{time}\n"))
}

fn command(instance: &Instance, step: Step) -> String {
    let (customer, topic, version) =
        (customers::customer(step), instance.topic("cmd", "customers"), step.version);
    let (name, cause, (time, _)) = (customers::command(step).full_name(), cause(step), load::time(step));
    format!(
        "{cause},bench,\\x00,{name},customers,{customer},{topic},0,{},completed,\"{{\"\"customers/{customer}\"\": {version}}}\",{time}\n",
        customers::number(step)
    )
}

/// The id of the command that led to a step.
fn cause(step: Step) -> uuid::Uuid {
    load::id("history", customers::number(step))
}

async fn copy(connection: &mut PgConnection, statement: &str, lines: String) -> Result<()> {
    let mut copy = connection.copy_in_raw(statement).await?;
    copy.send(lines.into_bytes()).await?;
    copy.finish().await?;
    Ok(())
}

async fn execute(connection: &mut PgConnection, sql: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

impl Measured {
    fn row(&self) -> Vec<String> {
        let questions = [self.status, self.commands, self.commands_of_stream, self.verify, self.incremental];
        let questions = questions.map(|seconds| format!("{seconds:.2}"));
        let ends = [whole(self.commands_per_second)];
        [whole(self.events as f64)].into_iter().chain(questions).chain(ends).collect()
    }
}
