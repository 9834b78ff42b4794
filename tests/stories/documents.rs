//! Refusals by Elasticsearch: an index that refuses everything for a while, and documents that it refuses for good.

use millrace_tests::load::{add_product, customer, order, place, product, register};
use millrace_tests::snapshot::{elastic, elastic_with};
use millrace_tests::{Instance, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{beside_others, instance_with};

const LETTERS: &str = "SELECT convert_from(key, 'UTF8') FROM dead_letter WHERE status = 'dead' ORDER BY 1";

async fn letters(read: &PgPool) -> Vec<String> {
    sqlx::query_scalar(LETTERS).fetch_all(read).await.expect("the ledger")
}

fn index(instance: &Instance, view: &str) -> String {
    format!("{}-{view}-g1", instance.name)
}

async fn set(index: &str, settings: Value) {
    elastic_with(Method::PUT, &format!("{index}/_settings"), Some(settings)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_takes_nothing_for_a_while_loses_nothing() {
    let _turn = beside_others().await;
    let instance = instance_with("blocked_index", &[("contexts", r#"["customers"]"#)]).await;
    let process = instance.start();
    instance.send(&[register(0)]).await;
    instance.settle().await;
    let [customers, events] = ["customers", "events"].map(|view| index(&instance, view));
    set(&customers, json!({"index.blocks.write": true})).await;
    elastic(&format!("{events}/_close"), None).await;
    instance.send(&(1..21).map(register).collect::<Vec<_>>()).await;
    for reason in ["cluster_block_exception", "index_closed_exception"] {
        eventually(&format!("the process tells of the {reason}"), async || {
            if process.log().contains(reason) {
                Ok(())
            } else {
                Err(format!("{:?}", letters(&instance.read).await))
            }
        })
        .await;
    }
    process.reports("millrace_outage", &[("dependency", "elasticsearch")], 1.0).await;
    set(&customers, json!({"index.blocks.write": null})).await;
    elastic(&format!("{events}/_open"), None).await;
    instance.settle().await;
    assert_eq!(letters(&instance.read).await, [""; 0]);
    assert_eq!(instance.documents("events").await.len(), 21);
    instance.assert_both_read_models_agree().await;
}

/// Documents of orders with lines, and events that have lists, are refused; or all are taken again.
async fn refuse_lines(instance: &Instance, refuse: bool) {
    let (objects, depth) = if refuse { (0, 1) } else { (10_000, 50) };
    set(&index(instance, "orders"), json!({"index.mapping.nested_objects.limit": objects})).await;
    let data = json!({"type": "flattened", "depth_limit": depth, "ignore_above": 8191});
    let mapping = json!({"properties": {"data": data}});
    elastic_with(Method::PUT, &format!("{}/_mapping", index(instance, "events")), Some(mapping)).await;
}

/// An instance with two orders whose documents are refused, and so are those of their events.
async fn with_refused_orders() -> (Instance, millrace_tests::Process) {
    let contexts = [("contexts", r#"["catalog", "customers", "orders"]"#)];
    let instance = instance_with("refused_documents", &contexts).await;
    let process = instance.start();
    instance.send(&[add_product(1), register(1)]).await;
    instance.settle().await;
    refuse_lines(&instance, true).await;
    instance.send(&[1, 2].map(|i| place(i, &customer(1), &product(1)))).await;
    instance.settle().await;
    (instance, process)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_document_can_be_redriven_and_keeps_no_other_from_its_repair() {
    let _turn = beside_others().await;
    let (instance, _process) = with_refused_orders().await;
    let refused = letters(&instance.read).await;
    assert_eq!((refused.len(), &refused[2..]), (4, &[order(1), order(2)][..]), "{refused:?}");
    others_are_repaired(&instance).await;
    let redrive = ["dlq", "redrive", "--code", "document-refused", "--why", "mended", "--format", "json"];
    let early = instance.millrace(&redrive).await;
    early.expect_code(1).expect_told("Elasticsearch refuses it again: document_parsing_exception");
    assert_eq!(letters(&instance.read).await, refused, "the letters stay");
    refuse_lines(&instance, false).await;
    let shown =
        instance.millrace(&["dlq", "redrive", "--code", "document-refused", "--dry-run", "--format", "json"]);
    let outcomes: Vec<Value> = shown.await.json().as_array().expect("letters").clone();
    assert!(outcomes.iter().all(|shown| shown["outcome"] == "sent"), "{outcomes:?}");
    let redriven = instance.millrace(&redrive).await.expect_success().json();
    assert_eq!(redriven, json!({"redriven": 4, "already": 0, "refused": []}));
    instance.millrace(&["verify", "orders", "customers", "events"]).await.expect_success();
    assert_eq!(instance.documents("orders").await.len(), 2);
}

/// A document that is lost, besides those that are refused.
async fn others_are_repaired(instance: &Instance) {
    let lost = format!("{}/_doc/{}?refresh=true", index(instance, "customers"), customer(1));
    elastic_with(Method::DELETE, &lost, None).await;
    let repair = ["verify", "orders", "customers", "--repair", "--why", "a document was lost"];
    let repair = instance.millrace(&repair).await;
    let refused = format!("not repaired: {}/{}", index(instance, "orders"), order(1));
    repair.expect_code(5).expect_told(&refused).expect_told("repaired: 1");
    assert_eq!(instance.documents("customers").await.len(), 1);
}
