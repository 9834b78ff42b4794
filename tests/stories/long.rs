//! A stream of very many events, whose state is folded again: by setup, before its next command; or when that command comes, which
//! waits then, while commands of other partitions do not. `STORY_EVENTS=5000000` makes it longer.

use std::time::Instant;

use millrace_tests::Instance;
use millrace_tests::load::{command, customer, register};
use millrace_tests::patience::as_long_as_it_moves;
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::{beside_others, instance_with};

const CUSTOMERS: usize = 20;
const CHANGED: usize = 1_000;
/// The stream's second event again and again, as if a later build folded states otherwise. No publication has the outbox meanwhile.
const LENGTHEN: [&str; 4] = [
    "ALTER PUBLICATION {} DROP TABLE outbox",
    "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, topic, version, command_id, occurred_at)
     SELECT gen_random_uuid(), aggregatetype, aggregateid, type, payload, topic, n, command_id, occurred_at
     FROM outbox CROSS JOIN generate_series(3, {events}) AS n WHERE aggregateid = '{stream}' AND version = 2",
    "UPDATE stream SET version = {events}, state = '{\"nonsense\": true}', state_version = state_version - 1 WHERE id = '{stream}'",
    "ALTER PUBLICATION {} ADD TABLE outbox",
];
const LONG: &str = "SELECT decided_at FROM command WHERE id = 'ChangeCustomerDetails-1001'";
const BEFORE_IT: &str =
    "SELECT count(*) FROM command WHERE type LIKE '%.ChangeCustomerDetails' AND id <> 'ChangeCustomerDetails-2001'
     AND decided_at < (SELECT decided_at FROM command WHERE id = 'ChangeCustomerDetails-1001')";
const CHANGES: &str = "SELECT count(*) FROM command WHERE type LIKE '%.ChangeCustomerDetails'";
const FOLDED: &str = "SELECT coalesce(max(version), 0) FROM refolded";

#[tokio::test(flavor = "multi_thread")]
async fn a_very_long_stream_is_folded_again_while_commands_of_other_partitions_are_decided() {
    let _turn = beside_others().await;
    let instance = with_a_long_stream("long").await;
    let process = instance.start_with(&["commands"], &[]);
    let began = Instant::now();
    // That of the long stream comes first.
    let changes = (0..CUSTOMERS).map(|n| change(CHANGED + (n + 1) % CUSTOMERS, (n + 1) % CUSTOMERS));
    instance.send(&changes.collect::<Vec<_>>()).await;
    as_long_as_it_moves("every change is decided", async || {
        let (changes, folded) = (instance.count(CHANGES).await?, instance.count(FOLDED).await?);
        if changes == 1 + CUSTOMERS as i64 {
            Ok(())
        } else {
            Err(format!("{changes} changes, {folded} folded"))
        }
    })
    .await;
    let decided: Option<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar(LONG).fetch_one(&instance.write).await.expect("a receipt");
    println!("{} events: {:.1} s, {decided:?}", events(), began.elapsed().as_secs_f64());
    let others = instance.count(BEFORE_IT).await.expect("receipts");
    assert!(others > 3, "only {others} changes of others were decided before that of the long stream");
    assert!(process.log().contains("folded again from its events, in pages"), "{}", process.log());
    println!("at most {:.0} MB; {others} others before it", process.memory_peak_mb());
}

/// A setup of the release before has folded the streams for its own code.
const FOLDED_BY_THE_RELEASE_BEFORE: &str = "UPDATE folded_ahead SET state_version = state_version - 1";
const AHEAD: &str = "of a long stream of customers";
const STATE: &str =
    "SELECT version, state #>> '{details,name}' FROM stream WHERE id = $1 AND context = 'customers'";

#[tokio::test(flavor = "multi_thread")]
async fn setup_folds_a_very_long_stream_so_that_its_next_command_is_decided_at_once() {
    let _turn = beside_others().await;
    let instance = with_a_long_stream("ahead").await;
    instance.millrace(&["setup"]).await.expect_success().expect_not_told(AHEAD);
    sqlx::query(FOLDED_BY_THE_RELEASE_BEFORE).execute(&instance.write).await.expect("an earlier version");

    instance.millrace(&["setup", "--dry-run"]).await.expect_success().expect_told(AHEAD);
    assert_eq!(instance.count(FOLDED).await.expect("a count"), 0, "a dry run folds nothing");
    let began = Instant::now();
    instance.millrace(&["setup"]).await.expect_success().expect_told(AHEAD);
    println!("{} events ahead: {:.1} s", events(), began.elapsed().as_secs_f64());
    assert_eq!(instance.count(FOLDED).await.expect("a count"), events());
    instance.millrace(&["setup"]).await.expect_success().expect_not_told(AHEAD);

    let process = instance.start_with(&["commands"], &[]);
    instance.send(&[change(CHANGED + 1, 1)]).await;
    as_long_as_it_moves("the change is decided", async || match instance.count(CHANGES).await? {
        2 => Ok(()),
        other => Err(format!("{other} changes")),
    })
    .await;
    assert!(!process.log().contains("in pages"), "{}", process.log());
    let state: (i64, Option<String>) =
        sqlx::query_as(STATE).bind(customer(1)).fetch_one(&instance.write).await.expect("a state");
    assert_eq!(state, (events() + 1, Some(format!("Plato {}", CHANGED + 1))));
}

/// The events of the long stream.
fn events() -> i64 {
    std::env::var("STORY_EVENTS").map_or(60_000, |events| events.parse().expect("a number"))
}

/// An instance that has stopped, with one stream of very many events, whose state the code of an earlier version has written.
async fn with_a_long_stream(name: &str) -> Instance {
    let instance = instance_with(name, &[("contexts", r#"["customers"]"#)]).await;
    let mut process = instance.start();
    instance.send(&(0..CUSTOMERS).map(register).collect::<Vec<_>>()).await;
    instance.send(&[change(2 * CHANGED + 1, 1)]).await;
    instance.settle().await;
    process.stops().await;
    lengthen(&instance, events()).await;
    instance
}

async fn lengthen(instance: &Instance, events: i64) {
    let publication = format!("\"{}_outbox\"", instance.name);
    for sql in LENGTHEN {
        let sql = sql.replace("{events}", &events.to_string()).replace("{stream}", &customer(1));
        let sql = sql.replace("{}", &publication);
        sqlx::query(AssertSqlSafe(sql)).execute(&instance.write).await.expect("a long stream");
    }
}

fn change(n: usize, of: usize) -> String {
    let data =
        json!({"customer_id": customer(of), "name": format!("Plato {n}"), "email": "plato@example.com"});
    command("ChangeCustomerDetails", n, data)
}
