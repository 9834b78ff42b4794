//! Tables have versions: what has none gets one and stays as it is, and what a later build has set up is left alone.

use millrace_store::migrations::{READ, WRITE, applied};
use millrace_store::{statements_of_the_read_side, statements_of_the_write_side};
use millrace_tests::Instance;
use millrace_tests::instance::pool;
use sqlx::{AssertSqlSafe, Executor as _, PgPool, SqlSafeStr as _};

/// What builds without versions have set up.
const UNVERSIONED: [&str; 3] = [
    include_str!("../../processors/store/migrations/0001_both.sql"),
    include_str!("../../processors/store/migrations/0001_write.sql"),
    include_str!("../../processors/store/migrations/0001_read.sql"),
];

async fn run(pool: &PgPool, sql: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(pool).await.expect("SQL of the story");
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
async fn tables_without_a_version_get_one_stay_as_they_are_and_fit_every_statement() {
    let schema = format!("m_{}", uuid::Uuid::now_v7().simple());
    let pool = pool("WRITE_DATABASE_URL", &schema);
    let write: Vec<&str> = statements_of_the_write_side().collect();
    let read: Vec<&str> = statements_of_the_read_side().collect();
    for (migrations, own, statements) in [(WRITE, UNVERSIONED[1], write), (READ, UNVERSIONED[2], read)] {
        run(&pool, format!("CREATE SCHEMA {schema}")).await;
        let mut connection = pool.acquire().await.expect("a connection");
        for statements in [UNVERSIONED[0], own] {
            run(&pool, statements).await;
        }
        run(&pool, "INSERT INTO consumer_offset VALUES ('g', 1, 't', 0, 1, 7, 7)").await;
        assert_eq!(applied(&mut connection).await.expect("a version"), 0);
        let before = shape(&pool).await;
        for _ in 0..2 {
            migrations.apply(&mut connection).await.expect("migrations");
            assert_eq!(applied(&mut connection).await.expect("a version"), migrations.newest());
        }
        let mut after = shape(&pool).await;
        after.retain(|line| !line.contains("_sqlx_migrations"));
        assert!(before.iter().all(|line| after.contains(line)), "all is there that was: {after:?}");
        // A fresh schema becomes the same.
        run(&pool, format!("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}")).await;
        migrations.apply(&mut connection).await.expect("migrations");
        run(&pool, "INSERT INTO consumer_offset VALUES ('g', 1, 't', 0, 1, 7, 7)").await;
        let mut fresh = shape(&pool).await;
        fresh.retain(|line| !line.contains("_sqlx_migrations"));
        assert_eq!(fresh, after);
        let mut unfit = Vec::new();
        for statement in statements {
            let prepared = connection.prepare(statement.into_sql_str()).await;
            unfit.extend(prepared.err().map(|error| format!("{error}: {statement}")));
        }
        assert!(unfit.is_empty(), "{}", unfit.join("\n"));
        run(&pool, format!("DROP SCHEMA {schema} CASCADE")).await;
    }
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
    again.expect_success().expect_told("there    read side        migration 1 (tables)");
}
