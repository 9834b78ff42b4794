//! Renewals: what follows from what, step by step.

use chrono::{DateTime, Utc};
use millrace_schemas::payments::{
    self, PaymentCaptured, PaymentDeclined, PaymentRefunded, PaymentRequested, PaymentVoided, RefundFailed,
    RefundPayment, RequestSubscriptionPayment, VoidPayment,
};
use millrace_schemas::subscriptions::{
    self, CancelSubscription, LapseSubscription, RenewSubscription, SubscriptionCancelled,
    SubscriptionLapsed, SubscriptionPaused, SubscriptionRenewed, SubscriptionResumed, SubscriptionStarted,
};
use millrace_schemas::{Command, Event};

use super::*;
use crate::testing::{Process, golden_states, process};

fn text(text: &str) -> String {
    text.to_owned()
}

fn time(day: &str) -> DateTime<Utc> {
    format!("{day}T00:00:00Z").parse().unwrap()
}

fn day(day: &str) -> i64 {
    time(day).timestamp_micros()
}

fn subscription(event: impl Into<subscriptions::Event>) -> Event {
    event.into().into()
}

fn money(event: impl Into<payments::Event>) -> Event {
    event.into().into()
}

fn started() -> Event {
    subscription(SubscriptionStarted {
        subscription_id: text("s1"),
        customer_id: text("ana"),
        plan: text("tea"),
        amount: 700,
        currency: text("EUR"),
        period: text("month"),
        started_at: day("2024-01-31"),
        period_number: 1,
        period_from: day("2024-01-31"),
        period_until: day("2024-02-29"),
    })
}

fn renewed(period_number: i64, until: &str) -> Event {
    subscription(SubscriptionRenewed {
        subscription_id: text("s1"),
        customer_id: text("ana"),
        plan: text("tea"),
        amount: 700,
        currency: text("EUR"),
        period_number,
        period_from: 0,
        period_until: day(until),
    })
}

fn resumed(period_number: i64, from: &str) -> Event {
    subscription(SubscriptionResumed {
        subscription_id: text("s1"),
        customer_id: text("ana"),
        plan: text("tea"),
        amount: 700,
        currency: text("EUR"),
        resumed_at: day(from),
        period_number,
        period_from: day(from),
        period_until: i64::MAX,
    })
}

fn lapsed() -> Event {
    subscription(SubscriptionLapsed {
        subscription_id: text("s1"),
        customer_id: text("ana"),
        plan: text("tea"),
        amount: 700,
        currency: text("EUR"),
        period_number: 1,
        period_from: day("2024-01-31"),
        period_until: day("2024-02-29"),
        reason: text("no funds"),
    })
}

fn paused() -> Event {
    let (subscription_id, customer_id, plan, currency) = (text("s1"), text("ana"), text("tea"), text("EUR"));
    subscription(SubscriptionPaused { subscription_id, customer_id, plan, amount: 700, currency })
}

fn cancelled() -> Event {
    let (subscription_id, customer_id, plan, currency) = (text("s1"), text("ana"), text("tea"), text("EUR"));
    let reason = text("enough");
    subscription(SubscriptionCancelled { subscription_id, customer_id, plan, amount: 700, currency, reason })
}

fn requested(number: i64) -> Event {
    money(PaymentRequested {
        order_id: format!("s1.{number}"),
        customer_id: text("ana"),
        amount: 700,
        currency: text("EUR"),
        subscription_id: Some(text("s1")),
    })
}

fn captured(number: i64) -> Event {
    money(PaymentCaptured {
        order_id: format!("s1.{number}"),
        customer_id: text("ana"),
        amount: 700,
        currency: text("EUR"),
        provider_reference: text("c1"),
        subscription_id: Some(text("s1")),
    })
}

fn declined(number: i64) -> Event {
    money(PaymentDeclined {
        order_id: format!("s1.{number}"),
        customer_id: text("ana"),
        amount: 700,
        currency: text("EUR"),
        code: text("no-funds"),
        reason: text("no funds"),
        subscription_id: Some(text("s1")),
        provider_reference: None,
    })
}

fn voided(number: i64) -> Event {
    money(PaymentVoided {
        order_id: format!("s1.{number}"),
        customer_id: text("ana"),
        amount: 700,
        currency: text("EUR"),
        reason: text("stopped"),
        subscription_id: Some(text("s1")),
        provider_reference: None,
    })
}

fn refunded(number: i64, refund: u32) -> Event {
    money(PaymentRefunded {
        order_id: format!("s1.{number}"),
        customer_id: text("ana"),
        refund_id: format!("s1.{number}/{refund}"),
        amount: 700,
        currency: text("EUR"),
        provider_reference: text("r1"),
        subscription_id: Some(text("s1")),
    })
}

fn refund_failed(number: i64, refund: u32) -> Event {
    money(RefundFailed {
        order_id: format!("s1.{number}"),
        customer_id: text("ana"),
        refund_id: format!("s1.{number}/{refund}"),
        amount: 700,
        currency: text("EUR"),
        reason: text("the account is closed"),
        subscription_id: Some(text("s1")),
    })
}

fn request(period_number: i64) -> Command {
    payments::Command::from(RequestSubscriptionPayment {
        order_id: format!("s1.{period_number}"),
        subscription_id: text("s1"),
        period_number,
        customer_id: text("ana"),
        amount: 700,
        currency: text("EUR"),
    })
    .into()
}

fn void(number: i64) -> Command {
    let reason = text("the subscription did not go on");
    payments::Command::from(VoidPayment { order_id: format!("s1.{number}"), reason }).into()
}

fn refund(number: i64, refund: u32) -> Command {
    let order_id = format!("s1.{number}");
    let (refund_id, reason) = (format!("{order_id}/{refund}"), text("the subscription did not go on"));
    payments::Command::from(RefundPayment { order_id, refund_id, amount: 700, reason }).into()
}

fn renew(period_number: i64) -> Command {
    subscriptions::Command::from(RenewSubscription { subscription_id: text("s1"), period_number }).into()
}

fn lapse(period_number: i64, reason: &str) -> Command {
    let (subscription_id, reason) = (text("s1"), text(reason));
    subscriptions::Command::from(LapseSubscription { subscription_id, period_number, reason }).into()
}

fn cancel(reason: &str) -> Command {
    let (subscription_id, reason) = (text("s1"), text(reason));
    subscriptions::Command::from(CancelSubscription { subscription_id, reason }).into()
}

fn waiting() -> Process<SubscriptionRenewal> {
    process::<SubscriptionRenewal>().receives(started()).then_nothing("waiting")
}

fn charging() -> Process<SubscriptionRenewal> {
    waiting().becomes(time("2024-01-31")).then("charging", [request(1)])
}

fn renewing() -> Process<SubscriptionRenewal> {
    charging().receives(requested(1)).receives(captured(1)).then("renewing", [renew(1)])
}

fn paid() -> Process<SubscriptionRenewal> {
    renewing().receives(renewed(1, "2024-02-29")).then_nothing("waiting")
}

#[test]
fn a_period_is_charged_when_it_begins_and_not_before() {
    let _ = waiting().becomes(time("2024-01-30")).then_nothing("waiting");
    let _ = paid().becomes(time("2024-02-28")).then_nothing("waiting");
    let _ = paid().becomes(time("2024-02-29")).then("charging", [request(2)]);
}

#[test]
fn after_a_downtime_each_missed_period_is_charged_once_and_in_order() {
    let late = paid().becomes(time("2024-04-15")).then("charging", [request(2)]);
    let second = late.receives(captured(2)).then("renewing", [renew(2)]);
    let third =
        second.receives(renewed(2, "2024-03-31")).waits(Duration::ZERO).then("charging", [request(3)]);
    let _ = third
        .receives(captured(3))
        .then("renewing", [renew(3)])
        .receives(renewed(3, "2024-04-30"))
        .waits(Duration::ZERO)
        .then_nothing("waiting")
        .becomes(time("2024-04-30"))
        .then("charging", [request(4)]);
}

#[test]
fn a_declined_payment_lets_it_lapse_until_it_is_resumed() {
    charging().receives(declined(1)).then("lapsing", [lapse(1, "no funds")]).receives(lapsed()).ended();
    let _ = charging()
        .receives(declined(1))
        .receives(lapsed())
        .then("stopped", [lapse(1, "no funds")])
        .receives(resumed(2, "2024-02-10"))
        .then_nothing("waiting")
        .becomes(time("2024-02-10"))
        .then("charging", [request(2)]);
}

#[test]
fn a_payment_that_cannot_be_asked_for_lets_it_lapse() {
    let _ = charging()
        .refused(request(1), "payment-exists")
        .then("lapsing", [lapse(1, "payment-exists")])
        .refused(lapse(1, ""), "subscription-paused")
        .then_nothing("stopped");
}

#[test]
fn a_paused_subscription_is_not_charged_until_it_is_resumed() {
    paid().receives(paused()).becomes(time("2025-01-01")).then_nothing("stopped").ended();
    let _ = paid()
        .receives(paused())
        .receives(resumed(3, "2024-05-05"))
        .becomes(time("2024-05-04"))
        .then_nothing("waiting")
        .becomes(time("2024-05-05"))
        .then("charging", [request(3)]);
}

#[test]
fn a_payment_that_is_open_when_the_subscription_stops_is_voided() {
    for stop in [paused(), cancelled()] {
        charging().receives(stop).receives(voided(1)).ended();
    }
    let _ = charging().receives(paused()).then("stopped", [void(1)]);
    let _ = charging().receives(cancelled()).then("cancelled", [void(1)]);
}

#[test]
fn what_is_captured_after_all_is_refunded() {
    charging()
        .receives(cancelled())
        .refused(void(1), "payment-captured")
        .receives(captured(1))
        .then("cancelled", [void(1), refund(1, 1)])
        .receives(refunded(1, 1))
        .ended();
    charging()
        .receives(paused())
        .receives(voided(1))
        .then("stopped", [void(1)])
        .receives(captured(1))
        .then("stopped", [refund(1, 1)])
        .receives(refunded(1, 1))
        .ended();
}

#[test]
fn what_was_captured_and_has_renewed_nothing_is_refunded_whatever_is_heard_first() {
    renewing()
        .receives(paused())
        .refused(renew(1), "subscription-paused")
        .then("stopped", [refund(1, 1)])
        .receives(refunded(1, 1))
        .ended();
    renewing()
        .refused(renew(1), "subscription-cancelled")
        .receives(cancelled())
        .then("cancelled", [refund(1, 1)])
        .receives(refunded(1, 1))
        .ended();
}

#[test]
fn a_cancelled_subscription_keeps_what_it_has_paid_and_is_charged_no_more() {
    paid().receives(cancelled()).becomes(time("2025-01-01")).then_nothing("cancelled").ended();
}

#[test]
fn a_resumed_subscription_goes_on_while_older_money_is_on_its_way_back() {
    let _ = charging()
        .receives(paused())
        .then("stopped", [void(1)])
        .receives(resumed(2, "2024-02-10"))
        .becomes(time("2024-02-10"))
        .then("charging", [request(2)])
        .receives(captured(1))
        .then("charging", [refund(1, 1)])
        .receives(captured(2))
        .then("renewing", [renew(2)])
        .receives(refunded(1, 1))
        .then_nothing("renewing");
}

#[test]
fn a_refund_that_fails_waits_for_an_operator_who_tries_again() {
    charging()
        .receives(cancelled())
        .receives(captured(1))
        .receives(refund_failed(1, 1))
        .then("cancelled", [void(1), refund(1, 1)])
        .cancelled("the account is open again")
        .then("cancelled", [refund(1, 2)])
        .receives(refunded(1, 2))
        .ended();
}

#[test]
fn an_operator_cancels_a_subscription_wherever_it_stands() {
    for there in [waiting(), charging(), renewing()] {
        let before = there.json();
        let asked = there.cancelled("fraud");
        assert_eq!(asked.json(), before, "the subscription's own stream decides");
        let standing = SubscriptionRenewal::standing(&serde_json::from_str(&before).unwrap()).name;
        let _ = asked.then(standing, [cancel("fraud")]);
    }
}

#[test]
fn a_payment_that_was_asked_for_only_elsewhere_is_undone() {
    let _ = process::<SubscriptionRenewal>().receives(requested(1)).then("stopped", [void(1)]);
    let _ = paid()
        .receives(requested(2))
        .then("waiting", [void(2)])
        .receives(captured(2))
        .then("waiting", [refund(2, 1)]);
}

#[test]
fn a_period_that_was_renewed_elsewhere_is_not_charged() {
    let _ = charging().receives(renewed(1, "2024-02-29")).then("waiting", [void(1)]);
    let _ = renewing()
        .receives(renewed(1, "2024-02-29"))
        .refused(renew(1), "period-differs")
        .then_nothing("waiting");
}

#[test]
fn a_pause_that_is_on_its_way_comes_before_the_charge() {
    let awaited = |json: &str| SubscriptionRenewal::awaits(&serde_json::from_str(json).unwrap());
    let expected = Awaited { context: "subscriptions", stream: text("s1"), version: 1 };
    assert_eq!(awaited(&waiting().json()), [expected]);
    assert_eq!(awaited(&charging().json()), []);
}

/// Input of more than a year after its first period began.
fn held() -> Process<SubscriptionRenewal> {
    let reason = "its period 1 began more than 366 days ago: resume it from when it is to be paid";
    process::<SubscriptionRenewal>()
        .becomes(time("2025-02-01"))
        .receives(started())
        .waits(Duration::ZERO)
        .then("held", [lapse(1, reason)])
}

#[test]
fn a_period_that_began_years_ago_is_not_charged_until_a_person_resumes_the_subscription() {
    let _ = held()
        .receives(lapsed())
        .then_nothing("held")
        .receives(resumed(2, "2025-02-01"))
        .waits(Duration::ZERO)
        .then("charging", [request(2)]);
    let _ = held().receives(lapsed()).receives(resumed(2, "2024-01-01")).waits(Duration::ZERO).then(
        "held",
        [lapse(2, "its period 2 began more than 366 days ago: resume it from when it is to be paid")],
    );
    held()
        .receives(lapsed())
        .cancelled("enough")
        .then("held", [cancel("enough")])
        .receives(cancelled())
        .ended();
    let _ = held().refused(lapse(1, "x"), "subscription-paused").receives(paused()).then_nothing("held");
}

#[test]
fn a_period_that_began_some_months_ago_is_charged() {
    let _ = process::<SubscriptionRenewal>()
        .becomes(time("2025-01-31"))
        .receives(started())
        .waits(Duration::ZERO)
        .then("charging", [request(1)]);
}

#[test]
fn states_of_every_version_still_load_and_finish() {
    let golden = [include_str!("golden/v1.json")];
    let names = ["waiting", "charging", "renewing", "lapsing", "stopped", "held", "cancelled"];
    for there in golden_states::<SubscriptionRenewal>(&golden, &names) {
        let everything =
            [voided(3), captured(4), refunded(4, 1), refunded(5, 1), cancelled(), voided(6), refunded(6, 1)];
        everything.into_iter().fold(there, Process::receives).ended();
    }
}

#[test]
fn an_impossible_stored_state_is_refused_by_field() {
    let stored = |json: &str| serde_json::from_str::<Renewal>(json).unwrap_err().to_string();
    let account = |amount: i64| {
        format!(
            r#"{{"stopped": {{"account": {{"subscription_id": "s1", "customer_id": "ana", "currency": "EUR",
                "amount": {amount}, "debts": []}}}}}}"#
        )
    };
    assert!(stored(&account(0)).contains("amount is 0"));
    assert!(stored(r#"{"sleeping": {}}"#).contains("sleeping"));
}
