//! A stream of very many events, whose state is folded again: its next command waits, commands of other partitions do not.
//! `STORY_EVENTS=5000000` makes it longer.

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
    let instance = instance_with("long", &[("contexts", r#"["customers"]"#)]).await;
    let mut process = instance.start();
    instance.send(&(0..CUSTOMERS).map(register).collect::<Vec<_>>()).await;
    instance.send(&[change(2 * CHANGED + 1, 1)]).await;
    instance.settle().await;
    process.stops().await;
    let events = std::env::var("STORY_EVENTS").map_or(60_000, |events| events.parse().expect("a number"));
    lengthen(&instance, events).await;

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
    println!("{events} events: {:.1} s, {decided:?}", began.elapsed().as_secs_f64());
    let others = instance.count(BEFORE_IT).await.expect("receipts");
    assert!(others > 3, "only {others} changes of others were decided before that of the long stream");
    assert!(process.log().contains("folded again from its events, in pages"), "{}", process.log());
    println!("at most {:.0} MB; {others} others before it", process.memory_peak_mb());
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
