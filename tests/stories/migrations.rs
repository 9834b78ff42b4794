//! Tables have versions: what has none gets one and keeps its rows, what a later build has set up is left alone, and no
//! column is renamed under a process that uses it.

use millrace_store::indexes;
use millrace_store::migrations::{READ, WRITE, applied};
use millrace_store::{statements_of_the_read_side, statements_of_the_write_side};
use millrace_tests::Instance;
use millrace_tests::instance::pool;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Row as _, SqlSafeStr as _};

/// What builds without versions have set up.
const UNVERSIONED: [&str; 3] = [
    include_str!("../../processors/store/migrations/0001_both.sql"),
    include_str!("../../processors/store/migrations/0001_write.sql"),
    include_str!("../../processors/store/migrations/0001_read.sql"),
];

async fn run(pool: &PgPool, sql: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(pool).await.expect("SQL of the story");
}

/// Columns that later versions have under other names.
const RENAMED: [(&str, &str); 4] = [
    ("consumer_offset held_at ", "consumer_offset pause_at "),
    ("consumer_offset held_until ", "consumer_offset paused_until "),
    ("saga_step input ", "saga_step input_id "),
    ("saga_step heard ", "saga_step input "),
];

/// A line of a shape as it is after the last migration.
fn renamed(line: &str) -> String {
    let renamed = RENAMED.iter().find(|(old, _)| line.starts_with(old));
    let line = renamed.map_or(line.to_owned(), |(old, new)| line.replacen(old, new, 1));
    // Of the primary key.
    line.replace("(saga, instance, input)", "(saga, instance, input_id)")
}

/// Every table, column and index, and how many rows there are in one of them.
async fn shape(pool: &PgPool) -> Vec<String> {
    let shape = "SELECT concat_ws(' ', table_name, column_name, data_type, column_default) FROM information_schema.columns
                 WHERE table_schema = current_schema()
                 UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()
                 UNION ALL SELECT 'offsets ' || count(*) FROM consumer_offset ORDER BY 1";
    sqlx::query_scalar(shape).fetch_all(pool).await.expect("a shape")
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_a_version_get_one_keep_their_rows_and_fit_every_statement() {
    let schema = format!("m_{}", uuid::Uuid::now_v7().simple());
    let pool = pool("WRITE_DATABASE_URL", &schema);
    let write: Vec<&str> = statements_of_the_write_side().collect();
    let read: Vec<&str> = statements_of_the_read_side().collect();
    let sides = [(WRITE, indexes::WRITE, UNVERSIONED[1], write), (READ, indexes::READ, UNVERSIONED[2], read)];
    for (migrations, indexed, own, statements) in sides {
        run(&pool, format!("CREATE SCHEMA {schema}")).await;
        let mut connection = pool.acquire().await.expect("a connection");
        for statements in [UNVERSIONED[0], own] {
            run(&pool, statements).await;
        }
        run(&pool, "INSERT INTO consumer_offset VALUES ('g', 1, 't', 0, 1, 7, 7)").await;
        assert_eq!(applied(&mut connection).await.expect("a version"), 0);
        let before: Vec<String> = shape(&pool).await.iter().map(|line| renamed(line)).collect();
        for _ in 0..2 {
            migrations.apply(&mut connection).await.expect("migrations");
            assert_eq!(applied(&mut connection).await.expect("a version"), migrations.newest());
            indexes::create_small(&mut connection, indexed).await.expect("indexes");
            assert!(indexes::missing(&mut connection, indexed).await.expect("a look").is_empty());
        }
        let mut after = shape(&pool).await;
        after.retain(|line| !line.contains("_sqlx_migrations"));
        assert!(before.iter().all(|line| after.contains(line)), "all is there that was: {after:?}");
        // A fresh schema becomes the same.
        run(&pool, format!("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}")).await;
        migrations.apply(&mut connection).await.expect("migrations");
        // As on a table that is large.
        indexed[0].create_beside_writers(&mut connection).await.expect("an index");
        indexes::create_small(&mut connection, indexed).await.expect("indexes");
        run(&pool, "INSERT INTO consumer_offset VALUES ('g', 1, 't', 0, 1, 7, 7)").await;
        let mut fresh = shape(&pool).await;
        fresh.retain(|line| !line.contains("_sqlx_migrations"));
        assert_eq!(fresh, after);
        let mut unfit = Vec::new();
        for statement in &statements {
            let prepared = connection.prepare((*statement).into_sql_str()).await;
            unfit.extend(prepared.err().map(|error| format!("{error}: {statement}")));
        }
        assert!(unfit.is_empty(), "{}", unfit.join("\n"));
        those_that_read_all_of_a_table_are_known(&mut connection, &statements).await;
        run(&pool, format!("DROP SCHEMA {schema} CASCADE")).await;
    }
}

/// Tables that grow for ever.
const GROWING: [&str; 9] =
    ["outbox", "command", "stream", "saga", "saga_step", "effect", "progress", "dead_letter", "audit"];
/// What reads all of one, and may: lists whose filters are bound, so that an index fits once they are; what an operator seldom asks; a
/// look of the auditor at everything, and the first one of `status --wait`.
const READS_ALL: [&str; 6] = [
    "SELECT * FROM command",
    "its next record is",
    "FROM outbox WHERE id = $1",
    "SELECT DISTINCT ",
    "sum(version)",
    "SELECT topic, count(*) AS rows FROM outbox",
];

/// With indexes alone Postgres has nothing else for a statement that no index fits.
async fn those_that_read_all_of_a_table_are_known(
    connection: &mut PgConnection,
    statements: &[&'static str],
) {
    connection.execute("SET enable_seqscan = off").await.expect("a setting");
    let mut unknown = Vec::new();
    for statement in statements {
        let explain = AssertSqlSafe(format!("EXPLAIN (GENERIC_PLAN, COSTS off) {statement}"));
        let plan: Vec<String> = sqlx::raw_sql(explain).fetch_all(&mut *connection).await.map_or_else(
            |error| vec![format!("{error}")],
            |rows| rows.iter().map(|row| row.get::<String, _>(0)).collect(),
        );
        let reads_all = |line: &&String| {
            GROWING.iter().any(|table| {
                line.trim_start_matches([' ', '-', '>']).starts_with(&format!("Seq Scan on {table}"))
            })
        };
        if let Some(line) = plan.iter().find(reads_all)
            && !READS_ALL.iter().any(|known| statement.contains(known))
        {
            unknown.push(format!("{}: {statement}", line.trim()));
        }
    }
    connection.execute("RESET enable_seqscan").await.expect("a setting");
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

/// Neither `setup` nor `run` of this build touches tables of a later one.
pub(crate) async fn tables_of_a_later_build_are_left_alone(instance: &Instance) {
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (1000, 'of a later build', true, '', 0)";
    run(&instance.read, later).await;
    run(&instance.read, "ALTER TABLE replay RENAME COLUMN reason TO why").await;
    let before = shape(&instance.read).await;
    for command in ["setup", "run"] {
        let told = instance.millrace(&[command]).await;
        told.expect_code(1).expect_told("tables of version 1000").expect_told("this build is too old");
    }
    assert_eq!(shape(&instance.read).await, before);
    run(&instance.read, "ALTER TABLE replay RENAME COLUMN why TO reason").await;
    run(&instance.read, "DELETE FROM _sqlx_migrations WHERE version = 1000").await;
    let again = instance.millrace(&["setup"]).await;
    again.expect_success().expect_told("are as they should be");
    columns_are_not_renamed_while_a_process_is_connected(instance).await;
}

/// As an instance from before the columns were renamed, one of whose processes runs.
async fn columns_are_not_renamed_while_a_process_is_connected(instance: &Instance) {
    for (new, old) in [("pause_at", "held_at"), ("paused_until", "held_until")] {
        run(&instance.read, format!("ALTER TABLE consumer_offset RENAME COLUMN {new} TO {old}")).await;
    }
    run(&instance.read, "DROP TABLE deployed").await;
    run(&instance.read, "DELETE FROM _sqlx_migrations WHERE version >= 3").await;
    let before = shape(&instance.read).await;
    let mut process = instance.read.acquire().await.expect("a session").detach();
    let name = format!("SET application_name = '{}'", instance.session_name());
    process.execute(AssertSqlSafe(name)).await.expect("a name");
    let refused = instance.millrace(&["setup"]).await;
    refused.expect_code(1).expect_told("(sessions: 1)").expect_told("stop every `millrace` process");
    assert_eq!(shape(&instance.read).await, before);
    process.close().await.expect("the process ends");
    let again = instance.millrace(&["setup"]).await;
    again.expect_success().expect_told("created  read side        migration 3 (pause points)");
}
