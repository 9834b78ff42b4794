//! Operators' errors and accidents between the outbox and Kafka, with dead letters, and with single keys.

use std::collections::BTreeMap;

use millrace_tests::load::{add_product, command, customer, order, place, product, register};
use millrace_tests::settle::Backlog;
use millrace_tests::stack::{Outage, connect, http, kafka_tool, stack};
use millrace_tests::{Instance, Load, Process, Raw, Snapshot, becomes, eventually, kafka};
use reqwest::Method;
use serde_json::{Value, json};

use crate::undisturbed::undisturbed;
use crate::{alone, beside_others, instance, instance_with};

/// A running instance that has processed the basics of the standard load.
async fn with_basics(story: &str) -> (Instance, Process) {
    let instance = instance(story).await;
    let process = instance.start();
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    (instance, process)
}

/// Sends commands, whose events may get nowhere, and waits until all of them are decided.
async fn send_and_decide(instance: &Instance, commands: &[String]) {
    let before = instance.count("SELECT count(*) FROM command").await.expect("receipts");
    instance.send(commands).await;
    instance.decided(before + i64::try_from(commands.len()).unwrap()).await;
}

/// Sends the standard load and lets it be decided, while no process folds what comes of it.
async fn decide_the_standard_load(instance: &Instance) {
    let mut deciding = instance.start_with(&["commands"], &[]);
    for commands in [Load::STANDARD.basics(), Load::STANDARD.slices(1).concat()] {
        instance.send(&commands).await;
        instance.settle_commands().await;
    }
    deciding.stops().await;
}

/// Every row of the outbox is on its topic, in any order, each exactly once.
pub(crate) async fn assert_each_row_was_carried_once(instance: &Instance) {
    let mut rows: Vec<String> = sqlx::query_scalar("SELECT id::text FROM outbox")
        .fetch_all(&instance.write)
        .await
        .expect("the outbox");
    let kinds = ["evt", "rej", "out"];
    let topics = instance.contexts.iter().flat_map(|context| kinds.map(|kind| instance.topic(kind, context)));
    let records = topics.flat_map(|topic| instance.kafka.all(&topic));
    let mut carried: Vec<String> =
        records.map(|record| record.raw.text("ce_id").expect("ce_id").to_owned()).collect();
    rows.sort();
    carried.sort();
    assert_eq!(carried, rows);
}

async fn everything_is_right(instance: &Instance) {
    instance.settle().await;
    instance.snapshot().await.assert_same(undisturbed().await);
    instance.assert_both_read_models_agree().await;
    instance.millrace(&["verify"]).await.expect_success();
}

/// The connector's path at Connect.
pub(crate) fn connector(instance: &Instance) -> String {
    format!("connectors/{}_outbox", instance.name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_replication_slot_is_told_and_what_it_never_carried_is_emitted() {
    let _turn = beside_others().await;
    undisturbed().await;
    let slices = Load::STANDARD.slices(3);
    let (instance, _process) = with_basics("slot_lost").await;
    send_and_decide(&instance, &slices[0]).await;
    connect(Method::DELETE, &connector(&instance)).await;
    // Connect still reports it for a moment.
    eventually("status misses the connector", async || match instance.millrace(&["status"]).await {
        status if status.code == Some(0) => Err(status.stdout),
        status => Ok(status.expect_code(6).expect_told("there is no connector").code),
    })
    .await;
    drop_the_slot(&instance).await;
    instance.millrace(&["status"]).await.expect_code(6).expect_told("there is no replication slot");
    send_and_decide(&instance, &slices[1]).await;
    instance.millrace(&["setup"]).await.expect_success();
    // Debezium carries these; of streams with a gap they wait.
    send_and_decide(&instance, &slices[2]).await;
    let repair = ["verify", "--repair", "--why", "the slot was dropped"];
    instance.millrace(&repair).await.expect_success().expect_told("repaired: ");
    everything_is_right(&instance).await;
    assert_each_row_was_carried_once(&instance).await;
}

/// As an operator would; Postgres refuses until Debezium has let go of it.
pub(crate) async fn drop_the_slot(instance: &Instance) {
    let name = format!("{}_outbox", instance.name);
    eventually("the slot is dropped", async || {
        let drop = sqlx::query("SELECT pg_drop_replication_slot($1)").bind(&name);
        drop.execute(&instance.write).await.map_err(|error| error.to_string())
    })
    .await;
}

/// Every slot of the server that is behind loses its WAL, so the stack is this story's alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_whose_wal_is_gone_is_made_anew_by_setup_and_what_it_never_carried_is_emitted() {
    let _turn = alone().await;
    let instance = instance_with("slot_invalid", &[("contexts", r#"["customers"]"#)]).await;
    let _process = instance.start();
    instance.send(&[register(0)]).await;
    instance.settle().await;
    stops(&connector(&instance)).await;
    send_and_decide(&instance, &[register(1)]).await;
    postgres_keeps_little_wal(&instance).await;
    eventually("the registry has new connections", async || {
        let setup = instance.millrace(&["setup", "--dry-run"]).await;
        if setup.code == Some(0) { Ok(()) } else { Err(setup.stderr) }
    })
    .await;
    let status = instance.millrace(&["status"]).await;
    status.expect_code(6).expect_told("(lost)");
    connect(Method::PUT, &format!("{}/resume", connector(&instance))).await;
    send_and_decide(&instance, &[register(2)]).await;
    instance.millrace(&["setup"]).await.expect_success();
    send_and_decide(&instance, &[register(3)]).await;
    instance.millrace(&["verify", "--repair", "--why", "the slot was lost"]).await.expect_success();
    instance.settle().await;
    becomes(&instance.read, "SELECT count(*) FROM customers", 4).await;
    instance.millrace(&["verify"]).await.expect_success();
    instance.millrace(&["status"]).await.expect_success();
}

/// What a slot needs of the WAL is lost at a checkpoint, and there is one before Postgres is up after a crash.
async fn postgres_keeps_little_wal(instance: &Instance) {
    sqlx::raw_sql(
        "CREATE TABLE ballast AS SELECT repeat(i::text, 300) AS text FROM generate_series(1, 60000) AS i",
    )
    .execute(&instance.write)
    .await
    .expect("more WAL than is kept");
    let little = ("MILLRACE_STACK_POSTGRES_OPTIONS", "-c max_slot_wal_keep_size=16MB");
    Outage::of("postgres").await.ends_with(&[little]).await;
    Outage::of("postgres").await.ends().await;
    let lost = "SELECT count(*) FROM pg_replication_slots
                WHERE wal_status = 'lost' AND slot_name = current_schema() || '_outbox'";
    becomes(&instance.write, lost, 1).await;
}

pub(crate) async fn stops(connector: &str) {
    connect(Method::PUT, &format!("{connector}/stop")).await;
    eventually("the connector has stopped", async || {
        let status = connect(Method::GET, &format!("{connector}/status")).await;
        if status["tasks"] == json!([]) { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_forgets_where_it_was_and_nothing_is_lost() {
    let _turn = beside_others().await;
    undisturbed().await;
    let slices = Load::STANDARD.slices(2);
    let (instance, _process) = with_basics("connect_forgets").await;
    send_and_decide(&instance, &slices[0]).await;
    let connector = connector(&instance);
    connect(Method::PUT, &format!("{connector}/stop")).await;
    send_and_decide(&instance, &slices[1]).await;
    let backlog = instance.backlog().await;
    assert!(backlog.outbox > 0, "nothing is carried: {backlog:?}");
    connect(Method::DELETE, &format!("{connector}/offsets")).await;
    connect(Method::PUT, &format!("{connector}/resume")).await;
    everything_is_right(&instance).await;
    instance.assert_topics_carry_the_outbox(true).await;
}

/// Connect's offsets, as after rows were restored into a server that has written less.
async fn move_offsets_ahead(connector: &str) {
    let mut offsets = connect(Method::GET, &format!("{connector}/offsets")).await;
    let offset = offsets["offsets"][0]["offset"].as_object_mut().expect("an offset");
    for (_, lsn) in offset.iter_mut().filter(|(field, _)| field.starts_with("lsn")) {
        *lsn = json!(lsn.as_i64().expect("a place in the WAL") + (1_i64 << 40));
    }
    let url = format!("{}/{connector}/offsets", stack().connect_url());
    let altered = http().patch(url).json(&offsets).send().await.expect("Connect");
    assert!(altered.status().is_success(), "{}", altered.text().await.unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_are_ahead_of_the_server_are_told_and_forgotten_by_setup() {
    let _turn = beside_others().await;
    let instance = instance_with("offsets_ahead", &[("contexts", r#"["customers"]"#)]).await;
    let _process = instance.start();
    instance.send(&[register(0)]).await;
    instance.settle().await;
    let connector = connector(&instance);
    eventually("Connect knows how far Debezium is", async || {
        let offsets = connect(Method::GET, &format!("{connector}/offsets")).await;
        if offsets["offsets"][0]["offset"]["lsn"].is_i64() { Ok(()) } else { Err(offsets.to_string()) }
    })
    .await;
    stops(&connector).await;
    move_offsets_ahead(&connector).await;
    connect(Method::PUT, &format!("{connector}/resume")).await;
    eventually("status tells that the offsets are ahead", async || {
        let status = instance.millrace(&["status"]).await;
        if status.stdout.contains("ahead of the server") { Ok(status.code) } else { Err(status.stdout) }
    })
    .await;
    send_and_decide(&instance, &[register(1)]).await;
    instance.millrace(&["setup"]).await.expect_success();
    send_and_decide(&instance, &[register(2)]).await;
    instance.millrace(&["verify", "--repair", "--why", "restored"]).await.expect_success();
    instance.settle().await;
    becomes(&instance.read, "SELECT count(*) FROM customers", 3).await;
    a_row_that_kafka_does_not_take_is_taken_out_of_the_way(&instance).await;
}

/// Behind it neither its own stream nor any other goes on until an operator skips it; then the views ask what to do.
async fn a_row_that_kafka_does_not_take_is_taken_out_of_the_way(instance: &Instance) {
    let row = write_too_large_a_row(instance).await;
    let moved =
        json!({"customer_id": customer(0), "name": "Ann", "email": "ann@example.org", "city": "Athens"});
    send_and_decide(instance, &[command("ChangeCustomerDetails", 0, moved), register(3)]).await;
    eventually("the connector fails", async || {
        let status = instance.millrace(&["status"]).await;
        if status.stdout.contains("RecordTooLarge") { Ok(status.code) } else { Err(status.stdout) }
    })
    .await;
    instance.millrace(&["outbox", "skip", NO_ROW, "--dry-run"]).await.expect_code(4);
    let why = ["--why", "no topic takes it", "--who", "bo"];
    instance
        .millrace(&["outbox", "skip", &row, "--dry-run"])
        .await
        .expect_success()
        .expect_told("RecordTooLarge");
    instance
        .millrace(&[&["outbox", "skip", &row][..], &why].concat())
        .await
        .expect_success()
        .expect_told("skipped");
    becomes(&instance.read, "SELECT count(*) FROM customers", 4).await;
    let dead = "SELECT count(DISTINCT grp) FROM dead_letter WHERE status = 'dead' AND version = 2";
    let readers = instance.views().iter().filter(|view| view.contexts.contains(&"customers")).count();
    becomes(&instance.read, dead, i64::try_from(readers).unwrap()).await;
    instance.millrace(&["verify"]).await.expect_code(5);
    let letters = ["dlq", "discard", "--topic", &instance.topic("evt", "customers"), "--key", &customer(0)];
    instance.millrace(&[&letters[..], &why].concat()).await.expect_success();
    instance.settle().await;
    becomes(&instance.read, "SELECT count(*) FROM customers WHERE city = 'Athens'", 1).await;
    instance.millrace(&["verify"]).await.expect_success();
    assert_eq!(
        instance.count("SELECT count(*) FROM audit WHERE action = 'outbox skip' AND who = 'bo'").await,
        Ok(1)
    );
    let again = instance.millrace(&["outbox", "skip", &first_row(instance).await, "--why", "x"]).await;
    again.expect_code(1).expect_told("has not failed");
    a_connector_that_was_left_to_drop_rows_is_named_and_set_right_by_setup(instance).await;
}

/// As when `outbox skip` is killed while the connector passes the row.
async fn a_connector_that_was_left_to_drop_rows_is_named_and_set_right_by_setup(instance: &Instance) {
    let path = format!("{}/config", connector(instance));
    let mut config = connect(Method::GET, &path).await;
    config["errors.tolerance"] = json!("all");
    let url = format!("{}/{path}", stack().connect_url());
    let altered = http().put(url).json(&config).send().await.expect("Connect");
    assert!(altered.status().is_success(), "{}", altered.text().await.unwrap_or_default());
    eventually("status names it", async || match instance.millrace(&["status"]).await {
        status if status.stdout.contains("skips rows") => Ok(status.expect_code(6).code),
        status => Err(status.stdout),
    })
    .await;
    instance.millrace(&["setup"]).await.expect_success();
    instance.millrace(&["status"]).await.expect_success();
}

const NO_ROW: &str = "00000000-0000-0000-0000-000000000000";

async fn first_row(instance: &Instance) -> String {
    let first = sqlx::query_scalar("SELECT id::text FROM outbox LIMIT 1").fetch_one(&instance.write);
    first.await.expect("a row")
}

/// Bytes that cannot be compressed.
fn noise(letters: usize) -> String {
    let mut random = fastrand::Rng::with_seed(7);
    (0..letters).map(|_| random.alphanumeric()).collect()
}

/// The second version of a stream, larger than Connect's producer sends: no build writes such any more.
async fn write_too_large_a_row(instance: &Instance) -> String {
    let large = json!({"customer_id": customer(0), "name": noise(9_000_000), "email": "ann@example.org"});
    let event = Raw::of("CustomerDetailsChanged", &large).await;
    let row = sqlx::query_scalar(
        "WITH moved AS (UPDATE stream SET version = 2 WHERE id = $1)
         INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, topic, version, command_id, occurred_at)
         SELECT gen_random_uuid(), aggregatetype, aggregateid, 'millrace.customers.CustomerDetailsChanged', $2, topic, 2,
                'by hand', now()
         FROM outbox WHERE aggregateid = $1 AND version = 1
         RETURNING id::text",
    );
    let row = row.bind(customer(0)).bind(event.value).fetch_one(&instance.write).await;
    row.expect("a row of the outbox")
}

const LETTERS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_two_operators_redrive_at_once_are_redriven_once() {
    let _turn = beside_others().await;
    let instance = instance("two_redrives").await;
    let _process = instance.start();
    instance.send(&[add_product(1)]).await;
    instance.settle().await;
    let orders: Vec<String> = (0..LETTERS).map(|i| place(i, &customer(1), &product(1))).collect();
    instance.send(&orders).await;
    let letters = i64::try_from(LETTERS).unwrap();
    becomes(&instance.write, "SELECT count(*) FROM dead_letter WHERE status = 'dead'", letters).await;
    instance.send(&[register(1)]).await;
    instance.settle().await;
    let (ann, bo) = tokio::join!(redrive(&instance, "ann"), redrive(&instance, "bo"));
    let sum = |what: &str| ann[what].as_i64().unwrap() + bo[what].as_i64().unwrap();
    assert_eq!((sum("redriven"), &ann["refused"], &bo["refused"]), (letters, &json!([]), &json!([])));
    instance.settle().await;
    assert_each_was_decided_once(&instance).await;
}

async fn assert_each_was_decided_once(instance: &Instance) {
    let letters = i64::try_from(LETTERS).unwrap();
    for sql in [
        "SELECT count(*) FROM command WHERE status = 'completed' AND context = 'orders'",
        "SELECT count(*) FROM outbox WHERE aggregatetype = 'orders' AND version IS NOT NULL",
        "SELECT count(*) FROM audit WHERE action = 'redrive'",
        "SELECT count(DISTINCT subject) FROM audit WHERE action = 'redrive'",
    ] {
        assert_eq!(instance.count(sql).await, Ok(letters), "{sql}");
    }
    becomes(&instance.read, "SELECT count(*) FROM orders", letters).await;
    assert_eq!(instance.count("SELECT count(*) FROM blocked_key").await, Ok(0));
}

/// Redrives every dead letter, in this operator's name.
async fn redrive(instance: &Instance, who: &str) -> Value {
    let arguments = ["dlq", "redrive", "--since", "1h", "--why", "the cause is mended", "--who", who];
    instance.millrace(&[&arguments[..], &["--format", "json"]].concat()).await.expect_success().json()
}

/// What waits for its predecessor, or behind a dead event, is no backlog.
async fn all_is_done_but_what_waits(instance: &Instance) {
    eventually("all is done but what waits", async || match instance.backlog().await {
        backlog if backlog == Backlog::default() => Ok(()),
        backlog => Err(format!("{backlog:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_that_always_fails_stops_no_other() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let (instance, _process) = with_basics("poisoned_key").await;
    instance.refuse_unless("orders_g1", "order_id <> 'order-000007'").await;
    send_and_decide(&instance, &Load::STANDARD.slices(1)[0]).await;
    becomes(&instance.read, "SELECT count(*) FROM blocked_key WHERE status = 'dead'", 1).await;
    all_is_done_but_what_waits(&instance).await;
    without(&instance.snapshot().await, &order(7)).assert_same(&without(expected, &order(7)));
    instance.refuse_no_more("orders_g1").await;
    redrive(&instance, "bo").await;
    everything_is_right(&instance).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_refused_at_its_third_event_keeps_what_the_first_two_made_of_it() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance_with("third_event", &[("processing.events_batch_max", "5000")]).await;
    decide_the_standard_load(&instance).await;
    instance.refuse_unless("orders_g1", "order_id <> 'order-000007' OR status <> 'shipped'").await;
    // All events of an order are in one batch, with those of all others.
    let process = instance.start();
    becomes(&instance.read, "SELECT count(*) FROM blocked_key WHERE status = 'dead'", 1).await;
    all_is_done_but_what_waits(&instance).await;
    let row = sqlx::query_as("SELECT status, version FROM orders WHERE order_id = $1").bind(order(7));
    let row: (String, i64) = row.fetch_one(&instance.read).await.expect("the row");
    assert_eq!(row, ("confirmed".to_owned(), 2));
    without(&instance.snapshot().await, &order(7)).assert_same(&without(expected, &order(7)));
    instance.refuse_no_more("orders_g1").await;
    redrive(&instance, "bo").await;
    everything_is_right(&instance).await;
    let group = instance.group("orders");
    let figures = process.metrics().await.expect("figures");
    let refused = figures.sum("millrace_batches_aborted_total", &[("group", &group), ("why", "refused")]);
    assert!(refused.abs() < 0.5, "no batch was given up, but {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_fails_at_everything_stops_no_other_and_is_whole_once_it_is_mended() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let (instance, _process) = with_basics("broken_view").await;
    instance.refuse_unless("orders_g1", "false").await;
    send_and_decide(&instance, &Load::STANDARD.slices(1)[0]).await;
    let orders = i64::try_from(Load::STANDARD.orders).unwrap();
    becomes(&instance.read, "SELECT count(*) FROM blocked_key WHERE status = 'dead'", orders).await;
    all_is_done_but_what_waits(&instance).await;
    assert_eq!(instance.documents("orders").await, [""; 0], "nothing is published of it");
    but_orders(&instance.snapshot().await).assert_same(&but_orders(expected));
    instance.refuse_no_more("orders_g1").await;
    redrive(&instance, "bo").await;
    everything_is_right(&instance).await;
}

/// Rows and documents of all other views.
fn but_orders(snapshot: &Snapshot) -> Snapshot {
    let mut others = snapshot.only(&["written", "postgres", "elasticsearch"]);
    others.0.retain(|part, _| !part.ends_with(" orders"));
    others
}

/// Rows and documents that do not speak of this key.
fn without(snapshot: &Snapshot, key: &str) -> Snapshot {
    let mut read_models = snapshot.only(&["postgres", "elasticsearch"]);
    read_models.0.values_mut().for_each(|lines| lines.retain(|line| !line.contains(key)));
    read_models
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_shuffled_repeated_and_lost_on_their_topic_are_folded_once_in_their_order() {
    let _turn = beside_others().await;
    undisturbed().await;
    let instance = instance("shuffled").await;
    decide_the_standard_load(&instance).await;
    meddle_with(&instance.topic("evt", "orders"), &instance).await;
    let _process = instance.start();
    all_is_done_but_what_waits(&instance).await;
    let waiting = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM blocked_key WHERE status = 'gap'");
    assert!(waiting.fetch_one(&instance.read).await.expect("a count") > 0, "what was lost is missed");
    instance.millrace(&["verify", "--repair", "--why", "some events were lost"]).await.expect_success();
    everything_is_right(&instance).await;
}

/// Writes what a topic holds once more in any order, every fifth record twice and every seventh not at all, and deletes
/// what it held.
async fn meddle_with(topic: &str, instance: &Instance) {
    let mut events: Vec<Raw> = instance.kafka.all(topic).into_iter().map(|event| event.raw).collect();
    let partitions: Vec<i32> = instance.kafka.ends(topic).into_keys().collect();
    kafka::delete_records(topic, &partitions, None).await;
    fastrand::Rng::with_seed(7).shuffle(&mut events);
    let left = events.into_iter().enumerate().filter(|(place, _)| !place.is_multiple_of(7));
    let times = |place: usize| if place.is_multiple_of(5) { 2 } else { 1 };
    let written: Vec<Raw> =
        left.flat_map(|(place, event)| std::iter::repeat_n(event, times(place))).collect();
    kafka::produce(topic, None, &written).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_made_anew_are_read_from_their_beginning() {
    let _turn = beside_others().await;
    let instance = instance("topic_anew").await;
    let mut process = instance.start();
    instance.refuse_unless("customers_g1", "customer_id <> 'customer-0003'").await;
    instance.send(&(0..20).map(register).collect::<Vec<_>>()).await;
    becomes(&instance.read, "SELECT count(*) FROM blocked_key WHERE status = 'dead'", 1).await;
    all_is_done_but_what_waits(&instance).await;
    process.stops().await;
    let before = ["cmd", "evt"].map(|kind| instance.kafka.ends(&instance.topic(kind, "customers")));
    for kind in ["cmd", "evt"] {
        make_anew(&instance, &instance.topic(kind, "customers")).await;
    }
    // Each topic is longer than it was before anybody reads it.
    instance.send(&(15..115).map(register).collect::<Vec<_>>()).await;
    is_longer(&instance, "cmd", &before[0]).await;
    let mut deciding = instance.start_with(&["commands"], &[]);
    becomes(&instance.write, "SELECT count(*) FROM command", 115).await;
    is_longer(&instance, "evt", &before[1]).await;
    deciding.stops().await;
    let _process = instance.start();
    becomes(&instance.read, "SELECT count(*) FROM customers", 114).await;
    instance.refuse_no_more("customers_g1").await;
    redrive(&instance, "bo").await;
    becomes(&instance.read, "SELECT count(*) FROM customers", 115).await;
    let told = instance.millrace(&["verify"]).await;
    assert!(told.expect_code(5).stdout.contains("(event)"), "{}", told.stdout);
    instance.millrace(&["verify", "--repair", "--why", "the topic was made anew"]).await.expect_success();
    instance.millrace(&["verify"]).await.expect_success();
    // While it is read, too.
    make_anew(&instance, &instance.topic("cmd", "customers")).await;
    instance.send(&(115..400).map(register).collect::<Vec<_>>()).await;
    becomes(&instance.write, "SELECT count(*) FROM command", 400).await;
}

async fn make_anew(instance: &Instance, topic: &str) {
    kafka_tool(&["kafka-topics", "--delete", "--topic", topic]).await;
    eventually("the topic is gone", async || match instance.kafka.ends(topic).len() {
        0 => Ok(()),
        partitions => Err(format!("{partitions} partitions")),
    })
    .await;
    instance.millrace(&["setup"]).await.expect_success();
}

/// Every partition of a customers' topic ends behind where it ended before.
async fn is_longer(instance: &Instance, kind: &str, before: &BTreeMap<i32, i64>) {
    eventually(&format!("{kind} is longer than it was"), async || {
        let ends = instance.kafka.ends(&instance.topic(kind, "customers"));
        let longer = before.iter().all(|(partition, end)| ends.get(partition).is_some_and(|now| now > end));
        if longer { Ok(()) } else { Err(format!("{ends:?}")) }
    })
    .await;
}
