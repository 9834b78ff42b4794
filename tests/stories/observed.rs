//! Metrics and alerts: the metrics of the namespace show what is late or has failed, and a real Prometheus fires the alerts of
//! `connectors/observability/`.

use millrace_tests::load::{add_product, customer, place, product, register};
use millrace_tests::prometheus::Alerts;
use millrace_tests::stack::connect;
use millrace_tests::{Instance, Process, becomes, eventually};
use reqwest::Method;

use crate::{WORKSHOP, beside_others, instance_with};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_or_failed_shows_by_itself_and_is_quiet_otherwise() {
    let _turn = beside_others().await;
    let instance = instance_with("observed", &[("metrics.interval", "200ms")]).await;
    let mut first = instance.start();
    instance.send(&[add_product(1)]).await;
    instance.settle().await;
    all_is_known_and_nothing_late(&instance, &first).await;
    let alerts = Alerts::of(WORKSHOP, &instance, &first).await;
    alerts.are(&[]).await;
    statements_and_queries_have_times(&first).await;
    freshness_is_told_until_the_row_and_until_the_document(&instance, &first).await;

    instance.send(&[place(1, &customer(1), &product(1))]).await;
    becomes(&instance.write, "SELECT count(*) FROM dead_letter WHERE status = 'dead'", 1).await;
    let commands = instance.group("commands");
    let letter = [("group", commands.as_str()), ("code", "reference-not-found")];
    first.reports("millrace_open_dead_letters", &letter, 1.0).await;
    alerts.are(&["MillraceCommandsDie", "MillraceDeadLetters"]).await;

    while_the_connector_is_paused(&instance, &first, &alerts).await;
    alerts.are(&["MillraceCommandsDie", "MillraceDeadLetters"]).await;

    let second = instance.start();
    eventually("the second process serves", async || second.metrics().await.map(drop)).await;
    assert_eq!((looks(&first).await, looks(&second).await), (Ok(1), Ok(0)), "exactly one process looks");
    first.kill();
    eventually("the second process looks", async || match looks(&second).await? {
        1 => Ok(()),
        looks => Err(format!("{looks} series")),
    })
    .await;
}

/// How many series of the namespace a process exports.
async fn looks(process: &Process) -> Result<usize, String> {
    let figures = process.metrics().await?;
    Ok(figures.lines().filter(|line| line.starts_with("millrace_observed_round_seconds{")).count())
}

async fn all_is_known_and_nothing_late(instance: &Instance, process: &Process) {
    process.reports("millrace_observed_success", &[], 11.0).await;
    let lag = |name| (name, vec![("group", instance.group("customers"))]);
    let nothing = [
        lag("millrace_lag_records"),
        lag("millrace_lag_seconds"),
        ("millrace_outbox_waiting_rows", vec![]),
        ("millrace_outbox_waiting_seconds", vec![]),
        ("millrace_open_dead_letters", vec![]),
    ];
    for (name, labels) in nothing {
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        falls(process, name, &labels, 0.0).await;
    }
    let [running, reserved] = [
        ("millrace_connector_state", ("state", "running")),
        ("millrace_slot_wal_status", ("status", "reserved")),
    ];
    for (name, label) in [running, reserved] {
        process.reports(name, &[label], 1.0).await;
    }
}

/// Of what has happened so far; each round times one query of a reader, an index as well as an SQL view.
async fn statements_and_queries_have_times(process: &Process) {
    for statement in ["begin", "commit", "offsets advance", "outbox insert", "progress begin", "view insert"]
    {
        process.reports("millrace_statement_seconds_count", &[("statement", statement)], 1.0).await;
    }
    let produced = [("type", "AddProduct"), ("outcome", "completed")];
    let figures = process.metrics().await.expect("figures");
    let [waited, took] = ["millrace_command_wait_seconds_sum", "millrace_command_seconds_sum"]
        .map(|name| figures.sum(name, &produced));
    assert!(0.0 < waited && waited < took, "{waited} of {took}");
    for query in ["view products", "view order_lines", "index products"] {
        process.reports("millrace_query_seconds_count", &[("query", query)], 1.0).await;
    }
}

async fn freshness_is_told_until_the_row_and_until_the_document(instance: &Instance, process: &Process) {
    let (group, index) = (instance.group("products"), format!("{}-products-g1", instance.name));
    process.reports("millrace_freshness_row_seconds_sum", &[("group", group.as_str())], 0.001).await;
    process.reports("millrace_freshness_document_seconds_count", &[("index", index.as_str())], 1.0).await;
}

async fn falls(process: &Process, name: &str, labels: &[(&str, &str)], at_most: f64) {
    eventually(&format!("{name} {labels:?} is {at_most} or less"), async || {
        let value = process.metrics().await?.sum(name, labels);
        if value <= at_most { Ok(()) } else { Err(value.to_string()) }
    })
    .await;
}

/// Kafka has nothing new for the view, and yet it is late.
async fn while_the_connector_is_paused(instance: &Instance, process: &Process, alerts: &Alerts) {
    let connector = format!("connectors/{}_outbox", instance.name);
    connect(Method::PUT, &format!("{connector}/pause")).await;
    process.reports("millrace_connector_state", &[("state", "paused")], 1.0).await;
    instance.send(&[register(2)]).await;
    let (group, topic) = (instance.group("customers"), instance.topic("evt", "customers"));
    let lag = [("group", group.as_str()), ("topic", topic.as_str())];
    process.reports("millrace_lag_seconds", &lag, 6.0).await;
    let figures = process.metrics().await.expect("figures");
    assert_eq!(figures.sum("millrace_lag_records", &lag), 0.0, "Kafka has nothing of it");
    assert_eq!(figures.sum("millrace_outbox_waiting_rows", &[]), 2.0, "the event, and the command's outcome");
    alerts
        .are(&[
            "MillraceCommandsDie",
            "MillraceConnectorNotRunning",
            "MillraceDeadLetters",
            "MillraceViewBehind",
        ])
        .await;
    connect(Method::PUT, &format!("{connector}/resume")).await;
    falls(process, "millrace_lag_seconds", &lag, 0.0).await;
    falls(process, "millrace_outbox_waiting_rows", &[], 0.0).await;
}
