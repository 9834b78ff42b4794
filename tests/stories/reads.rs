//! What statements of workers read: as much as they return, whatever the tables have.

use std::time::Duration;

use millrace_store::database::worker_pool;
use millrace_store::migrations::WRITE;
use millrace_store::names::Namespace;
use millrace_store::saga_timer;
use millrace_tests::instance::pool;
use millrace_tests::stack;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

/// Due since yesterday; their instances wait for commands that were carried long ago.
const OVERDUE: &str = "INSERT INTO saga_timer (saga, instance, name, due_at)
    SELECT 's', 'overdue-' || i, 't', now() - interval '1 day' + i * interval '1 ms' FROM generate_series(1, 5000) AS i";
/// At rest until a time of the calendar.
const RESTING: &str = "INSERT INTO saga_timer (saga, instance, name, due_at, by_calendar)
    SELECT 's', 'resting-' || i, 't', now() + interval '10 s', true FROM generate_series(1, 5000) AS i";
/// Its command was sent just now.
const SOON: &str = "INSERT INTO saga_timer (saga, instance, name, due_at) VALUES ('s', 'soon-1', 't', now() + interval '10 s')";
const INSTANCES: &str = "INSERT INTO saga (saga, instance, version, state_version, state, standing, ended, awaiting, sent, sent_at)
    SELECT saga, instance, 1, 1, '{}', 'x', false, CASE WHEN by_calendar THEN '{}' ELSE '{\"id\": \"Command\"}' END::json, '{}',
           CASE WHEN instance NOT LIKE 'soon-%' THEN '0/1'::pg_lsn END
    FROM saga_timer";
const READ: &str =
    "SELECT (coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables
    WHERE schemaname = current_schema() AND relname = 'saga'";

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_timers_reads_no_more_instances_than_it_may_return_however_many_are_overdue() {
    let schema = format!("r_{}", uuid::Uuid::now_v7().simple());
    let tables = pool("WRITE_DATABASE_URL", &schema);
    run(&tables, format!("CREATE SCHEMA {schema}")).await;
    WRITE.apply(&mut tables.acquire().await.expect("a connection")).await.expect("migrations");
    for rows in [OVERDUE, RESTING, SOON, INSTANCES] {
        run(&tables, rows.to_owned()).await;
    }
    let namespace = Namespace::new(&schema).expect("a namespace");
    let url = stack().address("WRITE_DATABASE_URL");
    let (workers, _) = worker_pool(url, &namespace, Duration::from_secs(60), 1).expect("a Postgres URL");
    // What the planner knows makes no difference.
    for analyse in [false, true] {
        if analyse {
            run(&tables, "ANALYZE saga; ANALYZE saga_timer".to_owned()).await;
        }
        let mut look = workers.begin().await.expect("a transaction");
        let before = read(&mut look).await;
        let soon = saga_timer::soon(&mut *look, "s", Duration::from_secs(15), 200).await.expect("instances");
        assert_eq!((soon, read(&mut look).await - before), (vec!["soon-1".to_owned()], 1));
        let due = saga_timer::instances_due(&mut look, "s", (1, 1), 3, 200).await.expect("instances");
        assert_eq!((due.len(), due[0].as_str()), (200, "overdue-1"));
        let read = read(&mut look).await - before;
        assert!(read <= 201, "{read} instances were read");
    }
    run(&tables, format!("DROP SCHEMA {schema} CASCADE")).await;
}

async fn run(pool: &PgPool, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.expect("SQL of the story");
}

/// The rows of `saga` that this session has read lately.
async fn read(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(READ).fetch_one(connection).await.expect("a count")
}
