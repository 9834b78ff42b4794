//! Dead letters: listed, tried in a dry run, redriven and discarded; and the records that wait behind them.

use millrace_tests::load::{add_product, command, customer, order, place, product, register};
use millrace_tests::{Instance, Process, becomes};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{beside_others, instance};

async fn number(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.expect(sql)
}

async fn texts(pool: &PgPool, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(pool).await.expect(sql)
}

/// `millrace dlq …` for programs.
async fn dlq(instance: &Instance, arguments: &[&str]) -> Value {
    let arguments = [&["dlq"], arguments, &["--format", "json"]].concat();
    instance.millrace(&arguments).await.expect_success().json()
}

/// The dry run of a redrive that would fail again; its exit code shows it, too.
async fn trial_that_fails(instance: &Instance, id: &str) -> Value {
    let tried = instance.millrace(&["dlq", "redrive", id, "--dry-run", "--format", "json"]).await;
    tried.expect_code(1).json()[0].clone()
}

const ORDER: &str = "SELECT status || ' ' || coalesce(code, '') FROM command WHERE id = 'PlaceOrder-1'";
const STAMP: &str = "SELECT produced_at::text FROM command WHERE id = 'PlaceOrder-1'";
const DEAD: &str = "SELECT count(*) FROM dead_letter WHERE status = 'dead'";
const AUDIT: &str =
    "SELECT concat_ws(' ', who, action, subject, why, details->>'key') FROM audit ORDER BY id";

/// A process, and an order whose customer never came, dead after its retries.
async fn an_order_of_nobody(instance: &Instance) -> Process {
    let process = instance.start();
    instance.send(&[add_product(1)]).await;
    instance.settle().await;
    instance.send(&[place(1, &customer(1), &product(1))]).await;
    becomes(&instance.write, DEAD, 1).await;
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_command_is_listed_and_shown() {
    let _turn = beside_others().await;
    let instance = instance("dlq_show").await;
    let _process = an_order_of_nobody(&instance).await;
    assert_eq!(texts(&instance.write, ORDER).await, ["dead reference-not-found"]);
    let listed = dlq(&instance, &["list", "--group", "commands", "--key", &order(1), "--since", "1h"]).await;
    let letter = &listed[0];
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!((&letter["id"], &letter["code"]), (&json!("w1"), &json!("reference-not-found")));
    assert_eq!((&letter["key"], &letter["attempts"]), (&json!(order(1)), &json!(3)));
    for others in
        [["--group", "orders"], ["--status", "redriven"], ["--topic", &instance.topic("cmd", "customers")]]
    {
        assert_eq!(dlq(&instance, &[&["list"], &others[..]].concat()).await, json!([]), "{others:?}");
    }
    let shown = dlq(&instance, &["show", "w1"]).await;
    assert_eq!(shown["value"]["customer_id"], json!(customer(1)));
    let has =
        |part: &str, name: &str| shown[part].as_array().unwrap().iter().any(|header| header["name"] == name);
    assert!(
        has("headers", "ce_id") && has("headers", "traceparent") && !has("headers", "x-attempts"),
        "{shown}"
    );
    assert!(has("copy_headers", "x-error-code") && has("copy_headers", "x-source-timestamp"), "{shown}");
    let text = instance.millrace(&["dlq", "show", "w1"]).await;
    assert!(
        text.expect_success().stdout.contains(&format!("\"order_id\": \"{}\"", order(1))),
        "{}",
        text.stdout
    );
    instance.millrace(&["dlq", "list", "--status", "all"]).await.expect_told("STATUS").expect_told("dead");
    instance
        .millrace(&["dlq", "list", "--code", "undecodable"])
        .await
        .expect_code(4)
        .expect_told("reference-not-found");
    instance.millrace(&["receipt", "PlaceOrder-1"]).await.expect_success().expect_told("w1 (dead)");
    instance.millrace(&["dlq", "show", "w99"]).await.expect_code(4);
    instance.millrace(&["dlq", "redrive", "w1"]).await.expect_code(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_order_is_tried_without_effect_and_redriven_once() {
    let _turn = beside_others().await;
    let instance = instance("dlq_redrive").await;
    let _process = an_order_of_nobody(&instance).await;
    let stamp = texts(&instance.write, STAMP).await;
    let tried = trial_that_fails(&instance, "w1").await;
    assert_eq!((&tried["outcome"], &tried["code"]), (&json!("fails"), &json!("reference-not-found")));
    instance.send(&[register(1)]).await;
    instance.settle().await;
    it_would_be_placed(&instance).await;
    let filters = ["redrive", "--code", "reference-not-found", "--why", "ann is here", "--who", "bo"];
    assert_eq!(dlq(&instance, &filters).await, json!({"redriven": 1, "already": 0, "refused": []}));
    instance.settle().await;
    assert_eq!(texts(&instance.write, ORDER).await, ["completed "]);
    assert_eq!(texts(&instance.write, STAMP).await, stamp, "it is the record that it was");
    assert_eq!(number(&instance.read, "SELECT count(*) FROM orders").await, 1);
    let again = dlq(&instance, &["redrive", "w1", "--why", "again"]).await;
    assert_eq!(again, json!({"redriven": 0, "already": 1, "refused": []}));
    assert_eq!(texts(&instance.write, AUDIT).await, [format!("bo redrive w1 ann is here {}", order(1))]);
    assert_eq!(number(&instance.write, DEAD).await, 0);
    assert_eq!(number(&instance.write, "SELECT count(*) FROM blocked_key").await, 0);
}

/// The dry run says so, and leaves everything as it was.
async fn it_would_be_placed(instance: &Instance) {
    let tried = dlq(instance, &["redrive", "w1", "--dry-run"]).await;
    let (tried, event) = (&tried[0], &tried[0]["events"][0]);
    assert_eq!(
        (&tried["outcome"], &tried["receipt"]["status"]),
        (&json!("applied"), &json!("completed")),
        "{tried}"
    );
    assert_eq!((&event["type"], &event["version"]), (&json!("millrace.orders.OrderPlaced"), &json!(1)));
    assert_eq!((&event["data"]["order_id"], &event["stream"]), (&json!(order(1)), &json!(order(1))));
    assert_eq!(texts(&instance.write, ORDER).await, ["dead reference-not-found"]);
    let orders = "SELECT count(*) FROM outbox WHERE aggregatetype = 'orders' AND version IS NOT NULL";
    assert_eq!(number(&instance.write, orders).await, 0);
    assert_eq!((number(&instance.write, DEAD).await, texts(&instance.write, AUDIT).await), (1, Vec::new()));
}

/// A process, and a customer whom only the table of the view `customers` refuses; a change of theirs waits behind.
async fn a_refused_customer(instance: &Instance) -> Process {
    instance.refuse_unless("customers_g1", "city <> 'Atlantis'").await;
    let process = instance.start();
    let email = "plato@example.com";
    let lives_in =
        |city: &str| json!({"customer_id": customer(1), "name": "Plato", "email": email, "city": city});
    instance.send(&[command("RegisterCustomer", 1, lives_in("Atlantis")), register(2)]).await;
    becomes(&instance.read, "SELECT count(*) FROM blocked_key WHERE status = 'dead'", 1).await;
    // Not before: a row is written once for a batch, and Athens is not refused.
    instance.send(&[command("ChangeCustomerDetails", 1, lives_in("Athens"))]).await;
    becomes(&instance.read, "SELECT count(*) FROM parked", 2).await;
    becomes(&instance.read, "SELECT count(*) FROM customers WHERE city = 'Berlin'", 1).await;
    assert_eq!(number(&instance.read, "SELECT count(*) FROM customers WHERE name = 'Plato'").await, 0);
    process
}

const PLATO: &str = "SELECT city || ' ' || version FROM customers WHERE name = 'Plato'";

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_dead_event_its_key_waits_until_the_event_is_discarded() {
    let _turn = beside_others().await;
    let instance = instance("dlq_discard").await;
    let _process = a_refused_customer(&instance).await;
    let tried = trial_that_fails(&instance, "r1").await;
    assert_eq!((&tried["outcome"], &tried["code"]), (&json!("fails"), &json!("refused-by-database")));
    let chosen = dlq(&instance, &["discard", "--group", "customers", "--dry-run"]).await;
    assert_eq!((&chosen[0]["id"], &chosen[0]["status"]), (&json!("r1"), &json!("dead")), "{chosen}");
    let discarded =
        dlq(&instance, &["discard", "--group", "customers", "--why", "it sank", "--who", "bo"]).await;
    assert_eq!(discarded, json!({"discarded": 1, "already": 0, "refused": []}));
    instance.settle().await;
    assert_eq!(texts(&instance.read, PLATO).await, ["Athens 1"], "the change went on without the beginning");
    assert_eq!(instance.documents("customers").await.len(), 2);
    assert_eq!(texts(&instance.read, AUDIT).await, [format!("bo discard r1 it sank {}", customer(1))]);
    let audit = instance.millrace(&["audit", "list", "--subject", "r1", "--format", "json"]).await;
    let audit = audit.expect_success().json();
    assert_eq!((&audit[0]["who"], &audit[0]["why"]), (&json!("bo"), &json!("it sank")), "{audit}");
    assert_eq!(number(&instance.read, "SELECT count(*) FROM blocked_key").await, 0);
    assert_eq!(dlq(&instance, &["list", "--status", "discarded"]).await[0]["id"], "r1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_event_that_is_redriven_comes_before_what_waits_behind_it() {
    let _turn = beside_others().await;
    let instance = instance("dlq_view").await;
    let _process = a_refused_customer(&instance).await;
    instance.refuse_no_more("customers_g1").await;
    let tried = dlq(&instance, &["redrive", "r1", "--dry-run"]).await;
    assert_eq!((&tried[0]["outcome"], &tried[0]["rows"][0]["city"]), (&json!("applied"), &json!("Atlantis")));
    assert_eq!(texts(&instance.read, PLATO).await, Vec::<String>::new(), "nothing has changed");
    let redriven = dlq(&instance, &["redrive", "r1", "--why", "it is there again", "--rate", "10"]).await;
    assert_eq!(redriven, json!({"redriven": 1, "already": 0, "refused": []}));
    instance.settle().await;
    assert_eq!(texts(&instance.read, PLATO).await, ["Athens 2"]);
    assert_eq!(instance.documents("customers").await.len(), 2);
}
