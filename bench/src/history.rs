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
use millrace_testkit::Patience;

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
        measured.push(point(instance, options, events / options.versions).await?);
    }
    let looks = "`verify` is the first look, `verify --incremental` the second of two after it.";
    let mut notes = vec![looks.to_owned()];
    if !options.views.is_empty() {
        notes.push(format!(
            "Only these views work, and nothing else is verified: {}.",
            options.views.join(", ")
        ));
    }
    let rows = measured.iter().map(Measured::row).collect();
    let title = "What grows with history".to_owned();
    let figures = json!({"settings": instance.settings(), "points": measured});
    Ok(Report { title, columns: COLUMNS.to_vec(), rows, notes, figures })
}

async fn point(instance: &Instance, options: &History, streams: u64) -> Result<Measured> {
    instance.recreate().await?;
    if streams > 0 {
        fill(instance, options, streams).await?;
    }
    let views: Vec<&str> = options.views.iter().map(String::as_str).collect();
    let running = instance.start(&roles(&views), &[]).await?;
    caught_up(instance, &views, streams * options.versions).await?;
    let some = customers::customer(Step { stream: streams / 2, version: 1 });
    let status = seconds(instance, &["status"]).await?;
    let commands = seconds(instance, &["commands"]).await?;
    let commands_of_stream = seconds(instance, &["commands", "--stream", &some]).await?;
    let verify = seconds(instance, &[&["verify"][..], &views].concat()).await?;
    let incremental = [&["verify", "--incremental"][..], &views].concat();
    seconds(instance, &incremental).await?;
    let incremental = seconds(instance, &incremental).await?;
    running.stop()?;
    let commands_per_second = drain(instance, streams, options.commands).await?;
    let events = streams * options.versions;
    Ok(Measured { events, status, commands, commands_of_stream, verify, incremental, commands_per_second })
}

/// The roles that work: only these views, or everything.
fn roles<'v>(views: &[&'v str]) -> Vec<&'v str> {
    match views {
        [] => Vec::new(),
        some => [&["view"][..], some].concat(),
    }
}

/// Waits until all views have applied these events, or those that work.
async fn caught_up(instance: &Instance, views: &[&str], events: u64) -> Result<()> {
    if views.is_empty() {
        return instance.millrace(&["status", "--wait", "2h"]).await;
    }
    let mut read = database(instance.stack.read_database_url()).await?;
    execute(&mut read, format!("SET search_path = \"{}\"", instance.name)).await?;
    let groups: Vec<String> = views.iter().map(|view| instance.group(view)).collect();
    let least = "SELECT coalesce(min(applied), 0)::bigint FROM (
                     SELECT sum(applied) AS applied FROM unnest($1::text[]) AS wanted(grp) LEFT JOIN consumer_offset USING (grp)
                     GROUP BY grp) AS of_group";
    let mut patience = Patience::new(PATIENCE);
    loop {
        let applied: i64 = sqlx::query_scalar(least).bind(&groups).fetch_one(&mut read).await?;
        if u64::try_from(applied)? >= events {
            return Ok(());
        }
        ensure!(!patience.ends(applied), "the views stay at {applied} of {events} events");
        tokio::time::sleep(ASK_AGAIN).await;
    }
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
async fn fill(instance: &Instance, options: &History, streams: u64) -> Result<()> {
    instance.remove_debezium().await?;
    let mut write = database(instance.stack.write_database_url()).await?;
    let schema = &instance.name;
    drop_slot(&mut write, &format!("{schema}_outbox")).await?;
    execute(&mut write, format!("SET search_path = \"{schema}\"")).await?;
    let encoder = Encoder::new(&instance.stack).learn("CustomerRegistered").await?;
    let encoder = encoder.learn("CustomerDetailsChanged").await?;
    let indexes = without_indexes(&mut write).await?;
    let (of, began) = (options.of_command, Instant::now());
    let mut all = steps(0..streams, options.versions, Order::Together).peekable();
    while all.peek().is_some() {
        let steps: Vec<Step> = all.by_ref().take(AT_ONCE).collect();
        copy(&mut write, OUTBOX, lines(&steps, |step| outbox(instance, &encoder, step, of))?).await?;
        let last: Vec<Step> = steps.into_iter().filter(|step| cause(*step, of) == own(*step)).collect();
        copy(&mut write, COMMAND, lines(&last, |step| Ok(command(instance, step)))?).await?;
    }
    eprintln!("rows: {:.0} s", began.elapsed().as_secs_f64());
    execute(&mut write, format!("SET maintenance_work_mem = '512MB'; {indexes}")).await?;
    let streams_of = "INSERT INTO stream (context, id, version, state_version)
                      SELECT aggregatetype, aggregateid, max(version), 0 FROM outbox GROUP BY 1, 2";
    execute(&mut write, streams_of.to_owned()).await?;
    execute(&mut write, "VACUUM ANALYZE outbox, command, stream".to_owned()).await?;
    eprintln!("with indexes: {:.0} s", began.elapsed().as_secs_f64());
    preload::customer_versions(instance, 0..streams, options.versions).await?;
    eprintln!("with records: {:.0} s", began.elapsed().as_secs_f64());
    instance.millrace(&["setup"]).await
}

/// Drops the indexes of the tables that are filled, since filling them row by row takes several times as long; returns the
/// statements that create them again.
async fn without_indexes(connection: &mut PgConnection) -> Result<String> {
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "SELECT indexname::text, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename IN ('outbox', 'command')
         AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = to_regclass(indexname))",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (name, _) in &indexes {
        execute(connection, format!("DROP INDEX \"{name}\"")).await?;
    }
    Ok(indexes.into_iter().map(|(_, create)| create).collect::<Vec<_>>().join("; "))
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

fn outbox(instance: &Instance, encoder: &Encoder<'_>, step: Step, of_command: u64) -> Result<String> {
    let (event, customer) = (customers::event(step), customers::customer(step));
    let id = load::event_id(&customer, step.version);
    let mut payload = String::new();
    for byte in encoder.encode(&event)? {
        write!(payload, "{byte:02x}")?;
    }
    let (name, topic) = (event.full_name(), instance.topic("evt", "customers"));
    let (version, cause, (time, _)) = (step.version, cause(step, of_command), load::time(step));
    Ok(format!("{id},customers,{customer},{name},\\x{payload},{topic},{version},{cause},{time}\n"))
}

fn command(instance: &Instance, step: Step) -> String {
    let (customer, topic, version) =
        (customers::customer(step), instance.topic("cmd", "customers"), step.version);
    let (name, cause, (time, _)) = (customers::command(step).full_name(), own(step), load::time(step));
    format!(
        "{cause},bench,\\x00,{name},customers,{customer},{topic},0,{},completed,\"{{\"\"customers/{customer}\"\": {version}}}\",{time}\n",
        customers::number(step)
    )
}

/// The id of the command that led to a step, if each has led to so many: that of the last of them.
fn cause(step: Step, of_command: u64) -> uuid::Uuid {
    own(Step { version: step.version.div_ceil(of_command) * of_command, ..step })
}

/// The id of a command that led to this step at last.
fn own(step: Step) -> uuid::Uuid {
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
