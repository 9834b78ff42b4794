//! Traces for OpenTelemetry: everything that comes of a command is one trace, and a collector that is away holds nothing up.

use std::collections::{BTreeMap, BTreeSet};

use millrace_tests::collector::{Collector, Official, Received};
use millrace_tests::load::{add_product, command, customer, order, product, register};
use millrace_tests::{Instance, becomes};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::fulfilment::{Shop, shop};
use crate::{WORKSHOP, beside_others, instance_with};

/// The command whose trace is followed, by its number; `load::command` gives it a trace of its own.
const CHECKED_OUT: usize = 90;
/// A command that is not sampled.
const UNSAMPLED: usize = 91;

fn trace(number: usize) -> String {
    format!("{:032x}", number + 1)
}

fn cart(name: &str, number: usize, mut data: Value) -> String {
    data["cart_id"] = json!("cart-1");
    command(name, number, data)
}

/// A cart that was filled before it is checked out.
async fn checks_out(shop: &Shop) {
    let filled = [
        cart("CreateCart", 1, json!({"customer_id": customer(0), "currency": "USD"})),
        cart("AddToCart", 2, json!({"product_id": product(0), "quantity": 2})),
    ];
    shop.instance.send_and_wait(&filled).await.expect_success();
    shop.rest().await;
    let unsampled = register(UNSAMPLED).replace("-01\"", "-00\"");
    assert!(unsampled.contains("-00\""), "{unsampled}");
    let data = json!({"order_id": order(1), "checked_out_at": "2024-01-01T00:00:00Z"});
    shop.instance.send(&[cart("CheckOutCart", CHECKED_OUT, data), unsampled]).await;
    shop.instance.settle().await;
    shop.rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_is_one_trace_from_its_command_to_the_last_document() {
    let _turn = beside_others().await;
    let collector = Collector::start().await;
    let settings = [("otlp.endpoint", collector.endpoint.as_str()), ("otlp.token", "a-token")];
    let shop = shop("spans", &settings, &[]).await;
    shop.stocked(1, &[5]).await;
    let mut process = shop.open();
    checks_out(&shop).await;
    // What has not been sent by now is sent at the end.
    process.stops().await;
    everything_was_received(&shop, &collector).await;
    let instance = collector.resources().pop().expect("a resource");
    assert_eq!(instance["service.name"], "millrace");
    assert_eq!(instance["service.namespace"], shop.instance.name);
    assert!(collector.tokens().iter().all(|token| token == "Bearer a-token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_of_opentelemetry_takes_and_passes_on_all_of_it() {
    let _turn = beside_others().await;
    let collector = Collector::start().await;
    let Some(official) = Official::before(&collector, WORKSHOP).await else {
        return println!("OTELCOL=none: nothing is sent to the OpenTelemetry Collector");
    };
    let shop = shop("spans_official", &[("otlp.endpoint", official.endpoint.as_str())], &[]).await;
    shop.stocked(1, &[5]).await;
    let mut process = shop.open();
    checks_out(&shop).await;
    process.stops().await;
    official.ends().await;
    everything_was_received(&shop, &collector).await;
}

async fn everything_was_received(shop: &Shop, collector: &Collector) {
    let all = collector.spans();
    let spans: Vec<Received> = all.iter().filter(|span| span.trace == trace(CHECKED_OUT)).cloned().collect();
    is_one_tree(&spans);
    names_what_it_has_written(&shop.instance, &spans).await;
    has_every_view(&shop.instance, &spans).await;
    has_every_step_and_call(&shop.instance, &spans).await;
    is_linked_with_its_batches(&all, &spans);
    assert_eq!(all.iter().filter(|span| span.trace == trace(UNSAMPLED)).count(), 0, "it is not sampled");
}

/// One span is below the producer's, and each other one below another of the trace; none is there twice.
fn is_one_tree(spans: &[Received]) {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    assert_eq!(ids.len(), spans.len(), "{spans:#?}");
    let (inner, outer): (Vec<_>, Vec<_>) = spans.iter().partition(|span| ids.contains(span.parent.as_str()));
    let outer: Vec<(&str, &str)> =
        outer.iter().map(|span| (span.name.as_str(), span.parent.as_str())).collect();
    let producers = format!("{:016x}", CHECKED_OUT + 1);
    assert_eq!(outer, [("commands CheckOutCart", producers.as_str())]);
    assert!(inner.iter().all(|span| span.lasted.0 <= span.lasted.1 && !span.failed), "{inner:#?}");
}

/// Id, context, type and context of the span of each record of the trace that Millrace wrote.
async fn written(instance: &Instance) -> Vec<(String, String, String, String)> {
    let sql = "SELECT id::text, aggregatetype, type, split_part(traceparent, '-', 3) FROM outbox
               WHERE split_part(traceparent, '-', 2) = $1";
    let rows = sqlx::query_as(sql).bind(trace(CHECKED_OUT)).fetch_all(&instance.write).await;
    rows.expect("rows of the outbox")
}

/// Each record that was written belongs to the span in which it was written, and its command to none else.
async fn names_what_it_has_written(instance: &Instance, spans: &[Received]) {
    let named: BTreeMap<&str, &str> =
        spans.iter().map(|span| (span.id.as_str(), span.name.as_str())).collect();
    let rows = written(instance).await;
    let writers: BTreeSet<String> = rows
        .iter()
        .map(|(_, _, record, span)| {
            let writer = named.get(span.as_str()).unwrap_or_else(|| panic!("{record} is of no span: {span}"));
            let record = record.rsplit('.').next().unwrap_or_default();
            format!("{writer} → {record}")
        })
        .collect();
    for expected in [
        "commands CheckOutCart → CartCheckedOut",
        "checkout CartCheckedOut → PlaceOrder",
        "commands PlaceOrder → OrderPlaced",
        "fulfilment OrderPlaced → ReserveStock",
        "call payment → AuthorisePayment",
    ] {
        assert!(writers.contains(expected), "{expected} is not among {writers:#?}");
    }
    let commands = spans.iter().filter(|span| span.name.starts_with("commands ")).count() as i64;
    let decided = "SELECT count(*) FROM command WHERE source LIKE '/%'";
    assert_eq!(commands, instance.count(decided).await.expect("a count") + 1, "{writers:#?}");
}

/// Each event of the trace was applied by every view that reads it, below the span in which it was written, and its documents were
/// acknowledged.
async fn has_every_view(instance: &Instance, spans: &[Received]) {
    let views = instance.views();
    let mut expected = BTreeSet::new();
    for (id, context, record, span) in written(instance).await {
        let record = record.rsplit('.').next().unwrap_or_default().to_owned();
        let of_context = views.iter().filter(|view| view.contexts.contains(&context.as_str()));
        expected.extend(of_context.map(|view| (format!("{} {record}", view.name), id.clone(), span.clone())));
    }
    let is_event = |id: &str| {
        spans
            .iter()
            .any(|span| span.name.starts_with("events ") && span.attribute("messaging.message.id") == id)
    };
    expected.retain(|(_, id, _)| is_event(id));
    assert!(expected.len() > 20, "{expected:#?}");
    let id = |span: &Received| span.attribute("messaging.message.id").to_owned();
    let found: BTreeSet<_> =
        spans.iter().map(|span| (span.name.clone(), id(span), span.parent.clone())).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    for view in views.iter().filter(|view| view.index) {
        let prefix = format!("{} ", view.name);
        for applied in spans.iter().filter(|span| span.name.starts_with(&prefix)) {
            let below = spans.iter().filter(|span| span.parent == applied.id).map(|span| &span.name);
            let below: Vec<&String> = below.collect();
            assert!(below.len() == 1 && below[0].starts_with("index "), "{}: {below:?}", applied.name);
        }
    }
}

async fn has_every_step_and_call(instance: &Instance, spans: &[Received]) {
    let groups = |role: &str| {
        let group = instance.group(role);
        spans.iter().filter(|span| span.attribute("messaging.consumer.group.name") == group).count() as i64
    };
    for saga in ["checkout", "fulfilment"] {
        let steps = sqlx::query_scalar("SELECT count(*) FROM saga_step WHERE saga = $1").bind(saga);
        let steps: i64 = steps.fetch_one(&instance.write).await.expect("a count");
        assert!(steps > 1);
        assert_eq!(groups(saga), steps, "each step of {saga} has a span, and nothing else");
    }
    for effect in ["payment", "mail"] {
        let calls = sqlx::query_scalar("SELECT count(*) FROM effect WHERE effect = $1").bind(effect);
        let calls: i64 = calls.fetch_one(&instance.write).await.expect("a count");
        let name = format!("call {effect}");
        let made: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!((made.len() as i64, groups(effect)), (calls, calls), "{effect}");
        assert!(made.iter().all(|call| call.attribute("millrace.outcome") == "answered"), "{made:#?}");
    }
}

/// A record and its batch, which has a trace of its own, name each other.
fn is_linked_with_its_batches(all: &[Received], spans: &[Received]) {
    for span in spans.iter().filter(|span| !span.attribute("messaging.kafka.offset").is_empty()) {
        let [(trace, batch)] = span.links.as_slice() else { panic!("{span:#?}") };
        let batch = all.iter().find(|one| one.id == *batch && one.trace == *trace).expect("its batch");
        assert!(batch.name.starts_with("batch ") && batch.parent.is_empty(), "{batch:#?}");
        assert!(batch.links.contains(&(span.trace.clone(), span.id.clone())), "{batch:#?}");
    }
}

/// It takes connections and says nothing, and there is room for one span.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_holds_up_neither_records_nor_the_end() {
    let _turn = beside_others().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("its address"));
    let instance =
        instance_with("spans_silent", &[("otlp.endpoint", endpoint.as_str()), ("otlp.queue", "1")]).await;
    let mut process = instance.start();
    instance.send(&[add_product(1), register(1)]).await;
    let (connection, _) = silent.accept().await.expect("a request");
    instance.send(&(2..30).map(register).collect::<Vec<_>>()).await;
    instance.settle().await;
    becomes(&instance.read, "SELECT count(*) FROM customers", 29).await;
    process.reports("millrace_spans_dropped_total", &[("why", "queue")], 1.0).await;
    let exported = process.metrics().await.expect("figures").sum("millrace_spans_exported_total", &[]);
    assert_eq!(exported, 0.0, "the collector has taken nothing");
    process.stops().await;
    drop(connection);
}
