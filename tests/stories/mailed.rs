//! A person is told by mail of what needs an operator: each once, and its end.

use millrace_tests::link::{Link, State};
use millrace_tests::load::register;
use millrace_tests::stack::connect;
use millrace_tests::{becomes, eventually};
use reqwest::Method;

use crate::beside_others;
use crate::faults::{connector, drop_the_slot, stops};
use crate::fulfilment::{Shop, place, shop};

const ADDRESS: &str = "ops@example.com";
const SETTINGS: [(&str, &str); 4] = [
    ("metrics.interval", "200ms"),
    ("notify.mail", ADDRESS),
    ("notify.interval", "200ms"),
    ("notify.outage_after", "1s"),
];
/// A provider that does not answer.
const AWAY: (&str, &str) = ("payment.url", "http://127.0.0.1:1");

/// The lines about problems of all mails to operators, in order.
fn told(shop: &Shop) -> Vec<String> {
    let mails = shop.outside.entries().into_iter().filter(|entry| entry["kind"] == "mail");
    let ours = mails.filter(|mail| mail["to"][0] == ADDRESS);
    let lines = |mail: serde_json::Value| {
        let text = mail["message"].as_str().expect("a message").to_owned();
        text.lines().filter_map(|line| line.strip_prefix("- ").map(str::to_owned)).collect::<Vec<_>>()
    };
    ours.flat_map(lines).collect()
}

/// Waits until a line that begins like this was told.
async fn is_told(shop: &Shop, begin: &str) {
    eventually(&format!("{begin} is told"), async || {
        let told = told(shop);
        if told.iter().any(|line| line.starts_with(begin)) { Ok(()) } else { Err(format!("{told:#?}")) }
    })
    .await;
}

/// Each of these was told exactly once.
fn were_told_once(shop: &Shop, begins: &[&str]) {
    let told = told(shop);
    for begin in begins {
        let times = told.iter().filter(|line| line.starts_with(begin)).count();
        assert_eq!(times, 1, "{begin}: {told:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_given_up_outages_and_a_lost_slot_are_told_once_and_so_is_their_end() {
    let _turn = beside_others().await;
    let given_up = [AWAY, ("effects.age_max", "2s")];
    let shop = shop("mailed", &[&SETTINGS[..], &given_up].concat(), &[]).await;
    shop.stocked(1, &[5]).await;
    let elasticsearch = Link::to("ELASTICSEARCH_URL").await;
    let _process = shop.instance.start_with(&[], &[elasticsearch.variable()]);
    shop.instance.send(&[place(1, 1, &[(0, 1)])]).await;
    let calls = "1 calls of payment were given up within a day, the last one for ";
    is_told(&shop, calls).await;

    elasticsearch.becomes(State::Cut);
    is_told(&shop, "Elasticsearch does not answer").await;
    elasticsearch.becomes(State::Well);
    is_told(&shop, "over: outage: Elasticsearch").await;

    stops(&connector(&shop.instance)).await;
    is_told(&shop, "the connector of the outbox does not run").await;
    drop_the_slot(&shop.instance).await;
    is_told(&shop, "the replication slot is lost").await;
    shop.instance.millrace(&["setup"]).await.expect_success();
    connect(Method::PUT, &format!("{}/resume", connector(&shop.instance))).await;
    is_told(&shop, "over: slot: missing").await;
    is_told(&shop, "over: connector").await;
    were_told_once(
        &shop,
        &[
            calls,
            "Elasticsearch does not answer",
            "over: outage: Elasticsearch",
            "the connector of the outbox does not run",
            "the replication slot is lost",
            "over: slot: missing",
            "over: connector",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_is_stuck_and_a_row_that_the_auditor_finds_wrong_are_told_once() {
    let _turn = beside_others().await;
    let audited = [AWAY, ("audit.interval", "20s")];
    let shop = shop("mailed_stuck", &[&SETTINGS[..], &audited].concat(), &[]).await;
    shop.stocked(1, &[5]).await;
    let mut process = shop.open();
    shop.instance.send(&[place(1, 1, &[(0, 1)]), register(7)]).await;
    shop.stands(1, "paying").await;
    becomes(&shop.instance.read, "SELECT count(*) FROM customers", 2).await;
    becomes(&shop.instance.read, "SELECT count(*) FROM verified WHERE what = 'customers'", 1).await;
    process.stops().await;
    for sql in [
        "UPDATE verified SET verified_at = now() - interval '3 hours' WHERE what = 'customers'",
        "UPDATE customers SET city = 'Atlantis'",
    ] {
        sqlx::query(sql).execute(&shop.instance.read).await.expect(sql);
    }
    let waits = "UPDATE saga SET updated_at = now() - interval '1 hour'";
    sqlx::query(waits).execute(&shop.instance.write).await.expect("an instance that waits");
    let mut first = shop.open();
    let wanted =
        ["1 instances of the saga fulfilment need an operator", "the auditor has not found customers right"];
    for begin in wanted {
        is_told(&shop, begin).await;
    }
    // A second process looks at the same once the first one has ended, and tells nothing of it again.
    let mut second = shop.open();
    first.stops().await;
    second.reports("millrace_observed_success", &[("part", "elasticsearch")], 1.0).await;
    shop.instance.send(&[register(8)]).await;
    becomes(&shop.instance.read, "SELECT count(*) FROM customers", 3).await;
    second.stops().await;
    were_told_once(&shop, &wanted);
}
