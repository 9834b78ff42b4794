//! Setup beside sessions that keep their transactions open.

use millrace_tests::locks::Foreign;
use millrace_tests::stack::connect;
use millrace_tests::{Instance, becomes, eventually};
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
