//! Setup beside sessions that keep their transactions open: writers, and readers of a table that a migration alters.

use millrace_store::migrations::WRITE;
use millrace_tests::load::register;
use millrace_tests::locks::Foreign;
use millrace_tests::stack::connect;
use millrace_tests::{Instance, Process, becomes, eventually};
use reqwest::Method;
use sqlx::AssertSqlSafe;

use crate::faults::{connector, drop_the_slot};
use crate::{beside_others, instance_with};

/// More than `setup` indexes inside its transaction.
const LARGE: &str = "INSERT INTO audit (who, action, subject, why, details)
    SELECT 'story', 'grow', i::text, repeat('x', 1800), '{}' FROM generate_series(1, 12000) AS i";
const VALID: &str = "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('audit_at') AND indisvalid";

#[tokio::test(flavor = "multi_thread")]
async fn setup_names_the_sessions_that_it_waits_for_and_goes_on_when_they_end() {
    let _turn = beside_others().await;
    let instance = instance_with("setup", &[("contexts", r#"["catalog"]"#)]).await;
    write(&instance, LARGE).await;
    // As a build that was interrupted leaves it, or one that had no such index.
    write(&instance, "DROP INDEX audit_at").await;
    waits_and_goes_on(&instance, "the index audit_at waits until these sessions").await;
    becomes(&instance.write, VALID, 1).await;

    connect(Method::DELETE, &connector(&instance)).await;
    drop_the_slot(&instance).await;
    waits_and_goes_on(&instance, "the replication slot waits until these sessions").await;
    instance.millrace(&["setup"]).await.expect_success().expect_told("are as they should be");
}

/// As with a build that does not know the migrations from this one on: it alters a table that every batch writes.
const BEFORE: [&str; 2] = [
    "DELETE FROM _sqlx_migrations WHERE version >= 7",
    "DELETE FROM deployed; INSERT INTO deployed (release, tables, oldest) VALUES (1, 6, 1)",
];
const SUPPORTED: &str = "SELECT max(tables) FROM deployed";

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_waits_for_a_reader_in_short_tries_and_commands_are_decided_between_them() {
    let _turn = beside_others().await;
    let instance = instance_with("migrating", &[("contexts", r#"["customers"]"#)]).await;
    for sql in BEFORE {
        sqlx::raw_sql(sql).execute(&instance.write).await.expect(sql);
    }
    let _process = instance.start();
    instance.send_and_wait(&[register(1)]).await.expect_success();
    let mut reader = instance.write.begin().await.expect("a transaction");
    let pid = Foreign::of(&mut reader).await.pid();
    sqlx::query("SELECT count(*) FROM consumer_offset").execute(&mut *reader).await.expect("offsets");

    // Its time is over before that of the reader.
    let short = ["--set", "postgres.setup_lock_timeout=4s", "setup"];
    let given_up = instance.millrace(&short).await;
    given_up.expect_code(1).expect_told("migration 7 (").expect_told(&format!("pid {pid}, stories, "));
    given_up.expect_told("run `millrace setup` again");
    let dry = instance.millrace(&[&short[..], &["--dry-run"]].concat()).await;
    dry.expect_code(1).expect_told(&format!("pid {pid}, stories, "));

    let mut setup = instance.begin(&["setup"]);
    for n in 2..4 {
        is_tried_again(&setup, n - 1).await;
        instance.send_and_wait(&[register(n)]).await.expect_success();
    }
    assert!(setup.lives() && setup.log().contains(&format!("pid {pid}, stories, ")), "{}", setup.log());
    reader.rollback().await.expect("the end of the transaction");
    assert_eq!(setup.ended().await.code(), Some(0), "{}", setup.log());
    becomes(&instance.write, SUPPORTED, WRITE.newest()).await;
    instance.millrace(&["setup"]).await.expect_success().expect_told("are as they should be");
}

async fn is_tried_again(setup: &Process, times: usize) {
    eventually(&format!("the migration is tried again {times} times"), async || {
        let log = setup.log();
        let tried =
            log.lines().filter(|line| line.contains("migration 7 (") && line.contains("is tried again"));
        if tried.count() >= times { Ok(()) } else { Err(log) }
    })
    .await;
}

async fn write(instance: &Instance, sql: &str) {
    sqlx::query(AssertSqlSafe(sql)).execute(&instance.write).await.expect(sql);
}

/// A session has written, and does nothing more.
async fn waits_and_goes_on(instance: &Instance, what: &str) {
    let mut idle = instance.write.begin().await.expect("a transaction");
    let pid = Foreign::of(&mut idle).await.pid();
    sqlx::query(
        "INSERT INTO audit (who, action, subject, why, details) VALUES ('story', 'a', 'b', 'c', '{}')",
    )
    .execute(&mut *idle)
    .await
    .expect("a row");
    let mut setup = instance.begin(&["setup"]);
    let named = format!("pid {pid}, stories, ");
    eventually(&format!("setup tells that {what} for {named}"), async || {
        let log = setup.log();
        let told = log.lines().any(|line| {
            [what, &named, "idle in transaction", " s in this transaction"]
                .iter()
                .all(|word| line.contains(word))
        });
        if told { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(setup.lives(), "it waits");
    idle.rollback().await.expect("the end of the transaction");
    assert_eq!(setup.ended().await.code(), Some(0), "{}", setup.log());
}
