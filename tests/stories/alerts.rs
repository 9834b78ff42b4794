//! Each fault fires its alert in a real Prometheus, whose Alertmanager tells people once, and the alert ends with the fault. All that
//! rules and dashboard ask for is there.

use std::collections::BTreeSet;

use millrace_tests::link::{Link, State};
use millrace_tests::load::{command, register};
use millrace_tests::prometheus::{Alertmanager, Alerts};
use millrace_tests::promql;
use millrace_tests::stack::connect;
use millrace_tests::{Process, Raw, becomes, eventually, kafka};
use reqwest::Method;
use serde_json::json;

use crate::faults::{connector, drop_the_slot, stops};
use crate::fulfilment::{Shop, place, shop};
use crate::{WORKSHOP, beside_others};

const CONTEXTS: &str =
    r#"["campaigns", "carts", "catalog", "customers", "inventory", "notifications", "orders", "payments"]"#;
const SETTINGS: [(&str, &str); 6] = [
    ("contexts", CONTEXTS),
    ("metrics.interval", "200ms"),
    ("audit.interval", "5s"),
    ("retries.delays", "[3s]"),
    ("effects.breaker_failures", "1"),
    ("effects.age_max", "1h"),
];
/// More than the slot keeps otherwise; the rule of the story is lower than the example's.
const WAL: &str =
    "SELECT count(pg_logical_emit_message(true, 'story', repeat('x', 1000000))) FROM generate_series(1, 150)";

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_fires_its_alert_which_is_told_once_and_ends_with_it() {
    let _turn = beside_others().await;
    let shop = shop("alerts", &SETTINGS, &[]).await;
    shop.stocked(1, &[50]).await;
    let provider = Link::before("MILLRACE_PAYMENT__URL", &shop.outside.payments()).await;
    let (_, url) = provider.variable();
    let elasticsearch = Link::to("ELASTICSEARCH_URL").await;
    let variables = [elasticsearch.variable(), ("FAILPOINTS", "poison-fold=return(poison)")];
    let process = shop.instance.start_with(&["--set", &format!("payment.url={url}")], &variables);
    let manager = Alertmanager::start(WORKSHOP, &shop.outside.mail()).await;
    let alerts = Alerts::telling(WORKSHOP, &shop.instance, &process, manager.as_ref()).await;
    for command in campaign() {
        shop.instance.send_and_wait(&[command]).await.expect_success();
    }
    shop.instance.send(&[place(1, 1, &[(0, 1)])]).await;
    shop.rest().await;
    alerts.are(&[]).await;

    the_provider_fails_and_a_saga_is_stuck(&shop, &provider, &alerts).await;
    a_view_is_held_back(&shop, &alerts).await;
    elasticsearch_is_away(&shop, &elasticsearch, &alerts).await;
    a_row_is_refused(&shop, &alerts).await;
    a_row_is_corrupted(&shop, &process, &alerts).await;
    the_slot_keeps_wal_and_is_dropped(&shop, &alerts).await;
    alerts.are(&[]).await;
    if let Some(manager) = &manager {
        each_was_told_once(&shop, manager).await;
    }
    a_record_is_poison(&shop, &alerts).await;
    if let Some(manager) = &manager {
        each_was_told_once(&shop, manager).await;
    }
    a_fold_panics(&shop, &alerts).await;
    every_expression_has_series_with_its_labels(&shop, &alerts).await;
}

/// A segment, and then a campaign of it: a panel shows how many could be created.
fn campaign() -> [String; 2] {
    let rules = json!({"fact": "country", "is": "=", "value": "Mexico"}).to_string();
    let segment = json!({"segment_id": "mexicans", "name": "Mexicans", "rules": rules});
    let campaign = json!({
        "campaign_id": "spring", "segment_id": "mexicans", "name": "Spring", "subject": "Hello",
        "message": "It is spring.",
    });
    [command("DefineSegment", 0, segment), command("CreateCampaign", 1, campaign)]
}

/// The saga has taken no step for an hour.
async fn the_provider_fails_and_a_saga_is_stuck(shop: &Shop, provider: &Link, alerts: &Alerts) {
    provider.becomes(State::Cut);
    shop.instance.send(&[place(2, 1, &[(0, 1)])]).await;
    alerts.include(&["MillraceProviderFails"]).await;
    let waits = "UPDATE saga SET updated_at = now() - interval '1 hour' WHERE standing = 'paying'";
    let waiting = sqlx::query(waits).execute(&shop.instance.write).await.expect("an instance");
    assert_eq!(waiting.rows_affected(), 1);
    alerts.include(&["MillraceSagasStuck"]).await;
    provider.becomes(State::Well);
    shop.rest().await;
    alerts.are(&[]).await;
}

/// Another session locks its table.
async fn a_view_is_held_back(shop: &Shop, alerts: &Alerts) {
    let mut other = shop.instance.read.begin().await.expect("a session");
    sqlx::query("LOCK TABLE customers_g1 IN EXCLUSIVE MODE").execute(&mut *other).await.expect("a lock");
    shop.instance.send(&[register(20)]).await;
    alerts.include(&["MillraceViewBehind"]).await;
    other.rollback().await.expect("an end");
    alerts.are(&[]).await;
}

async fn elasticsearch_is_away(shop: &Shop, link: &Link, alerts: &Alerts) {
    link.becomes(State::Cut);
    shop.instance.send(&[register(24)]).await;
    alerts.include(&["MillraceOutage", "MillracePartUnknown"]).await;
    link.becomes(State::Well);
    alerts.are(&[]).await;
}

/// By Postgres, until an operator lets it in and redrives the event.
async fn a_row_is_refused(shop: &Shop, alerts: &Alerts) {
    shop.instance.refuse_unless("customers_g1", "customer_id <> 'customer-0022'").await;
    shop.instance.send(&[register(22)]).await;
    alerts.include(&["MillraceDeadLetters", "MillraceKeysBlocked"]).await;
    shop.instance.refuse_no_more("customers_g1").await;
    let redrive = ["dlq", "redrive", "--code", "refused-by-database", "--why", "story"];
    shop.instance.millrace(&redrive).await.expect_success();
    alerts.are(&[]).await;
}

/// At a command, which then is a dead letter. Its alert lasts for a quarter of an hour.
async fn a_fold_panics(shop: &Shop, alerts: &Alerts) {
    let customer = json!({"customer_id": "customer-0023", "name": "Ann", "email": "ann@example.com"});
    let command = Raw::command("panics", "RegisterCustomer", &customer).await.header("poison", "1");
    kafka::produce(&shop.instance.topic("cmd", "customers"), Some(0), &[command]).await;
    alerts.include(&["MillracePanics", "MillraceCommandsDie"]).await;
}

/// An event that no view can read. It stays in the topic, where the auditor finds it, since the outbox has no such event.
async fn a_record_is_poison(shop: &Shop, alerts: &Alerts) {
    let event =
        Raw::value("poison").key("customer-0021").header("ce_id", "poison").header("ce_sequence", "1");
    kafka::produce(&shop.instance.topic("evt", "customers"), None, &[event]).await;
    alerts.include(&["MillraceDeadLetters"]).await;
    let discard = ["dlq", "discard", "--code", "undecodable", "--why", "story"];
    eventually("all of them are discarded", async || {
        shop.instance.millrace(&discard).await;
        match shop.instance.millrace(&["status"]).await {
            status if status.code == Some(0) => Ok(()),
            status => Err(status.stdout),
        }
    })
    .await;
    alerts.lack(&["MillraceDeadLetters", "MillraceKeysBlocked"]).await;
}

/// The auditor repairs it when it finds it again.
async fn a_row_is_corrupted(shop: &Shop, process: &Process, alerts: &Alerts) {
    sqlx::query("UPDATE customers_g1 SET city = 'Atlantis' WHERE customer_id = 'customer-0020'")
        .execute(&shop.instance.read)
        .await
        .expect("a row");
    alerts.include(&["MillraceAuditFindings"]).await;
    process.reports("millrace_audit_repairs_total", &[], 1.0).await;
    becomes(&shop.instance.read, "SELECT count(*) FROM customers WHERE city = 'Atlantis'", 0).await;
    alerts.are(&[]).await;
}

async fn the_slot_keeps_wal_and_is_dropped(shop: &Shop, alerts: &Alerts) {
    stops(&connector(&shop.instance)).await;
    // What is rolled back is written and not carried: Connect works for all stories.
    let mut transaction = shop.instance.write.begin().await.expect("a transaction");
    sqlx::query(WAL).execute(&mut *transaction).await.expect("WAL");
    transaction.rollback().await.expect("its end");
    alerts.include(&["MillraceConnectorNotRunning", "MillraceSlotKeepsWal"]).await;
    drop_the_slot(&shop.instance).await;
    alerts.include(&["MillraceSlotInDanger"]).await;
    // Connect, which all stories share, may be busy.
    eventually("setup makes the slot again", async || match shop.instance.millrace(&["setup"]).await {
        setup if setup.code == Some(0) => Ok(()),
        setup => Err(setup.stderr),
    })
    .await;
    connect(Method::PUT, &format!("{}/resume", connector(&shop.instance))).await;
}

/// A page for each critical alert, and its end; a mail for each warning.
async fn each_was_told_once(shop: &Shop, manager: &Alertmanager) {
    for alert in ["MillraceProviderFails", "MillraceSlotInDanger", "MillraceConnectorNotRunning"] {
        eventually(&format!("{alert} was told, and its end"), async || match manager.pages(alert) {
            (1, 1) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
    eventually("the stuck saga was told by mail, once", async || {
        let mails = shop.outside.entries().into_iter().filter(|entry| entry["kind"] == "mail");
        let told = mails.filter(|mail| {
            let text = mail["message"].as_str().unwrap_or_default();
            text.contains("MillraceSagasStuck") && mail["to"][0] == "operations@example.org"
        });
        match told.count() {
            1 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
}

/// Selectors that have no series in this story, with or without its namespace, and why.
const WITHOUT: [(&str, &str); 7] = [
    ("millrace_blocked_seconds{status=\"gap\"}", "an event is missing only until the auditor emits it again"),
    ("millrace_records_lost", "retention has deleted nothing; `offsets::` reads it"),
    ("millrace_rebuild_records_left", "so few events are read again between two scrapes"),
    ("millrace_build_too_old", "no later release runs; `releases::` reads it"),
    ("millrace_memory_limit_bytes", "only where the control group of the stories has a limit"),
    ("millrace_certificate_end_timestamp_seconds", "nothing has TLS here"),
    ("millrace_query_seconds_bucket{query=~\"/.*\"}", "there is no gateway; `gateway::queries` reads it"),
];

/// Of the rules and the dashboard: each selector, and each label by which an expression groups or that a text names.
async fn every_expression_has_series_with_its_labels(shop: &Shop, alerts: &Alerts) {
    let (mut asked, mut without, mut unlabelled) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (expression, texts) in alerts.expressions(&shop.instance.name).await {
        let (selectors, mut labels) = (promql::selectors(&expression), BTreeSet::new());
        assert!(!selectors.is_empty(), "{expression}");
        let mut complete = true;
        for selector in selectors {
            let found = alerts.labels(&selector).await;
            if found.is_empty() {
                complete = false;
                without.insert(selector.clone());
            }
            labels.extend(found);
            asked.insert(selector);
        }
        let wanted = promql::labels(&expression, &texts);
        if complete && !wanted.is_subset(&labels) {
            unlabelled.push((expression, wanted, labels));
        }
    }
    let of_any = |selector: &String| promql::of_any_namespace(selector, &shop.instance.name);
    let is_known = |selector: &&String| WITHOUT.iter().any(|(known, _)| of_any(selector) == *known);
    let surprising: Vec<&String> = without.iter().filter(|selector| !is_known(selector)).collect();
    assert!(surprising.is_empty() && unlabelled.is_empty(), "{surprising:#?} {unlabelled:#?}");
    let is_asked = |known: &str| asked.iter().any(|selector| of_any(selector) == known);
    for (known, why) in WITHOUT {
        assert!(asked.is_empty() || is_asked(known), "nothing asks for {known} ({why})");
    }
}
