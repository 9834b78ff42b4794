//! Subscriptions: renewed by timers of the calendar, paid through the payment effect, told in the customer's history.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use millrace_tests::load::{add_product, command, customer, place, product, receive, register};
use millrace_tests::outside::Outside;
use millrace_tests::{Instance, becomes, eventually};
use serde_json::{Value, json};
use sqlx::types::Json;

use crate::{WORKSHOP, beside_others, instance_with};

/// What subscriptions and orders touch on their way.
const CONTEXTS: &str = r#"["carts", "catalog", "customers", "inventory", "notifications", "orders", "payments", "subscriptions"]"#;
/// How many subscribe.
const MEMBERS: usize = 12;
/// What a period of any subscription costs here, in minor units.
const AMOUNT: i64 = 700;
/// Long enough for an answer that takes its time.
const PATIENT: (&str, &str) = ("effects.call_timeout", "20s");

/// An instance with external systems beside it.
struct Club {
    instance: Instance,
    outside: Outside,
}

/// A club with members, who are known before anything else happens.
async fn club(story: &str, members: usize, settings: &[(&str, &str)], outside: &[&str]) -> Club {
    let outside = Outside::start(WORKSHOP, story, outside).await;
    let own = outside.settings();
    let own = own.iter().map(|(field, value)| (*field, value.as_str()));
    let own: Vec<(&str, &str)> = own.chain([("contexts", CONTEXTS)]).collect();
    let instance = instance_with(story, &[own.as_slice(), settings].concat()).await;
    let club = Club { instance, outside };
    club.decide(&(0..members).map(register).collect::<Vec<_>>()).await;
    club
}

impl Club {
    /// Lets commands be decided, and nothing follow from them yet.
    async fn decide(&self, lines: &[String]) {
        let mut process = self.instance.start_with(&["commands"], &[]);
        self.instance.send_and_wait(lines).await.expect_success();
        process.stops().await;
    }

    /// Waits until nothing goes on by itself any more before the next period begins, and every view is level.
    async fn rest(&self) {
        self.instance.millrace(&["status", "--wait", "5m"]).await.expect_success();
        self.instance.settle().await;
    }

    /// The subscriptions that stand so.
    async fn standing(&self, status: &str) -> Vec<String> {
        let ids = "SELECT subscription_id FROM subscriptions WHERE status = $1 ORDER BY 1";
        sqlx::query_scalar(ids).bind(status).fetch_all(&self.instance.read).await.expect("subscriptions")
    }

    /// What has happened to a member, the oldest first: when, what, about what, and details.
    async fn history(&self, member: usize) -> Vec<(DateTime<Utc>, String, String, Value)> {
        let history = "SELECT at, kind, reference_id, detail FROM customer_history
                       WHERE customer_id = $1 ORDER BY at, entry_id";
        let rows: Vec<(DateTime<Utc>, String, String, Json<Value>)> = sqlx::query_as(history)
            .bind(customer(member))
            .fetch_all(&self.instance.read)
            .await
            .expect("rows");
        rows.into_iter().map(|(at, kind, reference, Json(detail))| (at, kind, reference, detail)).collect()
    }

    /// Our payments are the provider's, none was made twice, and the auditor agrees.
    async fn assert_sound(&self) {
        let payments = "SELECT order_id, captured, refunded FROM payments WHERE captured > 0";
        let ours: Vec<(String, i64, i64)> =
            sqlx::query_as(payments).fetch_all(&self.instance.read).await.expect("payments");
        let ours: BTreeMap<String, (i64, i64)> =
            ours.into_iter().map(|(id, captured, refunded)| (id, (captured, refunded))).collect();
        assert_eq!(ours, self.outside.money(), "our ledger and the provider's");
        assert_eq!(self.outside.held(), BTreeMap::new(), "no money is held for nothing");
        let dead = "SELECT count(*) FROM dead_letter WHERE status = 'dead'";
        assert_eq!(self.instance.count(dead).await, Ok(0));
        self.instance.millrace(&["verify"]).await.expect_success();
    }
}

fn subscription(i: usize) -> String {
    format!("subscription-{i:02}")
}

fn start(i: usize, started_at: DateTime<Utc>) -> String {
    let data = json!({
        "subscription_id": subscription(i), "customer_id": customer(i), "plan": "wine of the month", "amount": AMOUNT,
        "currency": "EUR", "period": "month", "started_at": told(started_at),
    });
    command("StartSubscription", i, data)
}

/// The number tells one resumption from another.
fn resume(subscription_id: &str, number: usize, resumed_at: DateTime<Utc>) -> String {
    let data = json!({"subscription_id": subscription_id, "resumed_at": told(resumed_at)});
    command("ResumeSubscription", number, data)
}

fn told(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The last days of the months, from one that has 31 days and lies months back, to the first one that is still to come.
fn month_ends() -> Vec<DateTime<Utc>> {
    let today = Utc::now().date_naive();
    let last_day = |months_back: u32| {
        let first = today.with_day(1).and_then(|first| first.checked_sub_months(Months::new(months_back)));
        let last =
            first.and_then(|first| first.checked_add_months(Months::new(1))?.checked_sub_days(Days::new(1)));
        last.expect("a day of the calendar")
    };
    let begins = (3..6).find(|back| last_day(*back).day() == 31).expect("of three months one has 31 days");
    let ahead = if last_day(0) > today { 0 } else { -1 };
    let ends = (ahead..=i64::from(begins)).rev().map(|back| match u32::try_from(back) {
        Ok(back) => last_day(back),
        Err(_) => next_month_end(last_day(0)),
    });
    ends.map(|day| day.and_time(NaiveTime::MIN).and_utc()).collect()
}

fn next_month_end(last_day: NaiveDate) -> NaiveDate {
    let next = last_day + Days::new(1);
    next + Months::new(1) - Days::new(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_period_that_has_begun_is_billed_once_however_often_the_roles_die() {
    let _turn = beside_others().await;
    let club = club("periods", MEMBERS, &[], &["--timeout-after-charge", "20", "--hold-ms", "1500"]).await;
    let ends = month_ends();
    let (next, begun) = ends.split_last().expect("periods");
    club.decide(&[add_product(0), receive(0)]).await;
    let mut lines: Vec<String> = (0..MEMBERS).map(|i| start(i, begun[0])).collect();
    lines.push(place(0, &customer(0), &product(0)));
    let mut process = club.instance.start();
    club.instance.send(&lines).await;
    for captures in [1, 10, 25] {
        eventually(&format!("{captures} payments are captured"), async || {
            let sql = "SELECT count(*) FROM outbox WHERE type = 'millrace.payments.PaymentCaptured'";
            let found = club.instance.count(sql).await?;
            if found >= captures { Ok(()) } else { Err(found.to_string()) }
        })
        .await;
        process.kill();
        process = club.instance.start();
    }
    club.rest().await;
    let rows: Vec<(String, i64, DateTime<Utc>)> =
        sqlx::query_as("SELECT status, periods_paid, next_renewal_at FROM subscriptions")
            .fetch_all(&club.instance.read)
            .await
            .expect("subscriptions");
    let paid = i64::try_from(begun.len()).expect("a number of periods");
    assert_eq!(rows, vec![("active".to_owned(), paid, *next); MEMBERS]);
    assert_billed_once(&club, begun, *next).await;
    assert_told_in_order(&club, begun[0]).await;
    let timers = "SELECT count(*) FROM saga_timer WHERE by_calendar AND due_at > now()";
    assert_eq!(club.instance.count(timers).await, Ok(MEMBERS as i64), "each waits for its next period");
    club.assert_sound().await;
    drop(process);
}

/// The provider has one charge for each period of each member, and each period has its own days.
async fn assert_billed_once(club: &Club, begun: &[DateTime<Utc>], next: DateTime<Utc>) {
    let charged = club.outside.money();
    let untils = begun.iter().skip(1).copied().chain([next]);
    let periods: Vec<(i64, String, String)> = (1..)
        .zip(begun.iter().copied().zip(untils))
        .map(|(number, (from, until))| (number, told(from), told(until)))
        .collect();
    for member in 0..MEMBERS {
        let id = subscription(member);
        for (number, ..) in &periods {
            assert_eq!(charged.get(&format!("{id}.{number}")), Some(&(AMOUNT, 0)), "{id}, period {number}");
        }
        let history = club.history(member).await;
        let mut renewed: Vec<(i64, String, String)> = history
            .iter()
            .filter(|(_, kind, ..)| kind == "subscription_renewed")
            .map(|(.., detail)| {
                let text = |field: &str| detail[field].as_str().expect("a time").to_owned();
                let number = detail["period_number"].as_i64().expect("a number");
                (number, text("period_from"), text("period_until"))
            })
            .collect();
        renewed.sort();
        assert_eq!(renewed, periods, "{id}");
    }
    let of_subscriptions = charged.keys().filter(|id| id.starts_with("subscription-")).count();
    assert_eq!(of_subscriptions, MEMBERS * periods.len(), "and no others");
}

/// The order of 2024 comes before the subscription, and what was decided today comes last.
async fn assert_told_in_order(club: &Club, started_at: DateTime<Utc>) {
    let history = club.history(0).await;
    assert!(history.is_sorted_by_key(|(at, ..)| *at));
    let first: Vec<(&str, &str)> =
        history.iter().take(2).map(|(_, kind, id, _)| (kind.as_str(), id.as_str())).collect();
    assert_eq!(first, [("order_placed", "order-000000"), ("subscription_started", "subscription-00")]);
    assert_eq!(history[1].0, started_at);
    let lines = history[0].3["lines"].as_array().expect("lines").len();
    assert_eq!(lines, 1);
    let order: Vec<&str> = history
        .iter()
        .filter(|(_, _, id, _)| id == "order-000000")
        .map(|(_, kind, ..)| kind.as_str())
        .collect();
    let told = [
        "order_placed",
        "payment_requested",
        "payment_authorised",
        "capture_requested",
        "payment_captured",
        "order_confirmed",
    ];
    assert_eq!(order, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_payment_ends_the_service_until_the_subscription_is_resumed() {
    /// Of those whose payments are refused every other time, none is refused so often.
    const ROUNDS: usize = 30;
    let _turn = beside_others().await;
    let club = club("lapsed", MEMBERS, &[], &["--decline", "50"]).await;
    let yesterday = Utc::now() - TimeDelta::days(1);
    let _process = club.instance.start();
    club.instance.send(&(0..MEMBERS).map(|i| start(i, yesterday)).collect::<Vec<_>>()).await;
    club.rest().await;
    let lapsed = club.standing("lapsed").await;
    assert!(!lapsed.is_empty(), "some payments were refused");
    let declined = club.outside.entries().iter().filter(|entry| entry["status"] == "declined").count();
    assert_eq!(lapsed.len(), declined);
    for round in 0..ROUNDS {
        let lapsed = club.standing("lapsed").await;
        if lapsed.is_empty() {
            break;
        }
        let again = lapsed.iter().enumerate().map(|(i, id)| resume(id, round * MEMBERS + i, Utc::now()));
        club.instance.send_and_wait(&again.collect::<Vec<_>>()).await.expect_success();
        club.rest().await;
    }
    assert_eq!(club.standing("active").await.len(), MEMBERS);
    let charged = club.outside.money();
    assert_eq!(charged.len(), MEMBERS, "each was charged for one period: {charged:?}");
    assert!(charged.values().all(|money| *money == (AMOUNT, 0)), "{charged:?}");
    club.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_subscription_is_not_charged_until_it_is_resumed() {
    let _turn = beside_others().await;
    let club = club("paused", 1, &[], &[]).await;
    let pause = command("PauseSubscription", 0, json!({"subscription_id": subscription(0)}));
    // The saga receives the pause only after a period that is long due.
    club.decide(&[start(0, Utc::now() - TimeDelta::days(100)), pause]).await;
    let _process = club.instance.start();
    club.rest().await;
    assert_eq!(club.standing("paused").await, [subscription(0)]);
    assert!(club.outside.money().is_empty(), "{:?}", club.outside.money());
    let yesterday = Utc::now() - TimeDelta::days(1);
    club.instance.send_and_wait(&[resume(&subscription(0), 0, yesterday)]).await.expect_success();
    club.rest().await;
    let (from, paid): (DateTime<Utc>, i64) =
        sqlx::query_as("SELECT period_from, periods_paid FROM subscriptions")
            .fetch_one(&club.instance.read)
            .await
            .expect("the subscription");
    assert_eq!((told(from), paid), (told(yesterday), 1), "the period begins at the resumption");
    assert_eq!(club.outside.money().len(), 1);
    club.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_years_behind_is_charged_nothing_until_a_person_says_from_when() {
    let _turn = beside_others().await;
    let club = club("far_behind", 1, &[], &[]).await;
    let _process = club.instance.start();
    club.instance.send(&[start(0, DateTime::UNIX_EPOCH)]).await;
    let held = "SELECT count(*) FROM saga WHERE saga = 'renewal' AND standing = 'held'";
    becomes(&club.instance.write, held, 1).await;
    club.instance.settle().await;
    assert_eq!(club.standing("lapsed").await, [subscription(0)]);
    let stuck = ["saga", "list", "--stuck", "--stuck-after", "0s", "--format", "json"];
    let stuck = club.instance.millrace(&stuck).await.expect_success().json();
    assert_eq!((&stuck[0]["instance"], &stuck[0]["standing"]), (&json!(subscription(0)), &json!("held")));
    assert!(club.outside.money().is_empty(), "{:?}", club.outside.money());
    let yesterday = Utc::now() - TimeDelta::days(1);
    club.instance.send_and_wait(&[resume(&subscription(0), 0, yesterday)]).await.expect_success();
    club.rest().await;
    assert_eq!(club.outside.money().len(), 1, "the period that began yesterday is paid");
    club.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_comes_after_the_cancellation_is_refunded() {
    let _turn = beside_others().await;
    let club = club("late_period", 1, &[PATIENT], &["--latency-ms", "10000..10000"]).await;
    let _process = club.instance.start();
    club.instance.send(&[start(0, Utc::now() - TimeDelta::days(1))]).await;
    becomes(&club.instance.write, "SELECT count(*) FROM effect WHERE status = 'calling'", 1).await;
    let cancel =
        command("CancelSubscription", 0, json!({"subscription_id": subscription(0), "reason": "enough"}));
    club.instance.send_and_wait(&[cancel]).await.expect_success();
    club.rest().await;
    assert_eq!(club.standing("cancelled").await, [subscription(0)]);
    let money = BTreeMap::from([(format!("{}.1", subscription(0)), (AMOUNT, AMOUNT))]);
    assert_eq!(club.outside.money(), money);
    let running = "SELECT count(*) FROM saga WHERE NOT ended";
    assert_eq!(club.instance.count(running).await, Ok(0));
    club.assert_sound().await;
}
