//! A view is rebuilt beside the serving generation, compared, and swapped; an operator requests it with Kafka's tool or with
//! `millrace replay`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_tests::instance::pool;
use millrace_tests::kafka::{delete_records, produce};
use millrace_tests::load::{customer, order, place, product, register};
use millrace_tests::snapshot::{elastic, elastic_with};
use millrace_tests::stack::kafka_tool;
use millrace_tests::{Instance, Load, Process, Raw, becomes, eventually};
use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::{beside_others, instance_with};

const LOAD: Load = Load { customers: 10, products: 10, orders: 120 };
/// Small batches that sleep before their commit, so that a build takes a while.
const SMALL_BATCHES: [(&str, &str); 2] =
    [("processing.events_batch_max", "10"), ("kafka.session_timeout", "6s")];
const SLOW: [(&str, &str); 1] = [("FAILPOINTS", "before-commit=sleep(60)")];
const REBUILD: [&str; 4] = ["replay", "orders", "--to-earliest", "--execute"];

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_with_kafkas_own_tool_rebuilds_a_view_while_readers_see_all_of_it() {
    let _turn = beside_others().await;
    let instance = with_orders("replay_reset").await;
    reset(&instance, "orders").await;
    let readers = Readers::of(&instance);
    let mut process = instance.start_with(&[], &SLOW);
    serves(&instance, "orders", 2).await;
    readers.saw_every_order().await;
    assert_eq!(reason(&instance).await, ("reset".to_owned(), Some(0)));
    assert_readers_see(&instance, 2).await;
    process.stops().await;
    a_swap_is_no_reset(&instance).await;
}

/// What Millrace commits is stamped, whichever generation does: nothing is rebuilt again.
async fn a_swap_is_no_reset(instance: &Instance) {
    let process = instance.start();
    instance.send(&[register(500)]).await;
    instance.settle().await;
    let serving = [("group", instance.group("orders")), ("generation", "2".to_owned())];
    let serving = serving.each_ref().map(|(name, value)| (*name, value.as_str()));
    process.reports("millrace_partitions_assigned", &serving, 1.0).await;
    instance.millrace(&["replay", "orders", "--retire"]).await.expect_success();
    no_figures_of_a_generation_are_left(&process, instance, 1).await;
    let generations = count(instance, "SELECT count(*) FROM replay WHERE view = 'orders'").await;
    assert_eq!(generations, 2);
}

/// A retired generation has no metrics any more.
async fn no_figures_of_a_generation_are_left(process: &Process, instance: &Instance, generation: i32) {
    let (group, index) = (instance.group("orders"), format!("{}-orders-g{generation}", instance.name));
    eventually("the retired generation has no figures", async || {
        let metrics = process.metrics().await?;
        let number = format!("generation=\"{generation}\"");
        let of_it = |line: &&str| {
            line.contains(&format!("\"{group}\"")) && line.contains(&number)
                || line.contains(&format!("\"{group}.g{generation}\""))
                || line.contains(&format!("\"{index}\""))
        };
        metrics.lines().find(of_it).map_or(Ok(()), |line| Err(line.to_owned()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_under_load_that_is_killed_goes_on_and_ends_equal() {
    let _turn = beside_others().await;
    let instance = with_orders("replay_killed").await;
    let mut process = instance.start_with(&[], &SLOW);
    let mut command = instance.begin(&REBUILD);
    half_built(&instance).await;
    command.kill();
    process.kill();
    assert_eq!(instance.serving("orders").await, 1, "readers still see all of it");
    let _process = instance.start();
    let more: Vec<String> = (1_000..1_400).map(register).collect();
    let place = |i: usize| millrace_tests::load::place(i, "customer-0001", "product-0001");
    let orders: Vec<String> = (2_000..2_300).map(place).collect();
    let (replayed, (), ()) =
        tokio::join!(instance.millrace(&REBUILD), instance.send(&more), instance.send(&orders));
    let text = &replayed.expect_success().stdout;
    assert!(text.contains("generation 2 swapped; equal"), "{text}");
    instance.settle().await;
    assert_eq!(count(&instance, "SELECT count(*) FROM orders").await, 420);
    assert_eq!(count(&instance, DIFFERENT).await, 0, "the old generation follows");
    assert_readers_see(&instance, 2).await;
}

const DIFFERENT: &str = "SELECT count(*) FROM (
    (TABLE orders_g1 EXCEPT TABLE orders_g2) UNION ALL (TABLE orders_g2 EXCEPT TABLE orders_g1)) AS rows";

/// Waits until some but not all of the second generation is there.
async fn half_built(instance: &Instance) {
    eventually("the second generation is being built", async || {
        let rows =
            sqlx::query_scalar::<_, i64>("SELECT count(*) FROM orders_g2").fetch_one(&instance.read).await;
        match rows.map_err(|error| error.to_string())? {
            1.. => Ok(()),
            none => Err(none.to_string()),
        }
    })
    .await;
    let state =
        sqlx::query_scalar::<_, String>("SELECT state FROM replay WHERE view = 'orders' AND generation = 2");
    assert_eq!(state.fetch_one(&instance.read).await.expect("the build"), "building");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupted_row_is_named_and_nothing_is_swapped_unless_accepted() {
    let _turn = beside_others().await;
    let instance = with_orders("replay_corrupt").await;
    let _process = instance.start();
    instance.settle().await;
    let corrupt = "UPDATE orders_g1 SET customer_name = 'Mallory' WHERE order_id = $1";
    sqlx::query(corrupt).bind(order(7)).execute(&instance.read).await.expect("a corrupted row");
    let refused = instance.millrace(&REBUILD).await;
    let text = &refused.expect_code(1).stdout;
    for part in [&order(7), "customer_name", "Mallory", "not swapped", "1 of 120 rows"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(name(&instance).await, "Mallory");
    let accepted = [REBUILD.as_slice(), &["--accept-differences"]].concat();
    instance.millrace(&accepted).await.expect_success();
    assert_eq!(name(&instance).await, "Customer 7");
    assert_readers_see(&instance, 2).await;
    back_and_forth(&instance).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_no_longer_holds_is_rebuilt_from_the_outbox() {
    let _turn = beside_others().await;
    let instance = with_orders("replay_outbox").await;
    let _process = instance.start();
    instance.settle().await;
    delete_records(&instance.topic("evt", "orders"), &[0, 1], None).await;
    a_record_of_a_former_topic_waits(&instance).await;
    let filled = instance.millrace(&["replay", "orders", "--from-outbox", "--execute"]).await;
    let text = &filled.expect_success().stdout;
    assert!(text.contains("generation 2 swapped; equal"), "{text}");
    let before_any = "SELECT count(*) FROM consumer_offset WHERE applied < 0 OR published < 0";
    assert_eq!(count(&instance, before_any).await, 0, "no offset is negative");
    assert_readers_see(&instance, 2).await;
    instance.send(&[millrace_tests::load::place(900, "customer-0001", "product-0001")]).await;
    instance.settle().await;
    assert_eq!(count(&instance, "SELECT count(*) FROM orders").await, 121, "it goes on with Kafka");
    assert_readers_see(&instance, 2).await;
}

/// As a topic that is made anew leaves it (`Claim::begin_again`): its offset is far below zero.
async fn a_record_of_a_former_topic_waits(instance: &Instance) {
    let parked = "INSERT INTO parked (grp, generation, topic, partition, \"offset\", key, headers)
                  VALUES ($1, 1, $2, 0, -(1::bigint << 60), 'somebody', '[]')";
    let parked = sqlx::query(parked).bind(instance.group("orders")).bind(instance.topic("evt", "orders"));
    parked.execute(&instance.read).await.expect("a parked record");
}

/// Rolls back, forward again, retires; nothing else changes what readers see, setup included.
async fn back_and_forth(instance: &Instance) {
    instance.millrace(&["replay", "orders", "--rollback"]).await.expect_success();
    assert_eq!(name(instance).await, "Mallory");
    instance.send(&[millrace_tests::load::place(900, "customer-0001", "product-0001")]).await;
    instance.settle().await;
    instance.millrace(&["replay", "orders", "--rollback"]).await.expect_success();
    assert_eq!(name(instance).await, "Customer 7");
    assert_eq!(count(instance, "SELECT count(*) FROM orders").await, 121, "the other one has followed");
    instance.millrace(&["replay", "orders", "--retire"]).await.expect_success();
    assert_eq!(
        count(
            instance,
            "SELECT count(*) FROM pg_tables WHERE tablename = 'orders_g1'
                                AND schemaname = current_schema()"
        )
        .await,
        0
    );
    assert_eq!(
        count(
            instance,
            "SELECT count(*) FROM consumer_offset WHERE generation = 1
                                AND grp = current_schema() || '.orders'"
        )
        .await,
        0
    );
    instance.millrace(&["setup"]).await.expect_success();
    assert_readers_see(instance, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tally_is_rebuilt_too() {
    let _turn = beside_others().await;
    let instance = with_orders("replay_tally").await;
    let _process = instance.start();
    instance.settle().await;
    let preview =
        instance.millrace(&["replay", "sales_daily", "--to-datetime", "2026-01-01T00:00:00.000"]).await;
    assert!(preview.expect_success().stdout.contains("add --execute"), "a dry run is the default");
    let replayed = instance.millrace(&["replay", "sales_daily", "--shift-by", "-10", "--execute"]).await;
    assert!(replayed.expect_success().stdout.contains("equal"), "{replayed:?}");
    assert_eq!(instance.serving("sales_daily").await, 2);
    instance.millrace(&["replay", "orders", "--rollback"]).await.expect_code(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_rebuilt_and_compared_document_by_document() {
    let _turn = beside_others().await;
    let instance = with_orders("replay_log").await;
    let documents = instance.documents("events").await;
    corrupt_two_documents(&instance).await;
    reset(&instance, "events").await;
    let _process = instance.start();
    let more: Vec<String> = (1_000..1_300).map(register).collect();
    instance.send(&more).await;
    eventually("the log is rebuilt and compared", async || {
        let status = instance.millrace(&["replay", "events", "--status"]).await;
        let shown = status.expect_success().stdout.clone();
        let found = ["different: 2 of", "Mallory", "missing"].iter().all(|part| shown.contains(part));
        if found { Ok(()) } else { Err(shown) }
    })
    .await;
    assert_eq!(instance.serving("events").await, 1);
    let rebuild = ["replay", "events", "--to-earliest", "--execute"];
    instance.millrace(&rebuild).await.expect_code(1);
    instance.millrace(&[&rebuild[..], &["--accept-differences"]].concat()).await.expect_success();
    instance.settle().await;
    assert_eq!(instance.serving("events").await, 2);
    let now = instance.documents("events").await;
    assert_eq!(now.len(), documents.len() + more.len(), "what came meanwhile is there");
    assert!(documents.iter().all(|document| now.contains(document)), "as before it was corrupted");
    let equal = instance.millrace(&rebuild).await;
    assert!(equal.expect_success().stdout.contains("generation 3 swapped; equal"), "{equal:?}");
    instance.millrace(&["replay", "events", "--retire"]).await.expect_success();
    assert_eq!(instance.documents("events").await, now);
    let refused = instance.millrace(&["replay", "events", "--from-outbox", "--execute"]).await;
    assert!(refused.expect_code(1).stderr.contains("verify events --repair"), "{refused:?}");
}

/// Writes over a document under its own version, and loses another.
async fn corrupt_two_documents(instance: &Instance) {
    let index = format!("{}-events", instance.name);
    let found = elastic(&format!("{index}/_search"), Some(json!({"size": 2, "version": true}))).await;
    let id = |hit: usize| found["hits"]["hits"][hit]["_id"].as_str().expect("an id").to_owned();
    let hit = &found["hits"]["hits"][0];
    let mut document = hit["_source"].clone();
    document["stream"] = "Mallory".into();
    let over = format!("{index}/_doc/{}?version={}&version_type=external_gte", id(0), hit["_version"]);
    elastic_with(Method::PUT, &over, Some(document)).await;
    elastic_with(Method::DELETE, &format!("{index}/_doc/{}?refresh=true", id(1)), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_the_commands_decides_nothing_twice_and_brings_no_dead_letter_back() {
    let _turn = beside_others().await;
    let instance = with_orders("replay_commands").await;
    with_dead_commands(&instance).await;
    let (before, letters) = (instance.snapshot().await, letters(&instance).await);
    reset(&instance, "commands").await;
    let process = instance.start();
    let commands = instance
        .count("SELECT count(*) FROM command WHERE coalesce(code, '') <> 'undecodable'")
        .await
        .expect("receipts");
    let read_again = f64::from(u32::try_from(commands).expect("few"));
    process.reports("millrace_duplicates_total", &[("group", &instance.group("commands"))], read_again).await;
    instance.settle().await;
    instance.snapshot().await.assert_same(&before);
    assert_eq!(self::letters(&instance).await, letters);
    let receipt = instance.millrace(&["receipt", "PlaceOrder-900"]).await;
    receipt.expect_success().expect_told("(discarded by bo: it was a test)");
}

/// An order that is discarded although its customer came later, one that is only dead, and garbage.
async fn with_dead_commands(instance: &Instance) {
    let mut process = instance.start();
    instance.send(&[place(900, &customer(900), &product(1)), place(901, &customer(901), &product(1))]).await;
    produce(&instance.topic("cmd", "orders"), None, &[Raw::value("garbage").key("x")]).await;
    becomes(&instance.write, "SELECT count(*) FROM dead_letter", 3).await;
    let discard = ["dlq", "discard", "--key", &order(900), "--why", "it was a test", "--who", "bo"];
    instance.millrace(&discard).await.expect_success();
    instance.send(&[register(900)]).await;
    instance.settle().await;
    process.stops().await;
}

async fn letters(instance: &Instance) -> Vec<(i64, String, String)> {
    let letters =
        sqlx::query_as("SELECT id, code, status FROM dead_letter ORDER BY id").fetch_all(&instance.write);
    letters.await.expect("dead letters")
}

/// An instance whose topics hold the load, which every view has folded.
async fn with_orders(story: &str) -> Instance {
    let instance = instance_with(story, &SMALL_BATCHES).await;
    let mut process = instance.start();
    instance.send(&LOAD.basics()).await;
    instance.settle().await;
    instance.send(&LOAD.slices(1).concat()).await;
    instance.settle().await;
    process.stops().await;
    instance
}

/// Resets a group to its beginning as an operator would.
/// Sets a group back to the beginning with Kafka's own tool.
pub(crate) async fn reset(instance: &Instance, role: &str) {
    let group = instance.group(role);
    let reset =
        ["kafka-consumer-groups", "--group", &group, "--reset-offsets", "--to-earliest", "--all-topics"];
    let told = kafka_tool(&[reset.as_slice(), &["--execute"]].concat()).await;
    assert!(told.contains(&group), "{told}");
}

async fn serves(instance: &Instance, view: &str, generation: i32) {
    eventually(&format!("generation {generation} of {view} serves"), async || {
        let serving = instance.serving(view).await;
        if serving == generation { Ok(()) } else { Err(format!("generation {serving} does")) }
    })
    .await;
}

/// Who asked for the second generation, and how many rows of it differed.
async fn reason(instance: &Instance) -> (String, Option<i64>) {
    let reason = "SELECT asked_by, (comparison->>'differing')::bigint FROM replay WHERE view = 'orders' AND generation = 2";
    sqlx::query_as(reason).fetch_one(&instance.read).await.expect("the second generation")
}

/// The SQL view and the alias are those of this generation, and say the same.
async fn assert_readers_see(instance: &Instance, generation: i32) {
    let view: String = sqlx::query_scalar("SELECT pg_get_viewdef('orders'::regclass)")
        .fetch_one(&instance.read)
        .await
        .expect("the SQL view");
    assert!(view.contains(&format!("orders_g{generation}")), "{view}");
    instance.settle().await;
    instance.assert_both_read_models_agree().await;
    let hits = instance.documents("orders").await.len();
    assert_eq!(i64::try_from(hits), Ok(count(instance, "SELECT count(*) FROM orders").await));
}

async fn name(instance: &Instance) -> String {
    let name = sqlx::query_scalar("SELECT customer_name FROM orders WHERE order_id = $1").bind(order(7));
    name.fetch_one(&instance.read).await.expect("the order")
}

async fn count(instance: &Instance, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&instance.read).await.expect("a count")
}

/// A reader that asks all the time how many orders there are.
struct Readers {
    stop: Arc<AtomicBool>,
    answers: JoinHandle<Vec<i64>>,
}

impl Readers {
    fn of(instance: &Instance) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answers = tokio::spawn(asking(pool("READER_DATABASE_URL", &instance.name), stop.clone()));
        Self { stop, answers }
    }

    async fn saw_every_order(self) {
        self.stop.store(true, Ordering::SeqCst);
        let answers = self.answers.await.expect("answers");
        assert!(answers.len() > 20, "only {} answers", answers.len());
        assert!(answers.iter().all(|orders| *orders == 120), "{answers:?}");
    }
}

async fn asking(pool: PgPool, stop: Arc<AtomicBool>) -> Vec<i64> {
    let mut answers = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let orders = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&pool).await;
        answers.push(orders.expect("readers are never refused"));
        tokio::task::yield_now().await;
    }
    answers
}
