//! Retention of tables with many rows: what it reads, and several processes that remove at once.

use std::collections::BTreeMap;

use millrace_tests::kafka::{Raw, delete_records, produce};
use millrace_tests::outcome::Outcome;
use millrace_tests::stack::connect;
use millrace_tests::{Instance, becomes};
use reqwest::Method;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};

use crate::faults::connector;
use crate::{beside_others, instance_with};

/// Rows of each kind that are too old, and rows that are not.
const OLD: i64 = 6_000;
const YOUNG: i64 = 12_000;
const STEPS: i64 = 3;
const KEPT: [&str; 14] = [
    "--set",
    "topics.command_retention=1m",
    "--set",
    "retention.receipts=10m",
    "--set",
    "retention.outbox=10m",
    "--set",
    "retention.saga_steps=10m",
    "--set",
    "retention.effect_bodies=10m",
    "--set",
    "retention.dead_letters=10m",
    "--set",
    "retention.audit=10m",
];
/// Rows of the write side with a name ($1), so many ($2), of this age ($3). Kafka still has what the outbox has sent: on partition 1.
const WRITE: [&str; 5] = [
    "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, topic, command_id, occurred_at)
     SELECT md5($1 || i)::uuid, 'catalog', 'p-' || i, 'T', 'x', current_schema() || '.cmd.catalog.v1', 'c', now() - $3 - i * interval '1 ms' FROM generate_series(1, $2) AS i",
    "INSERT INTO command (id, source, fingerprint, type, context, stream, topic, partition, \"offset\", status, received_at, decided_at)
     SELECT id, source, '', 'T', 'catalog', 'p', current_schema() || '.cmd.catalog.v1', partition, i % 3, 'completed', now() - $3 - i * interval '1 ms', now() - $3 - i * interval '1 ms'
     FROM generate_series(1, $2) AS i,
          LATERAL (VALUES (md5($1 || i)::uuid::text, '/' || current_schema(), 1), ('up-' || $1 || i, '/up', 0)) AS own(id, source, partition)",
    "INSERT INTO saga (saga, instance, version, state_version, state, standing, ended, awaiting, sent, started_at, updated_at)
     SELECT 'checkout', $1 || i, 3, 1, '{}', 'placed', true, '{}', '{}', now() - $3 - i * interval '1 ms', now() - $3 - i * interval '1 ms' FROM generate_series(1, $2) AS i",
    "INSERT INTO saga_step (saga, instance, input_id, number, input, standing, sent, at)
     SELECT 'checkout', $1 || i, $1 || i || '-' || n, n, 'E', 'placed', '[]', now() - $3 - i * interval '1 ms'
     FROM generate_series(1, $2) AS i, generate_series(1, 3) AS n",
    "INSERT INTO effect (effect, key, context, stream, version, event_id, request, status, attempts, ended_at)
     SELECT 'mail', md5($1 || i)::uuid, 'catalog', 'p-' || i, 1, 'e', '{\"body\": \"x\"}', 'done', 1, now() - $3 - i * interval '1 ms'
     FROM generate_series(1, $2) AS i",
];
/// Those of both sides; every second letter was discarded.
const BOTH: [&str; 2] = [
    "INSERT INTO dead_letter (grp, generation, topic, partition, \"offset\", code, message, attempts, status, failed_at, settled_at)
     SELECT current_schema() || '.commands', 1, current_schema() || '.cmd.catalog.v1', 0, i % 3, 'x', $1, 1,
            CASE i % 2 WHEN 0 THEN 'redriven' ELSE 'discarded' END, now() - $3 - i * interval '1 ms', now() - $3 - i * interval '1 ms' FROM generate_series(1, $2) AS i",
    "INSERT INTO audit (who, action, subject, why, details, at) SELECT 'story', 'a', $1, 'y', '{}', now() - $3 - i * interval '1 ms' FROM generate_series(1, $2) AS i",
];
const APPLIED: &str =
    "INSERT INTO consumer_offset (grp, generation, topic, partition, epoch, applied, published)
    VALUES (current_schema() || '.commands', 1, current_schema() || '.cmd.catalog.v1', 0, 1, 3, 3)";
const READ: &str =
    "SELECT relname::text, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
    WHERE schemaname = current_schema()
      AND relname IN ('outbox', 'command', 'saga', 'saga_step', 'effect', 'dead_letter', 'audit')";
/// Of the sessions by which one process excludes the others.
const TAKE_THE_LOCK: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND state = 'idle'
      AND (classid::bigint << 32 | objid::bigint) = hashtextextended('millrace prune ' || current_schema() || '.all', 0)";

#[tokio::test(flavor = "multi_thread")]
async fn removal_reads_what_it_removes_and_several_at_once_remove_each_row_once() {
    let _turn = beside_others().await;
    let instance = instance_with("pruners", &[("contexts", r#"["catalog"]"#)]).await;
    // The rows are nothing for Kafka.
    connect(Method::DELETE, &connector(&instance)).await;
    kafka_has_deleted_three_records(&instance).await;
    sqlx::query(APPLIED).execute(&instance.write).await.expect("an offset");
    write(&instance, "young", YOUNG, "0").await;
    write(&instance, "old", OLD, "1 hour").await;

    let before = read(&instance.write).await;
    let alone = instance.millrace(&pruning()).await;
    assert_eq!(removed(&[alone]), of_each_kind());
    for (table, rows) in read(&instance.write).await {
        let (rows, most) = (rows - before[&table], 4 * OLD);
        assert!(rows < most, "{rows} rows of {table} were read to remove {OLD}");
    }

    write(&instance, "later", OLD, "1 hour").await;
    let (a, b, c) = at_once(&instance).await;
    assert!([&a, &b, &c].iter().all(|one| rows(one).values().sum::<i64>() > 0), "each has removed something");
    assert_eq!(removed(&[a, b, c]), of_each_kind());
    each_left_its_mark_once(&instance).await;
}

/// A row of the ledger that Kafka does not have any more may go.
async fn kafka_has_deleted_three_records(instance: &Instance) {
    let commands = instance.topic("cmd", "catalog");
    produce(&commands, Some(0), &[Raw::value("a"), Raw::value("b"), Raw::value("c")]).await;
    delete_records(&commands, &[0], None).await;
}

async fn write(instance: &Instance, name: &str, rows: i64, age: &str) {
    let (name, age) = (format!("'{name}'"), format!("interval '{age}'"));
    let of_write = WRITE.iter().chain(&BOTH).map(|statement| (statement, &instance.write));
    for (statement, pool) in of_write.chain(BOTH.iter().map(|statement| (statement, &instance.read))) {
        let statement = statement.replace("$1", &name).replace("$2", &rows.to_string()).replace("$3", &age);
        sqlx::query(AssertSqlSafe(statement)).execute(pool).await.expect("rows");
    }
}

/// The rows of each table that were read since the beginning, as Postgres counts them.
async fn read(write: &PgPool) -> BTreeMap<String, i64> {
    let mut connection = write.acquire().await.expect("a connection");
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *connection).await.expect("a flush");
    let read: Vec<(String, i64)> = sqlx::query_as(READ).fetch_all(&mut *connection).await.expect("counts");
    read.into_iter().collect()
}

fn pruning() -> Vec<&'static str> {
    [&["prune", "--format", "json"][..], &KEPT].concat()
}

/// Three processes, whose batches are slow. Each has lost the lock that would exclude the next one.
async fn at_once(instance: &Instance) -> (Outcome, Outcome, Outcome) {
    let all = async { tokio::join!(slowly(instance), slowly(instance), slowly(instance)) };
    let taking = async {
        loop {
            let taken = sqlx::query(TAKE_THE_LOCK).execute(&instance.write).await;
            taken.expect("the sessions with the lock");
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        all = all => all,
        never = taking => never,
    }
}

async fn slowly(instance: &Instance) -> Outcome {
    loop {
        let slow = [("FAILPOINTS", "before-commit=sleep(100)")];
        let outcome = instance.millrace_with(&pruning(), &slow).await;
        if !outcome.stderr.contains("another process removes what is old enough") {
            return outcome;
        }
    }
}

/// What a process tells that it has removed, by kind and side.
fn rows(outcome: &Outcome) -> BTreeMap<String, i64> {
    let told = outcome.expect_success().json();
    let rows = told["removed"].as_array().expect("rows").iter();
    let name = |row: &Value| format!("{} {}", row["kind"], row["side"]).replace('"', "");
    rows.map(|row| (name(row), row["rows"].as_i64().expect("a number"))).collect()
}

fn removed(outcomes: &[Outcome]) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    for (name, rows) in outcomes.iter().flat_map(rows) {
        *all.entry(name).or_default() += rows;
    }
    all
}

/// Receipts of commands that the outbox still has stay for the time being.
fn of_each_kind() -> BTreeMap<String, i64> {
    let each =
        ["receipts write", "outbox write", "effect-bodies write", "dead-letters write", "dead-letters read"];
    let each = each.into_iter().chain(["audit write", "audit read"]).map(|name| (name.to_owned(), OLD));
    each.chain([("saga-steps write".to_owned(), STEPS * OLD)]).collect()
}

async fn each_left_its_mark_once(instance: &Instance) {
    let (twice, young) = (2 * OLD, YOUNG);
    for (count, expected) in [
        ("SELECT count(*) FROM outbox", young),
        ("SELECT sum(rows)::bigint FROM outbox_pruned", twice),
        ("SELECT count(*) FROM command WHERE source = '/up'", young),
        ("SELECT count(*) FROM saga WHERE NOT has_steps AND cardinality(answered) = 3", twice),
        ("SELECT count(*) FROM saga WHERE has_steps AND answered IS NULL", young),
        ("SELECT count(*) FROM effect WHERE NOT has_bodies AND request::text = 'null'", twice),
        ("SELECT count(*) FROM effect WHERE has_bodies", young),
        ("SELECT below FROM pruned WHERE grp = current_schema() || '.commands' AND partition = 0", 3),
        ("SELECT count(*) FROM pruned", 1),
    ] {
        becomes(&instance.write, count, expected).await;
    }
    for pool in [&instance.write, &instance.read] {
        becomes(pool, "SELECT count(*) FROM dead_letter", young).await;
        becomes(pool, "SELECT count(*) FROM audit WHERE who = 'story'", young).await;
    }
}
