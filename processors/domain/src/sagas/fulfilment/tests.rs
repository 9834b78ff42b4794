use std::time::Duration;

use millrace_schemas::inventory::{
    ReleaseStock, ReserveStock, ReserveStockLine, ReturnStock, ReturnStockLine, ShipStock, StockReleased,
    StockReserved, StockReturned, StockShipped,
};
use millrace_schemas::notifications::QueueNotification;
use millrace_schemas::orders::{
    CancelOrder, ConfirmOrder, OrderCancelled, OrderConfirmed, OrderPlaced, OrderPlacedLine,
};
use millrace_schemas::payments::{
    CaptureRequested, PaymentAuthorised, PaymentCaptured, PaymentDeclined, PaymentRefunded, PaymentRequested,
    PaymentVoided, RefundFailed, RefundPayment, RequestCapture, RequestPayment, VoidPayment,
};
use millrace_schemas::{Command, Event, inventory, notifications, orders, payments};

use super::*;
use crate::testing::{Process, golden_states, process};

const MINUTE: Duration = Duration::from_secs(60);

fn text(text: &str) -> String {
    text.to_owned()
}

fn order(event: impl Into<orders::Event>) -> Event {
    event.into().into()
}

fn stock(event: impl Into<inventory::Event>) -> Event {
    event.into().into()
}

fn money(event: impl Into<payments::Event>) -> Event {
    event.into().into()
}

fn placed(total: i64) -> Event {
    let line = OrderPlacedLine {
        product_id: text("tea"),
        product_name: text("Tea"),
        category: text("Drinks"),
        quantity: 3,
        unit_price: total / 3,
        discount_bp: 0,
        amount: total,
    };
    order(OrderPlaced {
        order_id: text("7"),
        customer_id: text("ana"),
        customer_name: text("Ana"),
        customer_country: None,
        currency: text("EUR"),
        placed_at: 0,
        lines: vec![line],
        total,
        ship_to: None,
    })
}

fn reserved() -> Event {
    stock(StockReserved { product_id: text("tea"), reservation_id: text("7"), quantity: 3 })
}

fn released() -> Event {
    stock(StockReleased { product_id: text("tea"), reservation_id: text("7"), quantity: 3 })
}

fn shipped() -> Event {
    stock(StockShipped { product_id: text("tea"), reservation_id: text("7"), quantity: 3 })
}

fn returned() -> Event {
    stock(StockReturned { product_id: text("tea"), reservation_id: text("7"), quantity: 3 })
}

fn requested() -> Event {
    let (order_id, customer_id, currency) = (text("7"), text("ana"), text("EUR"));
    money(PaymentRequested { order_id, customer_id, amount: 900, currency, subscription_id: None })
}

fn authorised() -> Event {
    let (order_id, customer_id, currency) = (text("7"), text("ana"), text("EUR"));
    let provider_reference = text("a1");
    money(PaymentAuthorised { order_id, customer_id, amount: 900, currency, provider_reference })
}

fn capture_requested() -> Event {
    let (order_id, customer_id, currency) = (text("7"), text("ana"), text("EUR"));
    let provider_reference = text("a1");
    money(CaptureRequested { order_id, customer_id, amount: 900, currency, provider_reference })
}

fn captured() -> Event {
    let (order_id, customer_id, currency) = (text("7"), text("ana"), text("EUR"));
    money(PaymentCaptured {
        order_id,
        customer_id,
        amount: 900,
        currency,
        provider_reference: text("p1"),
        subscription_id: None,
    })
}

fn declined() -> Event {
    let (order_id, customer_id, currency) = (text("7"), text("ana"), text("EUR"));
    let (code, reason) = (text("no-funds"), text("no funds"));
    money(PaymentDeclined {
        order_id,
        customer_id,
        amount: 900,
        currency,
        code,
        reason,
        subscription_id: None,
        provider_reference: None,
    })
}

fn voided() -> Event {
    let (order_id, customer_id, currency) = (text("7"), text("ana"), text("EUR"));
    money(PaymentVoided {
        order_id,
        customer_id,
        amount: 900,
        currency,
        reason: text("cancelled"),
        subscription_id: None,
        provider_reference: None,
    })
}

fn refunded() -> Event {
    let (order_id, customer_id, currency) = (text("7"), text("ana"), text("EUR"));
    let (refund_id, provider_reference) = (text("7/1"), text("r1"));
    money(PaymentRefunded {
        order_id,
        customer_id,
        refund_id,
        amount: 900,
        currency,
        provider_reference,
        subscription_id: None,
    })
}

fn refund_failed() -> Event {
    let (order_id, customer_id, currency) = (text("7"), text("ana"), text("EUR"));
    let (refund_id, reason) = (text("7/1"), text("the account is closed"));
    money(RefundFailed {
        order_id,
        customer_id,
        refund_id,
        amount: 900,
        currency,
        reason,
        subscription_id: None,
    })
}

fn confirmed() -> Event {
    order(OrderConfirmed {
        order_id: text("7"),
        customer_id: text("ana"),
        currency: text("EUR"),
        placed_at: 0,
        lines: Vec::new(),
        total: 900,
        country: text("Spain"),
    })
}

fn cancelled(reason: &str) -> Event {
    order(OrderCancelled {
        order_id: text("7"),
        customer_id: text("ana"),
        currency: text("EUR"),
        placed_at: 0,
        lines: Vec::new(),
        total: 900,
        reason: text(reason),
        confirmed: false,
        country: text("Spain"),
    })
}

fn reserve() -> Command {
    let lines = vec![ReserveStockLine { product_id: text("tea"), quantity: 3 }];
    inventory::Command::from(ReserveStock { reservation_id: text("7"), lines }).into()
}

fn release() -> Command {
    inventory::Command::from(ReleaseStock { reservation_id: text("7"), product_ids: vec![text("tea")] })
        .into()
}

fn ship() -> Command {
    inventory::Command::from(ShipStock { reservation_id: text("7"), product_ids: vec![text("tea")] }).into()
}

fn bring_back() -> Command {
    let lines = vec![ReturnStockLine { product_id: text("tea"), quantity: 3 }];
    inventory::Command::from(ReturnStock { reservation_id: text("7"), lines }).into()
}

fn request() -> Command {
    let (order_id, customer_id, currency) = (text("7"), text("ana"), text("EUR"));
    payments::Command::from(RequestPayment { order_id, customer_id, amount: 900, currency }).into()
}

fn request_capture() -> Command {
    payments::Command::from(RequestCapture { order_id: text("7") }).into()
}

fn void(reason: &str) -> Command {
    payments::Command::from(VoidPayment { order_id: text("7"), reason: text(reason) }).into()
}

fn refund(number: u32, reason: &str) -> Command {
    let refund_id = format!("7/{number}");
    payments::Command::from(RefundPayment {
        order_id: text("7"),
        refund_id,
        amount: 900,
        reason: text(reason),
    })
    .into()
}

fn confirm() -> Command {
    orders::Command::from(ConfirmOrder { order_id: text("7") }).into()
}

fn cancel(reason: &str) -> Command {
    orders::Command::from(CancelOrder { order_id: text("7"), reason: text(reason) }).into()
}

fn notify(what: &str, body: &str) -> Command {
    notifications::Command::from(QueueNotification {
        notification_id: format!("7-{what}"),
        customer_id: text("ana"),
        subject: format!("Your order 7 is {what}"),
        body: text(body),
    })
    .into()
}

fn notify_cancelled(reason: &str) -> Command {
    notify("cancelled", &format!("Your order 7 was cancelled: {reason}"))
}

fn reserving() -> Process<OrderFulfilment> {
    process::<OrderFulfilment>().receives(placed(900)).then("reserving", [reserve()])
}

fn paying() -> Process<OrderFulfilment> {
    reserving().receives(reserved()).then("paying", [request()]).receives(requested())
}

fn capturing() -> Process<OrderFulfilment> {
    paying().receives(authorised()).then("capturing", [request_capture()]).receives(capture_requested())
}

fn confirming() -> Process<OrderFulfilment> {
    capturing().receives(captured()).then("confirming", [confirm()])
}

fn committing() -> Process<OrderFulfilment> {
    confirming().receives(confirmed()).then("committing", [ship()])
}

fn fulfilled() -> Process<OrderFulfilment> {
    let mail = notify("confirmed", "Your order 7 is confirmed and on its way.");
    committing().receives(shipped()).then("fulfilled", [mail])
}

#[test]
fn an_order_is_reserved_paid_confirmed_and_committed() {
    fulfilled().ended();
}

#[test]
fn an_order_that_costs_nothing_is_not_paid() {
    process::<OrderFulfilment>()
        .receives(placed(0))
        .then("reserving", [reserve()])
        .receives(reserved())
        .then("confirming", [confirm()])
        .receives(cancelled("no"))
        .then("cancelling", [release()])
        .receives(released())
        .then("cancelled", [notify_cancelled("no")])
        .ended();
}

#[test]
fn an_order_whose_stock_is_refused_is_cancelled_and_nothing_else_is_undone() {
    reserving()
        .refused(reserve(), "stock-insufficient")
        .then("cancelling", [cancel("stock-insufficient")])
        .receives(cancelled("stock-insufficient"))
        .then("cancelled", [notify_cancelled("stock-insufficient")])
        .ended();
}

#[test]
fn an_order_whose_payment_is_declined_is_cancelled_and_its_stock_released() {
    for there in [paying(), capturing()] {
        there
            .receives(declined())
            .then("cancelling", [cancel("no funds"), release()])
            .receives(released())
            .then_nothing("cancelling")
            .receives(cancelled("no funds"))
            .then("cancelled", [notify_cancelled("no funds")])
            .ended();
    }
}

#[test]
fn an_order_cancelled_while_stock_is_asked_for_releases_it_whenever_it_comes() {
    let cancelling = || reserving().receives(cancelled("no")).then("cancelling", [release()]);
    cancelling()
        .receives(reserved())
        .receives(released())
        .then("cancelled", [notify_cancelled("no")])
        .ended();
    cancelling()
        .refused(reserve(), "stock-insufficient")
        .refused(release(), "reservation-unknown")
        .then("cancelled", [notify_cancelled("no")])
        .receives(reserved())
        .then("cancelling", [release()])
        .receives(released())
        .then_nothing("cancelled")
        .ended();
}

#[test]
fn an_order_cancelled_while_it_is_paid_is_voided() {
    for there in [paying(), capturing()] {
        there
            .receives(cancelled("no"))
            .then("cancelling", [release(), void("no")])
            .receives(voided())
            .receives(released())
            .then("cancelled", [notify_cancelled("no")])
            .ended();
    }
}

#[test]
fn what_is_held_after_the_cancellation_is_voided_unless_the_payment_itself_was_faster() {
    let late = || {
        paying()
            .receives(cancelled("no"))
            .receives(released())
            .receives(voided())
            .then("cancelled", [release(), void("no"), notify_cancelled("no")])
            .receives(authorised())
            .then("cancelling", [void("no")])
    };
    late().receives(voided()).refused(void("no"), "payment-voided").then_nothing("cancelled").ended();
    late().refused(void("no"), "payment-voided").receives(voided()).then_nothing("cancelled").ended();
}

#[test]
fn a_payment_that_was_asked_for_elsewhere_is_voided_with_the_order() {
    reserving()
        .receives(requested())
        .receives(reserved())
        .then("paying", [request()])
        .refused(request(), "payment-exists")
        .then("cancelling", [cancel("payment-exists"), release(), void("payment-exists")])
        .receives(cancelled("payment-exists"))
        .receives(released())
        .receives(voided())
        .then("cancelled", [notify_cancelled("payment-exists")])
        .ended();
}

#[test]
fn a_capture_that_was_not_asked_for_yet_makes_the_request_superfluous() {
    let _ = paying()
        .receives(authorised())
        .receives(captured())
        .then("confirming", [request_capture(), confirm()])
        .refused(request_capture(), "payment-captured")
        .receives(confirmed())
        .then("committing", [ship()]);
}

#[test]
fn what_was_held_or_asked_for_before_the_cancellation_was_heard_is_voided_all_the_same() {
    paying()
        .receives(cancelled("no"))
        .receives(authorised())
        .receives(capture_requested())
        .refused(request_capture(), "payment-voided")
        .receives(released())
        .then("cancelling", [release(), void("no")])
        .receives(voided())
        .then("cancelled", [notify_cancelled("no")])
        .ended();
}

#[test]
fn a_capture_that_is_refused_waits_for_what_the_payment_itself_says() {
    let refused = || capturing().refused(request_capture(), "payment-voided").then_nothing("capturing");
    let _ = refused().receives(captured()).then("confirming", [confirm()]);
    let _ = refused().receives(voided()).then("cancelling", [cancel("cancelled"), release()]);
}

#[test]
fn money_that_is_taken_at_once_is_taken() {
    let _ = paying().receives(captured()).then("confirming", [confirm()]);
}

#[test]
fn a_payment_that_succeeds_after_the_cancellation_is_refunded() {
    let cancelling = || {
        capturing().receives(cancelled("no")).receives(released()).then("cancelling", [release(), void("no")])
    };
    cancelling()
        .refused(void("no"), "payment-captured")
        .receives(captured())
        .then("cancelling", [refund(1, "no")])
        .receives(refunded())
        .then("cancelled", [notify_cancelled("no")])
        .ended();
    cancelling()
        .receives(voided())
        .then("cancelled", [notify_cancelled("no")])
        .receives(captured())
        .then("cancelling", [refund(1, "no")])
        .receives(refunded())
        .then_nothing("cancelled")
        .ended();
}

#[test]
fn an_order_cancelled_before_it_is_confirmed_is_released_and_refunded() {
    confirming()
        .refused(confirm(), "order-not-placed")
        .receives(cancelled("no"))
        .then("cancelling", [release(), refund(1, "no")])
        .receives(released())
        .receives(refunded())
        .then("cancelled", [notify_cancelled("no")])
        .ended();
}

#[test]
fn an_order_cancelled_while_its_stock_leaves_gets_it_back_once_it_has_left() {
    committing()
        .receives(cancelled("no"))
        .then("cancelling", [refund(1, "no")])
        .receives(shipped())
        .then("cancelling", [bring_back()])
        .receives(refunded())
        .receives(returned())
        .then("cancelled", [notify_cancelled("no")])
        .ended();
}

#[test]
fn a_fulfilled_order_that_is_cancelled_is_returned_and_refunded() {
    fulfilled()
        .receives(cancelled("no"))
        .then("cancelling", [bring_back(), refund(1, "no")])
        .receives(returned())
        .receives(refunded())
        .then("cancelled", [notify_cancelled("no")])
        .ended();
}

#[test]
fn without_an_answer_for_five_minutes_an_order_is_cancelled() {
    let late = "there was no answer in time";
    let _ = reserving()
        .waits(4 * MINUTE)
        .then_nothing("reserving")
        .waits(MINUTE)
        .then("cancelling", [cancel(late), release()]);
    for there in [paying(), capturing()] {
        there
            .waits(5 * MINUTE)
            .then("cancelling", [cancel(late), release(), void(late)])
            .receives(cancelled(late))
            .receives(released())
            .receives(voided())
            .then("cancelled", [notify_cancelled(late)])
            .ended();
    }
}

#[test]
fn a_capture_at_minute_five_has_one_outcome_whichever_comes_first() {
    let late = "there was no answer in time";
    let _ = confirming().waits(5 * MINUTE).then_nothing("confirming");
    capturing()
        .waits(5 * MINUTE)
        .receives(captured())
        .then("cancelling", [cancel(late), release(), void(late), refund(1, late)])
        .refused(void(late), "payment-captured")
        .receives(released())
        .receives(cancelled(late))
        .receives(refunded())
        .then("cancelled", [notify_cancelled(late)])
        .ended();
}

#[test]
fn a_refund_that_fails_waits_for_an_operator_who_tries_again() {
    confirming()
        .receives(cancelled("no"))
        .receives(released())
        .then("cancelling", [release(), refund(1, "no")])
        .receives(refund_failed())
        .then_nothing("cancelling")
        .cancelled("the account is open again")
        .then("cancelling", [refund(2, "no")])
        .receives(refunded())
        .then("cancelled", [notify_cancelled("no")])
        .ended();
}

#[test]
fn an_operator_cancels_an_order_wherever_it_stands() {
    let why = "fraud";
    let _ = reserving().cancelled(why).then("cancelling", [cancel(why), release()]);
    for there in [paying(), capturing()] {
        let _ = there.cancelled(why).then("cancelling", [cancel(why), release(), void(why)]);
    }
    for there in [confirming(), committing(), fulfilled()] {
        let before = there.json();
        let asked = there.cancelled(why);
        assert_eq!(asked.json(), before, "the order's own stream decides");
        let sent = asked.receives(cancelled(why)).receives(requested());
        assert!(sent.json().contains("cancelling"));
    }
}

#[test]
fn an_order_that_is_confirmed_already_is_not_confirmed_again() {
    for there in [paying(), capturing()] {
        let _ = there.receives(confirmed()).receives(captured()).then("committing", [ship()]);
    }
}

#[test]
fn a_payment_of_a_subscription_is_no_orders() {
    let period = PaymentRequested {
        order_id: text("s1.1"),
        customer_id: text("ana"),
        amount: 900,
        currency: text("EUR"),
        subscription_id: Some(text("s1")),
    };
    let recorded = crate::testing::recorded(&money(period), 1);
    assert_eq!(OrderFulfilment::instance(&Input::Event(&recorded)), None);
}

#[test]
fn money_before_stock_is_impossible() {
    reserving().finds_impossible(captured());
}

#[test]
fn what_is_about_no_known_order_does_not_matter() {
    let unknown =
        process::<OrderFulfilment>().receives(reserved()).receives(captured()).receives(cancelled("no"));
    assert_eq!(unknown.json(), "null");
}

#[test]
fn states_of_every_version_still_load_and_finish() {
    let golden = [include_str!("golden/v1.json"), include_str!("golden/v2.json")];
    let names = [
        "reserving",
        "paying",
        "capturing",
        "confirming",
        "committing",
        "fulfilled",
        "cancelling",
        "cancelled",
    ];
    let rest = || {
        [captured(), confirmed(), shipped(), cancelled("no"), released(), returned(), refunded()].into_iter()
    };
    let at_once = || [reserved(), requested()].into_iter().chain(rest());
    let authorised_first =
        || [reserved(), requested(), authorised(), capture_requested()].into_iter().chain(rest());
    for there in golden_states::<OrderFulfilment>(&golden, &names) {
        authorised_first().fold(there, Process::receives).ended();
    }
    for there in golden_states::<OrderFulfilment>(&golden, &names) {
        at_once().fold(there, Process::receives).ended();
    }
}

#[test]
fn an_impossible_stored_state_is_refused_by_field() {
    let stored = |json: &str| serde_json::from_str::<Fulfilment>(json).unwrap_err().to_string();
    let order = |total: i64, quantity: i64| {
        format!(
            r#"{{"reserving": {{"order": {{"order_id": "7", "customer_id": "ana", "currency": "EUR", "total": {total},
                "lines": [{{"product_id": "tea", "quantity": {quantity}}}], "confirmed": false}}}}}}"#
        )
    };
    assert!(stored(&order(-1, 3)).contains("total is -1"));
    assert!(stored(&order(1, 0)).contains("the quantity of tea is 0"));
    assert!(stored(r#"{"sleeping": {}}"#).contains("sleeping"));
}
