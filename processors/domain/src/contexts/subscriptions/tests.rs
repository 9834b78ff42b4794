//! Subscriptions: which commands are accepted and which are refused.

use chrono::{DateTime, Utc};
use millrace_schemas::customers;
use millrace_schemas::subscriptions::{
    CancelSubscription, LapseSubscription, PauseSubscription, RenewSubscription, ResumeSubscription,
    SubscriptionCancelled, SubscriptionLapsed, SubscriptionPaused, SubscriptionRenewed, SubscriptionResumed,
};
use proptest::prelude::*;

use super::*;
use crate::contexts::customers::examples::registered;
use crate::rules::TOTAL_MAX;
use crate::testing::{Given, given};

const DAY: i64 = 86_400_000_000;

fn day(day: &str) -> i64 {
    format!("{day}T00:00:00Z").parse::<DateTime<Utc>>().unwrap().timestamp_micros()
}

fn customer() -> customers::Event {
    registered("VINET", "Vins et alcools").into()
}

fn past(events: impl IntoIterator<Item = Event>) -> Given<Subscriptions> {
    given::<Subscriptions>(events).and::<Customers>([customer()])
}

fn start() -> StartSubscription {
    let [subscription_id, customer_id, plan, currency, period] =
        ["s1", "VINET", "wine of the month", "EUR", "month"].map(str::to_owned);
    let started_at = day("2024-01-31");
    StartSubscription { subscription_id, customer_id, plan, amount: 700, currency, period, started_at }
}

fn started() -> Event {
    let StartSubscription { subscription_id, customer_id, plan, amount, currency, period, started_at } =
        start();
    SubscriptionStarted {
        subscription_id,
        customer_id,
        plan,
        amount,
        currency,
        period,
        started_at,
        period_number: 1,
        period_from: started_at,
        period_until: day("2024-02-29"),
    }
    .into()
}

fn renew(period_number: i64) -> RenewSubscription {
    RenewSubscription { subscription_id: "s1".into(), period_number }
}

fn renewed(period_number: i64, period_from: &str, period_until: &str) -> Event {
    let StartSubscription { subscription_id, customer_id, plan, amount, currency, .. } = start();
    let (period_from, period_until) = (day(period_from), day(period_until));
    SubscriptionRenewed {
        subscription_id,
        customer_id,
        plan,
        amount,
        currency,
        period_number,
        period_from,
        period_until,
    }
    .into()
}

fn lapse(period_number: i64) -> LapseSubscription {
    LapseSubscription { subscription_id: "s1".into(), period_number, reason: "no funds".into() }
}

fn lapsed(period_number: i64, period_from: &str, period_until: &str) -> Event {
    let StartSubscription { subscription_id, customer_id, plan, amount, currency, .. } = start();
    let (period_from, period_until) = (day(period_from), day(period_until));
    SubscriptionLapsed {
        subscription_id,
        customer_id,
        plan,
        amount,
        currency,
        period_number,
        period_from,
        period_until,
        reason: "no funds".into(),
    }
    .into()
}

fn pause() -> PauseSubscription {
    PauseSubscription { subscription_id: "s1".into() }
}

fn paused() -> Event {
    let StartSubscription { subscription_id, customer_id, plan, amount, currency, .. } = start();
    SubscriptionPaused { subscription_id, customer_id, plan, amount, currency }.into()
}

fn resume(resumed_at: &str) -> ResumeSubscription {
    ResumeSubscription { subscription_id: "s1".into(), resumed_at: day(resumed_at) }
}

fn resumed(resumed_at: &str, period_number: i64, period_from: &str, period_until: &str) -> Event {
    let StartSubscription { subscription_id, customer_id, plan, amount, currency, .. } = start();
    let [resumed_at, period_from, period_until] = [resumed_at, period_from, period_until].map(day);
    SubscriptionResumed {
        subscription_id,
        customer_id,
        plan,
        amount,
        currency,
        resumed_at,
        period_number,
        period_from,
        period_until,
    }
    .into()
}

fn cancel() -> CancelSubscription {
    CancelSubscription { subscription_id: "s1".into(), reason: "too much wine".into() }
}

fn cancelled() -> Event {
    let StartSubscription { subscription_id, customer_id, plan, amount, currency, .. } = start();
    let reason = "too much wine".to_owned();
    SubscriptionCancelled { subscription_id, customer_id, plan, amount, currency, reason }.into()
}

/// The first period is paid.
fn paid() -> Vec<Event> {
    vec![started(), renewed(1, "2024-01-31", "2024-02-29")]
}

/// Every command but the first.
fn changes() -> Vec<Command> {
    vec![pause().into(), resume("2024-03-10").into(), cancel().into(), renew(1).into(), lapse(1).into()]
}

#[test]
fn a_customer_subscribes_to_a_plan() {
    past([]).when(start()).then([started()]);
    assert_eq!(Subscriptions::references(&start().into()), [Reference::to::<Customers>("VINET")]);
    assert_eq!(Subscriptions::references(&renew(1).into()), []);
}

#[test]
fn a_subscription_is_started_once() {
    past([started()]).when(start()).then_rejected("subscription-exists");
    past([started(), cancelled()]).when(start()).then_rejected("subscription-exists");
    given::<Subscriptions>([]).when(start()).then_rejected("customer-unknown");
}

#[test]
fn a_malformed_start_is_rejected_and_refers_to_nothing() {
    let refused = |command: StartSubscription, code| {
        assert_eq!(Subscriptions::references(&command.clone().into()), []);
        past([]).when(command).then_rejected(code);
    };
    refused(StartSubscription { subscription_id: "\0".into(), ..start() }, "id-invalid");
    refused(StartSubscription { subscription_id: "x".repeat(190), ..start() }, "id-invalid");
    refused(StartSubscription { customer_id: String::new(), ..start() }, "id-invalid");
    refused(StartSubscription { plan: " ".into(), ..start() }, "plan-invalid");
    refused(StartSubscription { currency: "eur".into(), ..start() }, "currency-invalid");
    refused(StartSubscription { period: "week".into(), ..start() }, "period-invalid");
    refused(StartSubscription { started_at: i64::MAX, ..start() }, "time-invalid");
    for amount in [i64::MIN, 0, TOTAL_MAX + 1] {
        refused(StartSubscription { amount, ..start() }, "amount-invalid");
    }
}

#[test]
fn periods_are_renewed_one_after_the_other_from_the_day_of_the_start() {
    past([started()]).when(renew(1)).then([renewed(1, "2024-01-31", "2024-02-29")]);
    past(paid()).when(renew(2)).then([renewed(2, "2024-02-29", "2024-03-31")]);
    past(paid()).when(renew(1)).then_rejected("period-differs");
    past(paid()).when(renew(3)).then_rejected("period-differs");
}

#[test]
fn a_period_that_is_not_paid_ends_the_service_until_it_is_resumed() {
    let lapsed = || [paid(), vec![lapsed(2, "2024-02-29", "2024-03-31")]].concat();
    past(paid()).when(lapse(2)).then([self::lapsed(2, "2024-02-29", "2024-03-31")]);
    past(paid()).when(lapse(1)).then_rejected("period-differs");
    past(lapsed()).when(renew(2)).then_rejected("subscription-lapsed");
    past(lapsed()).when(pause()).then_rejected("subscription-lapsed");
    let again = resumed("2024-03-10", 3, "2024-03-10", "2024-04-10");
    past(lapsed()).when(resume("2024-03-10")).then([again.clone()]);
    past([lapsed(), vec![again]].concat()).when(renew(3)).then([renewed(3, "2024-03-10", "2024-04-10")]);
}

#[test]
fn a_pause_moves_the_periods_to_the_resumption_but_what_was_paid_lasts() {
    past(paid()).when(pause()).then([paused()]);
    let pausing = || past([paid(), vec![paused()]].concat());
    pausing().when(renew(2)).then_rejected("subscription-paused");
    pausing().when(pause()).then_rejected("subscription-paused");
    pausing().when(resume("2024-05-31")).then([resumed("2024-05-31", 3, "2024-05-31", "2024-06-30")]);
    pausing().when(resume("2024-02-10")).then([resumed("2024-02-10", 3, "2024-02-29", "2024-03-31")]);
}

#[test]
fn what_was_asked_for_before_a_pause_pays_for_nothing_after_it() {
    let again = resumed("2024-05-31", 3, "2024-05-31", "2024-06-30");
    let past = || past([paid(), vec![paused(), again.clone()]].concat());
    past().when(renew(2)).then_rejected("period-differs");
    past().when(renew(3)).then([renewed(3, "2024-05-31", "2024-06-30")]);
}

#[test]
fn only_what_stands_still_is_resumed() {
    past([started()]).when(resume("2024-03-10")).then_rejected("subscription-active");
    let malformed = ResumeSubscription { resumed_at: i64::MIN, ..resume("2024-03-10") };
    past([started(), paused()]).when(malformed).then_rejected("time-invalid");
}

#[test]
fn a_cancelled_subscription_stays_cancelled() {
    past([started()]).when(cancel()).then([cancelled()]);
    past([started(), paused()]).when(cancel()).then([cancelled()]);
    let silent = CancelSubscription { reason: String::new(), ..cancel() };
    past([started()]).when(silent).then_rejected("reason-invalid");
    for command in changes() {
        past([started(), cancelled()]).when(command).then_rejected("subscription-cancelled");
    }
}

#[test]
fn a_subscription_that_was_never_started_cannot_change() {
    for command in changes() {
        past([]).when(command).then_rejected("subscription-unknown");
    }
}

#[test]
fn the_last_years_of_the_calendar_are_not_renewed() {
    let yearly = StartSubscription { period: "year".into(), ..start() };
    let state = past([]).after([yearly.into()]).states()["s1"].clone();
    let last = Subscription { next: 7_976, ..state };
    let renewal = |next: i64| {
        let streams = [("s1".to_owned(), Subscription { next, ..last.clone() })].into_iter().collect();
        Subscriptions::decide(&streams, &References::default(), &renew(next).into())
    };
    assert!(renewal(7_975).is_ok());
    assert_eq!(renewal(7_976).unwrap_err().code, "calendar-ends");
}

#[test]
fn what_cannot_have_happened_changes_nothing() {
    let state = |events: &[Event]| events.iter().fold(None, Subscriptions::evolve);
    assert_eq!(state(&[paused()]), None);
    for (past, impossible) in [
        (paid(), started()),
        (paid(), renewed(3, "2024-03-31", "2024-04-30")),
        (paid(), lapsed(1, "2024-01-31", "2024-02-29")),
        (paid(), resumed("2024-03-10", 2, "2024-03-10", "2024-04-10")),
        (vec![started(), paused()], renewed(1, "2024-01-31", "2024-02-29")),
        (vec![started(), cancelled()], paused()),
    ] {
        assert_eq!(state(&[past.clone(), vec![impossible]].concat()), state(&past));
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    let text = prop_oneof![20 => Just("fine".to_owned()), 1 => any::<String>()];
    let at =
        prop_oneof![20 => (0..900_i64).prop_map(|days| day("2024-01-01") + days * DAY), 1 => any::<i64>()];
    (0..14, 1..12_i64, text, at).prop_map(|(kind, number, reason, at)| match kind {
        0 => start().into(),
        1 => CancelSubscription { reason, ..cancel() }.into(),
        2 | 3 => pause().into(),
        4 | 5 => ResumeSubscription { resumed_at: at, ..resume("2024-01-01") }.into(),
        6 => LapseSubscription { reason, ..lapse(number) }.into(),
        _ => renew(number).into(),
    })
}

proptest! {
    #[test]
    fn whatever_comes_no_period_is_paid_twice_and_paid_periods_never_overlap(
        commands in prop::collection::vec(any_command(), 0..60),
    ) {
        let (mut number, mut until) = (0, i64::MIN);
        for event in past([started()]).after(commands).accepted() {
            if let Event::SubscriptionRenewed(event) = event {
                prop_assert!(event.period_number > number && event.period_from >= until);
                (number, until) = (event.period_number, event.period_until);
            }
        }
    }
}
