//! Payments: which commands are accepted and which are refused.

use millrace_schemas::orders::{self, OrderPlaced};
use millrace_schemas::payments::{
    AuthorisePayment, CaptureRequested, CompleteRefund, FailRefund, PaymentAuthorised, PaymentRefunded,
    RefundFailed, RefundPayment, RefundRequested, RequestCapture, RequestPayment, RequestSubscriptionPayment,
};
use millrace_schemas::subscriptions::{self, SubscriptionStarted};
use proptest::prelude::*;

use super::*;
use crate::contexts::orders::Orders;
use crate::contexts::subscriptions::{Subscriptions, payment_id};
use crate::rules::TOTAL_MAX;
use crate::testing::{Given, given};

fn order(order_id: &str, total: i64) -> orders::Event {
    OrderPlaced {
        order_id: order_id.into(),
        customer_id: "VINET".into(),
        customer_name: "Vins et alcools".into(),
        customer_country: None,
        currency: "USD".into(),
        placed_at: 0,
        lines: Vec::new(),
        total,
        ship_to: None,
    }
    .into()
}

fn subscription() -> subscriptions::Event {
    let [subscription_id, customer_id, plan, currency, period] =
        ["s1", "VINET", "wine", "USD", "month"].map(str::to_owned);
    SubscriptionStarted {
        subscription_id,
        customer_id,
        plan,
        amount: 700,
        currency,
        period,
        started_at: 0,
        period_number: 1,
        period_from: 0,
        period_until: 1,
    }
    .into()
}

fn request_period(period_number: i64) -> RequestSubscriptionPayment {
    let [subscription_id, customer_id, currency] = ["s1", "VINET", "USD"].map(str::to_owned);
    let order_id = payment_id("s1", period_number);
    RequestSubscriptionPayment {
        order_id,
        subscription_id,
        period_number,
        customer_id,
        amount: 700,
        currency,
    }
}

fn period_requested(period_number: i64) -> Event {
    let RequestSubscriptionPayment { order_id, subscription_id, customer_id, amount, currency, .. } =
        request_period(period_number);
    let subscription_id = Some(subscription_id);
    PaymentRequested { order_id, customer_id, amount, currency, subscription_id }.into()
}

fn past(events: impl IntoIterator<Item = Event>) -> Given<Payments> {
    given::<Payments>(events)
        .and::<Orders>([order("10248", 1_000), order("10249", 0)])
        .and::<Subscriptions>([subscription()])
}

fn request() -> RequestPayment {
    let [order_id, customer_id, currency] = ["10248", "VINET", "USD"].map(str::to_owned);
    RequestPayment { order_id, customer_id, amount: 1_000, currency }
}

fn requested() -> Event {
    let RequestPayment { order_id, customer_id, amount, currency } = request();
    PaymentRequested { order_id, customer_id, amount, currency, subscription_id: None }.into()
}

fn authorise() -> AuthorisePayment {
    AuthorisePayment { order_id: "10248".into(), amount: 1_000, provider_reference: "auth_1".into() }
}

fn authorised() -> Event {
    let RequestPayment { order_id, customer_id, amount, currency } = request();
    let provider_reference = authorise().provider_reference;
    PaymentAuthorised { order_id, customer_id, amount, currency, provider_reference }.into()
}

fn request_capture() -> RequestCapture {
    RequestCapture { order_id: "10248".into() }
}

fn capture_requested() -> Event {
    let RequestPayment { order_id, customer_id, amount, currency } = request();
    let provider_reference = authorise().provider_reference;
    CaptureRequested { order_id, customer_id, amount, currency, provider_reference }.into()
}

fn capture() -> CapturePayment {
    CapturePayment { order_id: "10248".into(), amount: 1_000, provider_reference: "ch_1".into() }
}

fn captured() -> Event {
    let RequestPayment { order_id, customer_id, amount, currency } = request();
    PaymentCaptured {
        order_id,
        customer_id,
        amount,
        currency,
        provider_reference: "ch_1".into(),
        subscription_id: None,
    }
    .into()
}

fn decline() -> DeclinePayment {
    let [order_id, code, reason] = ["10248", "card_declined", "no funds"].map(str::to_owned);
    DeclinePayment { order_id, code, reason }
}

fn declined() -> Event {
    declined_while_held(None)
}

fn declined_while_held(provider_reference: Option<String>) -> Event {
    let RequestPayment { order_id, customer_id, amount, currency } = request();
    let DeclinePayment { code, reason, .. } = decline();
    PaymentDeclined {
        order_id,
        customer_id,
        amount,
        currency,
        code,
        reason,
        subscription_id: None,
        provider_reference,
    }
    .into()
}

fn void() -> VoidPayment {
    VoidPayment { order_id: "10248".into(), reason: "too late".into() }
}

fn voided() -> Event {
    given_up("too late", None)
}

/// Voided, and the authorisation is to be released.
fn released(reason: &str) -> Event {
    given_up(reason, Some(authorise().provider_reference))
}

fn given_up(reason: &str, provider_reference: Option<String>) -> Event {
    let RequestPayment { order_id, customer_id, amount, currency } = request();
    PaymentVoided {
        order_id,
        customer_id,
        amount,
        currency,
        reason: reason.into(),
        subscription_id: None,
        provider_reference,
    }
    .into()
}

fn refund(refund_id: &str, amount: i64) -> RefundPayment {
    let [order_id, refund_id, reason] = ["10248", refund_id, "sent back"].map(str::to_owned);
    RefundPayment { order_id, refund_id, amount, reason }
}

fn refund_requested(refund_id: &str, amount: i64) -> Event {
    let RequestPayment { order_id, customer_id, currency, .. } = request();
    let [refund_id, provider_reference, reason] = [refund_id, "ch_1", "sent back"].map(str::to_owned);
    RefundRequested {
        order_id,
        customer_id,
        refund_id,
        amount,
        currency,
        provider_reference,
        reason,
        subscription_id: None,
    }
    .into()
}

fn complete(refund_id: &str) -> CompleteRefund {
    let [order_id, refund_id, provider_reference] = ["10248", refund_id, "re_1"].map(str::to_owned);
    CompleteRefund { order_id, refund_id, provider_reference }
}

fn refunded(refund_id: &str, amount: i64) -> Event {
    let RequestPayment { order_id, customer_id, currency, .. } = request();
    let [refund_id, provider_reference] = [refund_id, "re_1"].map(str::to_owned);
    PaymentRefunded {
        order_id,
        customer_id,
        refund_id,
        amount,
        currency,
        provider_reference,
        subscription_id: None,
    }
    .into()
}

fn fail(refund_id: &str) -> FailRefund {
    let [order_id, refund_id, reason] = ["10248", refund_id, "account closed"].map(str::to_owned);
    FailRefund { order_id, refund_id, reason }
}

fn refund_failed(refund_id: &str, amount: i64) -> Event {
    let RequestPayment { order_id, customer_id, currency, .. } = request();
    let [refund_id, reason] = [refund_id, "account closed"].map(str::to_owned);
    RefundFailed { order_id, customer_id, refund_id, amount, currency, reason, subscription_id: None }.into()
}

fn refused(command: RequestPayment, code: &str) {
    assert_eq!(Payments::references(&command.clone().into()), [], "a malformed request refers to nothing");
    past([]).when(command).then_rejected(code);
}

#[test]
fn a_payment_is_requested_for_what_the_order_costs() {
    past([]).when(request()).then([requested()]);
    assert_eq!(Payments::references(&request().into()), [Reference::to::<Orders>("10248")]);
    assert_eq!(Payments::references(&capture().into()), []);
}

#[test]
fn an_order_is_paid_only_once() {
    for ended in [captured(), declined(), voided()] {
        past([requested(), ended]).when(request()).then_rejected("payment-exists");
    }
    past([requested()]).when(request()).then_rejected("payment-exists");
}

#[test]
fn a_request_says_what_the_order_says() {
    past([]).when(RequestPayment { amount: 999, ..request() }).then_rejected("amount-differs");
    past([]).when(RequestPayment { currency: "EUR".into(), ..request() }).then_rejected("currency-differs");
    past([])
        .when(RequestPayment { customer_id: "ALFKI".into(), ..request() })
        .then_rejected("customer-differs");
}

#[test]
fn an_order_that_costs_nothing_needs_no_payment() {
    refused(RequestPayment { order_id: "10249".into(), amount: 0, ..request() }, "amount-invalid");
}

#[test]
fn a_malformed_request_is_rejected() {
    refused(RequestPayment { order_id: "\0".into(), ..request() }, "id-invalid");
    refused(RequestPayment { customer_id: String::new(), ..request() }, "id-invalid");
    refused(RequestPayment { currency: "usd".into(), ..request() }, "currency-invalid");
    for amount in [i64::MIN, -1, TOTAL_MAX + 1, i64::MAX] {
        refused(RequestPayment { amount, ..request() }, "amount-invalid");
    }
}

#[test]
fn a_payment_is_never_requested_without_its_order() {
    given::<Payments>([]).when(request()).then_rejected("order-unknown");
}

#[test]
fn a_period_of_a_subscription_is_paid_once_for_what_it_costs() {
    past([]).when(request_period(12)).then([period_requested(12)]);
    assert_eq!(Payments::references(&request_period(12).into()), [Reference::to::<Subscriptions>("s1")]);
    past([period_requested(12)]).when(request_period(12)).then_rejected("payment-exists");
    past([period_requested(12)]).when(request_period(13)).then([period_requested(13)]);
}

#[test]
fn what_becomes_of_a_subscriptions_payment_names_the_subscription() {
    let events = [period_requested(1)];
    let (order_id, reason) = ("s1.1".to_owned(), "paused".to_owned());
    let capture =
        CapturePayment { order_id: order_id.clone(), amount: 700, provider_reference: "ch_1".into() };
    let refund_id = "r1".to_owned();
    let complete =
        CompleteRefund { order_id: order_id.clone(), refund_id, provider_reference: "re_1".into() };
    let commands: [Command; 4] = [
        VoidPayment { order_id: order_id.clone(), reason: reason.clone() }.into(),
        capture.into(),
        RefundPayment { order_id, refund_id: "r1".into(), amount: 700, reason }.into(),
        complete.into(),
    ];
    let past = past(events).after(commands);
    assert_eq!(past.accepted().len(), 4);
    assert!(past.accepted().iter().all(|event| subscription_of(event) == Some("s1")));
}

#[test]
fn a_request_for_a_period_says_what_the_subscription_says() {
    let refused = |request: RequestSubscriptionPayment, code| past([]).when(request).then_rejected(code);
    refused(RequestSubscriptionPayment { amount: 699, ..request_period(1) }, "amount-differs");
    refused(RequestSubscriptionPayment { currency: "EUR".into(), ..request_period(1) }, "currency-differs");
    refused(
        RequestSubscriptionPayment { customer_id: "ALFKI".into(), ..request_period(1) },
        "customer-differs",
    );
    given::<Payments>([]).when(request_period(1)).then_rejected("subscription-unknown");
}

#[test]
fn a_malformed_request_for_a_period_is_rejected_and_refers_to_nothing() {
    let refused = |request: RequestSubscriptionPayment, code| {
        assert_eq!(Payments::references(&request.clone().into()), []);
        past([]).when(request).then_rejected(code);
    };
    refused(
        RequestSubscriptionPayment { order_id: "s1.2".into(), ..request_period(1) },
        "payment-id-differs",
    );
    refused(RequestSubscriptionPayment { order_id: "s1".into(), ..request_period(1) }, "payment-id-differs");
    refused(RequestSubscriptionPayment { subscription_id: "\0".into(), ..request_period(1) }, "id-invalid");
    refused(RequestSubscriptionPayment { amount: 0, ..request_period(1) }, "amount-invalid");
    for number in [i64::MIN, 0] {
        refused(request_period(number), "period-number-invalid");
    }
}

#[test]
fn money_is_authorised_then_captured_when_it_is_asked_for() {
    past([requested()]).when(authorise()).then([authorised()]);
    past([requested(), authorised()]).when(request_capture()).then([capture_requested()]);
    past([requested(), authorised(), capture_requested()]).when(capture()).then([captured()]);
}

#[test]
fn a_payment_is_authorised_once() {
    past([requested(), authorised()]).when(authorise()).then_rejected("payment-authorised");
    past([requested(), authorised(), capture_requested()])
        .when(authorise())
        .then_rejected("capture-requested");
    past([requested(), captured()]).when(authorise()).then_rejected("payment-captured");
}

#[test]
fn what_is_held_is_asked_for_once_and_only_once_it_is_held() {
    past([requested()]).when(request_capture()).then_rejected("payment-not-authorised");
    past([requested(), authorised(), capture_requested()])
        .when(request_capture())
        .then_rejected("capture-requested");
    past([requested(), authorised(), voided()]).when(request_capture()).then_rejected("payment-voided");
}

#[test]
fn the_provider_may_capture_what_was_not_asked_for_yet_and_then_has_the_money() {
    past([requested(), authorised()]).when(capture()).then([captured()]);
    past([requested()]).when(capture()).then([captured()]);
}

#[test]
fn what_is_held_is_released_when_the_payment_is_voided() {
    past([requested(), authorised()]).when(void()).then([released("too late")]);
    past([requested(), authorised(), capture_requested()]).when(void()).then([released("too late")]);
}

#[test]
fn what_is_held_too_late_is_released_at_once() {
    let late = "it was authorised too late";
    for ended in [voided(), declined()] {
        past([requested(), ended]).when(authorise()).then([authorised(), released(late)]);
    }
    past([requested(), voided(), authorised(), released(late)])
        .when(request_capture())
        .then_rejected("payment-voided");
}

#[test]
fn what_is_held_may_be_declined_in_the_end_and_is_released() {
    let released = declined_while_held(Some(authorise().provider_reference));
    past([requested(), authorised()]).when(decline()).then([released.clone()]);
    past([requested(), authorised(), capture_requested()]).when(decline()).then([released]);
}

#[test]
fn what_is_only_held_cannot_be_refunded() {
    past([requested(), authorised()]).when(refund("r1", 1)).then_rejected("payment-authorised");
    past([requested(), authorised(), capture_requested()])
        .when(refund("r1", 1))
        .then_rejected("capture-requested");
}

#[test]
fn a_period_of_a_subscription_is_charged_at_once() {
    let authorise = AuthorisePayment { order_id: payment_id("s1", 1), amount: 700, ..authorise() };
    past([period_requested(1)]).when(authorise).then_rejected("payment-charged-at-once");
}

#[test]
fn a_requested_payment_is_captured_once() {
    past([requested()]).when(capture()).then([captured()]);
    past([requested(), captured()]).when(capture()).then_rejected("payment-captured");
    past([requested(), declined()]).when(capture()).then_rejected("payment-declined");
}

#[test]
fn money_that_comes_after_the_payment_was_voided_is_known_and_can_be_paid_back() {
    past([requested(), voided()]).when(capture()).then([captured()]);
    past([requested(), voided(), captured()]).when(capture()).then_rejected("payment-captured");
    past([requested(), voided(), captured()]).when(refund("r1", 1_000)).then([refund_requested("r1", 1_000)]);
}

#[test]
fn what_was_requested_is_held_and_captured_and_nothing_else() {
    for amount in [0, 999, 1_001, i64::MIN] {
        past([requested()]).when(AuthorisePayment { amount, ..authorise() }).then_rejected("amount-differs");
        past([requested()]).when(CapturePayment { amount, ..capture() }).then_rejected("amount-differs");
    }
}

#[test]
fn a_requested_payment_is_declined_once() {
    past([requested()]).when(decline()).then([declined()]);
    past([requested(), captured()]).when(decline()).then_rejected("payment-captured");
    past([requested(), declined()]).when(decline()).then_rejected("payment-declined");
    past([requested(), voided()]).when(decline()).then_rejected("payment-voided");
}

#[test]
fn a_requested_payment_is_voided_once() {
    past([requested()]).when(void()).then([voided()]);
    past([requested(), captured()]).when(void()).then_rejected("payment-captured");
    past([requested(), declined()]).when(void()).then_rejected("payment-declined");
    past([requested(), voided()]).when(void()).then_rejected("payment-voided");
}

#[test]
fn a_payment_that_was_never_requested_cannot_go_on() {
    past([]).when(authorise()).then_rejected("payment-unknown");
    past([]).when(request_capture()).then_rejected("payment-unknown");
    past([]).when(capture()).then_rejected("payment-unknown");
    past([]).when(decline()).then_rejected("payment-unknown");
    past([]).when(void()).then_rejected("payment-unknown");
    past([]).when(refund("r1", 1)).then_rejected("payment-unknown");
    past([]).when(complete("r1")).then_rejected("payment-unknown");
    past([]).when(fail("r1")).then_rejected("payment-unknown");
}

#[test]
fn what_the_provider_says_must_be_readable() {
    for text in ["", " ", "\0", &"x".repeat(501)] {
        let capture = CapturePayment { provider_reference: text.into(), ..capture() };
        past([requested()]).when(capture).then_rejected("provider-reference-invalid");
        let authorise = AuthorisePayment { provider_reference: text.into(), ..authorise() };
        past([requested()]).when(authorise).then_rejected("provider-reference-invalid");
        past([requested()])
            .when(DeclinePayment { code: text.into(), ..decline() })
            .then_rejected("code-invalid");
        let decline = DeclinePayment { reason: text.into(), ..decline() };
        past([requested()]).when(decline).then_rejected("reason-invalid");
        past([requested()])
            .when(VoidPayment { reason: text.into(), ..void() })
            .then_rejected("reason-invalid");
    }
}

#[test]
fn captured_money_is_refunded_in_parts() {
    past([requested(), captured()]).when(refund("r1", 400)).then([refund_requested("r1", 400)]);
    let once = || past([requested(), captured(), refund_requested("r1", 400)]);
    once().when(refund("r2", 600)).then([refund_requested("r2", 600)]);
    once().when(complete("r1")).then([refunded("r1", 400)]);
    once().when(fail("r1")).then([refund_failed("r1", 400)]);
}

#[test]
fn open_and_completed_refunds_never_exceed_what_was_captured() {
    past([requested(), captured()]).when(refund("r1", 1_001)).then_rejected("refund-exceeds-capture");
    let once = || vec![requested(), captured(), refund_requested("r1", 400)];
    past(once()).when(refund("r2", 601)).then_rejected("refund-exceeds-capture");
    past([once(), vec![refunded("r1", 400)]].concat())
        .when(refund("r2", 601))
        .then_rejected("refund-exceeds-capture");
}

#[test]
fn money_of_a_failed_refund_can_be_refunded_again() {
    past([requested(), captured(), refund_requested("r1", 1_000), refund_failed("r1", 1_000)])
        .when(refund("r2", 1_000))
        .then([refund_requested("r2", 1_000)]);
}

#[test]
fn a_refund_is_asked_for_once() {
    let once = || vec![requested(), captured(), refund_requested("r1", 400)];
    past(once()).when(refund("r1", 400)).then_rejected("refund-exists");
    past([once(), vec![refund_failed("r1", 400)]].concat())
        .when(refund("r1", 400))
        .then_rejected("refund-exists");
}

#[test]
fn only_captured_money_is_refunded() {
    past([requested()]).when(refund("r1", 1)).then_rejected("payment-not-captured");
    past([requested(), declined()]).when(refund("r1", 1)).then_rejected("payment-declined");
    past([requested(), voided()]).when(refund("r1", 1)).then_rejected("payment-voided");
    past([requested()]).when(complete("r1")).then_rejected("payment-not-captured");
    past([requested()]).when(fail("r1")).then_rejected("payment-not-captured");
}

#[test]
fn a_malformed_refund_is_rejected() {
    let past = || past([requested(), captured()]);
    past().when(refund("", 1)).then_rejected("id-invalid");
    past().when(RefundPayment { reason: String::new(), ..refund("r1", 1) }).then_rejected("reason-invalid");
    for amount in [i64::MIN, -1, 0, i64::MAX] {
        past().when(refund("r1", amount)).then_rejected("amount-invalid");
    }
}

#[test]
fn a_refund_ends_once() {
    let open = || vec![requested(), captured(), refund_requested("r1", 400)];
    for ended in [refunded("r1", 400), refund_failed("r1", 400)] {
        let past = || past([open(), vec![ended.clone()]].concat());
        past().when(complete("r1")).then_rejected("refund-ended");
        past().when(fail("r1")).then_rejected("refund-ended");
    }
    past(open()).when(complete("r2")).then_rejected("refund-unknown");
    past(open()).when(fail("r2")).then_rejected("refund-unknown");
}

#[test]
fn the_end_of_a_refund_must_be_readable() {
    let open = || past([requested(), captured(), refund_requested("r1", 400)]);
    let nameless = CompleteRefund { provider_reference: String::new(), ..complete("r1") };
    open().when(nameless).then_rejected("provider-reference-invalid");
    open().when(FailRefund { reason: "\0".into(), ..fail("r1") }).then_rejected("reason-invalid");
}

#[test]
fn what_cannot_have_happened_changes_nothing() {
    let state = |events: &[Event]| events.iter().fold(None, Payments::evolve);
    assert_eq!(state(&[captured()]), None);
    for (past, impossible) in [
        (vec![requested()], refund_requested("r1", 1)),
        (vec![requested(), declined()], captured()),
        (vec![requested(), captured()], requested()),
        (vec![requested(), captured()], authorised()),
        (vec![requested()], capture_requested()),
        (vec![requested(), captured()], voided()),
        (vec![requested(), captured()], refunded("r1", 1)),
        (vec![requested(), captured(), refund_requested("r1", 1)], refund_requested("r1", 2)),
        (vec![requested(), captured(), refund_requested("r1", 1), refunded("r1", 1)], refund_failed("r1", 1)),
    ] {
        assert_eq!(state(&[past.clone(), vec![impossible]].concat()), state(&past));
    }
}

/// Mostly valid values here and below, so that most sequences make progress.
fn any_amount() -> impl Strategy<Value = i64> {
    prop_oneof![10 => 1..600_i64, 10 => Just(1_000_i64), 1 => any::<i64>()]
}

fn any_command() -> impl Strategy<Value = Command> {
    let refund_id = prop_oneof![20 => "r[1-4]", 1 => any::<String>()];
    let text = prop_oneof![20 => Just("fine".to_owned()), 1 => any::<String>()];
    (0..18, any_amount(), refund_id, text).prop_map(|(kind, amount, refund_id, text)| match kind {
        0 | 1 => RequestPayment { amount, ..request() }.into(),
        2 | 3 => CapturePayment { amount, provider_reference: text, ..capture() }.into(),
        4 => DeclinePayment { code: text, ..decline() }.into(),
        5 => VoidPayment { reason: text, ..void() }.into(),
        6..=9 => RefundPayment { reason: text, ..refund(&refund_id, amount) }.into(),
        10 | 11 => complete(&refund_id).into(),
        12 | 13 => fail(&refund_id).into(),
        14 | 15 => AuthorisePayment { amount, provider_reference: text, ..authorise() }.into(),
        _ => request_capture().into(),
    })
}

/// What the events of one payment add up to: requested, captured, refunded or on its way back; and captures.
fn sums(events: &[Event]) -> ([i64; 3], usize) {
    let ([mut requested, mut captured, mut refunded], mut captures) = ([0; 3], 0);
    for event in events {
        match event {
            Event::PaymentRequested(event) => requested += event.amount,
            Event::PaymentCaptured(event) => (captured, captures) = (captured + event.amount, captures + 1),
            Event::RefundRequested(event) => refunded += event.amount,
            Event::RefundFailed(event) => refunded -= event.amount,
            Event::CaptureRequested(_)
            | Event::PaymentAuthorised(_)
            | Event::PaymentDeclined(_)
            | Event::PaymentRefunded(_)
            | Event::PaymentVoided(_) => (),
        }
    }
    ([requested, captured, refunded], captures)
}

proptest! {
    #[test]
    fn whatever_comes_in_whatever_order_no_more_is_refunded_than_captured_than_requested(
        commands in prop::collection::vec(any_command(), 0..40),
        capture_first: bool,
    ) {
        let begun = [requested()].into_iter().chain(capture_first.then(captured)).collect::<Vec<_>>();
        let past = past(begun.clone()).after(commands);
        let ([requested, captured, refunded], captures) = sums(&[&begun, past.accepted()].concat());
        prop_assert!(0 <= refunded && refunded <= captured && captured <= requested);
        prop_assert!(captures <= 1);
        if let Status::Captured(capture) = &past.states()["10248"].status {
            prop_assert_eq!(capture.refunded(), refunded);
        }
    }
}
