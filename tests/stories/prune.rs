//! Retention: old rows are removed, and nothing is done twice because of that.

use millrace_tests::kafka::{Raw, commit, delete_records, produce};
use millrace_tests::load::{command, command_with_id, customer, product};
use millrace_tests::{Instance, Process, becomes, eventually};
use serde_json::{Value, json};

use crate::beside_others;
use crate::fulfilment::{Shop, cancel, place, shop};

const ORDERS: usize = 4;
const UNITS: i64 = 40;
/// Everything is old at once.
pub(crate) const SHORT: [&str; 14] = [
    "--set",
    "topics.command_retention=1ms",
    "--set",
    "retention.receipts=2ms",
    "--set",
    "retention.outbox=1ms",
    "--set",
    "retention.saga_steps=1ms",
    "--set",
    "retention.effect_bodies=1ms",
    "--set",
    "retention.dead_letters=1ms",
    "--set",
    "retention.audit=1ms",
];
const DEAD: &str = "SELECT count(*) FROM dead_letter WHERE status = 'dead'";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_is_never_done_twice_whatever_is_read_again() {
    let _turn = beside_others().await;
    let shop = shop("pruned", &[("retention.interval", "never")], &[]).await;
    let inventory = shop.instance.topic("cmd", "inventory");
    shop.stocked(1, &[UNITS, UNITS]).await;
    let mut process = shop.open();
    trade(&shop).await;
    let ends = shop.instance.kafka.ends(&inventory);
    // The same again, by a producer that has lost an acknowledgement: Kafka will have these when the first ones are deleted.
    shop.instance.send(&received()).await;
    shop.rest().await;
    process.stops().await;
    bodies_and_rows_of_the_outbox_go(&shop.instance).await;
    let done = Done::of(&shop).await;
    let mut process = read_again(&shop, &["commands", "fulfilment", "payment", "mail"]).await;
    assert_eq!(Done::of(&shop).await, done, "the ledgers answer");
    process.stops().await;
    for (partition, end) in ends {
        delete_records(&inventory, &[partition], Some(end)).await;
    }
    receipts_go_that_kafka_does_not_have(&shop.instance).await;
    let mut process = read_again(&shop, &["commands"]).await;
    assert_eq!(Done::of(&shop).await, done, "what has no receipt any more was answered");
    let commands = shop.instance.group("commands");
    process
        .reports("millrace_answered_long_ago_total", &[("group", &commands)], received().len() as f64)
        .await;
    a_letter_is_discarded(&shop.instance).await;
    process.stops().await;
    what_is_left_goes_although_the_first_try_dies(&shop.instance).await;
    behind_it_is_no_way_back(&shop).await;
}

/// Orders, one of which is cancelled, and a command that is rejected.
async fn trade(shop: &Shop) {
    let mut lines: Vec<String> = (0..ORDERS).map(|i| place(i, 1, &[(0, 1), (1, 2)])).collect();
    lines.push(cancel(1));
    let taken = json!({"customer_id": customer(0), "name": "Bo"});
    lines.push(command_with_id("again", "RegisterCustomer", 0, taken));
    shop.instance.send(&lines).await;
    shop.rest().await;
}

fn received() -> Vec<String> {
    let received = |i| command("ReceiveStock", i, json!({"product_id": product(i), "quantity": UNITS}));
    (0..2).map(received).collect()
}

/// What has been done, once.
#[derive(Debug, PartialEq, Eq)]
struct Done {
    events: i64,
    /// Commands and rejections that were written since they were removed.
    sent: i64,
    steps: i64,
    calls: i64,
    dead: i64,
    outside: usize,
}

impl Done {
    async fn of(Shop { instance, outside }: &Shop) -> Self {
        let count = async |sql| instance.count(sql).await.expect(sql);
        Self {
            events: count("SELECT count(*) FROM outbox WHERE version IS NOT NULL").await,
            sent: count("SELECT count(*) FROM outbox WHERE version IS NULL").await,
            steps: count("SELECT sum(version)::bigint FROM saga").await,
            calls: count("SELECT count(*) FROM effect").await,
            dead: count(DEAD).await,
            outside: outside.entries().len(),
        }
    }
}

/// Kind, database and rows, as `prune` tells them.
async fn prune(instance: &Instance, arguments: &[&str]) -> Vec<(String, String, u64)> {
    let arguments = [&["prune", "--format", "json"], arguments, &SHORT].concat();
    let told = instance.millrace(&arguments).await.expect_success().json();
    let rows = told.get("would_remove").or(told.get("removed")).and_then(Value::as_array).expect("rows");
    let text = |row: &Value, field: &str| row[field].as_str().expect(field).to_owned();
    rows.iter()
        .map(|row| (text(row, "kind"), text(row, "side"), row["rows"].as_u64().expect("rows")))
        .collect()
}

/// A dry run, which tells what then goes; of each kind there is something.
async fn goes(instance: &Instance, kinds: &[&str]) {
    let only: Vec<&str> = kinds.iter().flat_map(|kind| ["--only", kind]).collect();
    let told = prune(instance, &[&["--dry-run"], only.as_slice()].concat()).await;
    for kind in kinds {
        assert!(told.iter().any(|(of, _, rows)| of == kind && *rows > 0), "nothing of {kind}: {told:?}");
    }
    assert_eq!(prune(instance, &only).await, told);
    let left = prune(instance, &[&["--dry-run"], only.as_slice()].concat()).await;
    assert!(left.iter().all(|(.., rows)| *rows == 0), "{left:?}");
}

async fn bodies_and_rows_of_the_outbox_go(instance: &Instance) {
    let events = instance.count("SELECT count(*) FROM outbox WHERE version IS NOT NULL").await;
    // Younger ones may not be committed yet, for all that `prune` knows.
    let young = "SELECT count(*) FROM outbox WHERE version IS NULL AND occurred_at > now() - interval '5 s'";
    becomes(&instance.write, young, 0).await;
    goes(instance, &["outbox", "saga-steps", "effect-bodies"]).await;
    for gone in [
        "SELECT count(*) FROM outbox WHERE version IS NULL",
        "SELECT count(*) FROM saga_step",
        "SELECT count(*) FROM effect WHERE request::text <> 'null' OR answer IS NOT NULL",
    ] {
        assert_eq!(instance.count(gone).await, Ok(0), "{gone}");
    }
    assert_eq!(instance.count("SELECT count(*) FROM outbox").await, events, "events stay");
    let shown = instance.millrace(&["saga", "show", "fulfilment/order-000001"]).await;
    shown.expect_success().expect_told("steps were removed");
}

/// What Kafka can still give keeps its receipt.
async fn receipts_go_that_kafka_does_not_have(instance: &Instance) {
    let others = "SELECT count(*) FROM command WHERE topic NOT LIKE '%.inventory.%'";
    let kept = instance.count(others).await;
    goes(instance, &["receipts"]).await;
    assert_eq!(instance.count("SELECT count(*) FROM command WHERE topic LIKE '%.inventory.%'").await, Ok(0));
    assert_eq!(instance.count(others).await, kept);
    assert_eq!(prune(instance, &["--only", "receipts"]).await[0].2, 0);
}

/// Sets groups back to the beginning while no process runs, then starts one that reads everything again.
async fn read_again(shop: &Shop, roles: &[&str]) -> Process {
    for role in roles {
        set_back(&shop.instance, role).await;
    }
    let process = shop.open();
    for role in roles {
        reads(&shop.instance, &process, role).await;
    }
    shop.rest().await;
    process
}

/// As Kafka's own tool does with `--to-earliest`, and quicker.
async fn set_back(instance: &Instance, role: &str) {
    let group = instance.group(role);
    let partitions =
        "SELECT topic, partition FROM consumer_offset WHERE grp = $1 AND topic NOT LIKE '%.retry.%'";
    let partitions: Vec<(String, i32)> =
        sqlx::query_as(partitions).bind(&group).fetch_all(&instance.write).await.expect("offsets");
    for (topic, partition) in partitions {
        commit(&group, &topic, (partition, 0), "");
    }
}

async fn reads(instance: &Instance, process: &Process, role: &str) {
    let group = instance.group(role);
    eventually(&format!("{role} reads again"), async || {
        let metrics = process.metrics().await?;
        let of = |name| metrics.sum(name, &[("group", group.as_str())]);
        let read = of("millrace_records_applied_total") + of("millrace_answered_long_ago_total");
        if read > 0.0 { Ok(()) } else { Err("nothing".to_owned()) }
    })
    .await;
}

/// What no one can decode is given up by everyone who reads it.
async fn a_letter_is_discarded(instance: &Instance) {
    produce(&instance.topic("evt", "orders"), Some(0), &[Raw::value("garbage").key("x")]).await;
    instance.settle().await;
    eventually("it is a dead letter of the saga", async || {
        let letters = "SELECT count(*) FROM dead_letter WHERE status = 'dead' AND grp LIKE '%.fulfilment'";
        if instance.count(letters).await? == 1 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    instance.settle().await;
    let discard = ["dlq", "discard", "--code", "undecodable", "--why", "garbage"];
    instance.millrace(&discard).await.expect_success();
    becomes(&instance.write, DEAD, 0).await;
    assert_eq!(copies(instance), [1, 1]);
}

/// Copies of dead letters of the write side and of the read side.
fn copies(instance: &Instance) -> [usize; 2] {
    let topic = instance.topic("evt", "orders");
    ["fulfilment", "orders"].map(|role| {
        let dead = format!("{topic}.{}.dlq", instance.group(role));
        instance.kafka.all(&dead).len()
    })
}

async fn what_is_left_goes_although_the_first_try_dies(instance: &Instance) {
    let arguments = [&["prune"][..], &SHORT].concat();
    // In the batch of the letters, behind those of the kinds before.
    let killed = instance.millrace_with(&arguments, &[("FAILPOINTS", "before-commit=4*off->return")]).await;
    assert_eq!(killed.code, None, "{killed:?}");
    assert!(killed.stderr.contains("killed by a failpoint"), "{killed:?}");
    goes(instance, &["dead-letters", "audit"]).await;
    for pool in [&instance.write, &instance.read] {
        becomes(pool, "SELECT count(*) FROM dead_letter", 0).await;
        becomes(pool, "SELECT count(*) FROM audit", 0).await;
    }
    let arguments = [&arguments[..], &["--set", "postgres.transaction_timeout=2s"]].concat();
    eventually("copies that are older than a transaction go as well", async || {
        instance.millrace(&arguments).await.expect_success();
        match copies(instance) {
            [0, 0] => Ok(()),
            some => Err(format!("{some:?}")),
        }
    })
    .await;
}

/// The saga's group is not set back behind its discarded letter; the rest of what was asked for is done.
async fn behind_it_is_no_way_back(shop: &Shop) {
    let done = Done::of(shop).await;
    set_back(&shop.instance, "fulfilment").await;
    let status = shop.instance.millrace(&["status"]).await;
    status.expect_code(6).expect_told("retention has removed ledger rows").expect_told("--to-offset");
    let process = read_again(shop, &["fulfilment"]).await;
    assert!(process.log().contains("retention has removed ledger rows"));
    assert_eq!(Done::of(shop).await, done);
    shop.instance.send(&[place(9, 1, &[(0, 1)])]).await;
    shop.stands(9, "fulfilled").await;
    shop.rest().await;
    shop.instance.millrace(&["status"]).await.expect_success();
    shop.instance.millrace(&["verify"]).await.expect_success();
}
