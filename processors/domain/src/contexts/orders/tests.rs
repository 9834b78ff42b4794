//! Orders: which commands are accepted and which are refused.

use millrace_schemas::catalog::{self, ProductAdded};
use millrace_schemas::customers::{self, CustomerAddressSet, CustomerRegistered};
use millrace_schemas::orders::{PlaceOrder, PlaceOrderLine};
use proptest::prelude::*;

use super::*;
use crate::contexts::customers::examples::registered;
use crate::contexts::{catalog::Catalog, customers::Customers};
use crate::rules::{QUANTITY_MAX, TOTAL_MAX};
use crate::testing::{Given, given};

const JULY_4_1996: i64 = 836_438_400_000_000;

fn customer() -> customers::Event {
    let country = Some("France".to_owned());
    CustomerRegistered { country, ..registered("VINET", "Vins et alcools Chevalier") }.into()
}

fn product(product_id: &str, name: &str, category: &str) -> catalog::Event {
    let [product_id, name, category, currency] = [product_id, name, category, "USD"].map(str::to_owned);
    ProductAdded { product_id, name, category, price: 1, currency }.into()
}

fn past(events: impl IntoIterator<Item = Event>) -> Given<Orders> {
    given::<Orders>(events)
        .and::<Customers>([customer()])
        .and::<Catalog>([product("11", "Queso Cabrales", "Dairy"), product("42", "Hokkien Mee", "Grains")])
}

fn line(product_id: &str, quantity: i64, unit_price: i64, discount_bp: i32) -> PlaceOrderLine {
    PlaceOrderLine { product_id: product_id.into(), quantity, unit_price, discount_bp }
}

/// 12 * 14.00, and 10 * 9.85 less 15 %: 83.725, rounded up to 83.73.
fn place() -> PlaceOrder {
    PlaceOrder {
        order_id: "10248".into(),
        customer_id: "VINET".into(),
        currency: "USD".into(),
        placed_at: JULY_4_1996,
        lines: vec![line("11", 12, 1_400, 0), line("42", 10, 985, 1_500)],
        total: 16_800 + 8_373,
        ship_to: None,
    }
}

fn placed_lines() -> Vec<OrderPlacedLine> {
    let line = |product_id: &str, name: &str, category: &str, quantity, unit_price, discount_bp, amount| {
        let [product_id, product_name, category] = [product_id, name, category].map(str::to_owned);
        OrderPlacedLine { product_id, product_name, category, quantity, unit_price, discount_bp, amount }
    };
    vec![
        line("11", "Queso Cabrales", "Dairy", 12, 1_400, 0, 16_800),
        line("42", "Hokkien Mee", "Grains", 10, 985, 1_500, 8_373),
    ]
}

fn placed() -> Event {
    OrderPlaced {
        order_id: "10248".into(),
        customer_id: "VINET".into(),
        customer_name: "Vins et alcools Chevalier".into(),
        customer_country: Some("France".into()),
        currency: "USD".into(),
        placed_at: JULY_4_1996,
        lines: placed_lines(),
        total: 25_173,
        ship_to: None,
    }
    .into()
}

fn confirm() -> ConfirmOrder {
    ConfirmOrder { order_id: "10248".into() }
}

fn confirmed() -> Event {
    OrderConfirmed {
        order_id: "10248".into(),
        customer_id: "VINET".into(),
        currency: "USD".into(),
        placed_at: JULY_4_1996,
        lines: placed_lines().into_iter().map(confirmed_line).collect(),
        total: 25_173,
        country: "France".into(),
    }
    .into()
}

fn ship() -> ShipOrder {
    ShipOrder {
        order_id: "10248".into(),
        shipped_at: JULY_4_1996,
        carrier: Some("Speedy Express".into()),
        tracking_number: Some("SE-10248".into()),
    }
}

fn shipped() -> Event {
    let ShipOrder { order_id, shipped_at, carrier, tracking_number } = ship();
    OrderShipped { order_id, customer_id: "VINET".into(), shipped_at, carrier, tracking_number }.into()
}

fn deliver() -> DeliverOrder {
    DeliverOrder { order_id: "10248".into(), delivered_at: JULY_4_1996 }
}

fn delivered() -> Event {
    OrderDelivered { order_id: "10248".into(), customer_id: "VINET".into(), delivered_at: JULY_4_1996 }.into()
}

fn address(address_id: &str, city: &str, is_default: bool) -> CustomerAddressSet {
    CustomerAddressSet {
        customer_id: "VINET".into(),
        address_id: address_id.into(),
        recipient: None,
        line1: "59 rue de l'Abbaye".into(),
        line2: None,
        postal_code: Some("51100".into()),
        city: city.into(),
        region: None,
        country: "FR".into(),
        is_default,
    }
}

fn cancel() -> CancelOrder {
    CancelOrder { order_id: "10248".into(), reason: "changed my mind".into() }
}

fn cancelled(confirmed: bool) -> Event {
    OrderCancelled {
        order_id: "10248".into(),
        customer_id: "VINET".into(),
        reason: "changed my mind".into(),
        currency: "USD".into(),
        placed_at: JULY_4_1996,
        lines: placed_lines().into_iter().map(cancelled_line).collect(),
        total: 25_173,
        confirmed,
        country: "France".into(),
    }
    .into()
}

fn refused(command: PlaceOrder, code: &str) {
    assert_eq!(Orders::references(&command.clone().into()), [], "a malformed order refers to nothing");
    past([]).when(command).then_rejected(code);
}

fn with_line(line: PlaceOrderLine) -> PlaceOrder {
    PlaceOrder { lines: vec![line], ..place() }
}

#[test]
fn an_order_is_placed_with_the_names_and_categories_of_its_time() {
    past([]).when(place()).then([placed()]);
}

#[test]
fn an_order_ships_to_the_address_that_it_names_or_else_to_the_default_one() {
    let past = || {
        let addresses = [address("home", "Lyon", true), address("office", "Reims", false)];
        let events = std::iter::once(customer()).chain(addresses.map(customers::Event::from));
        past([]).and::<Customers>(events)
    };
    let city = |ship_to: Option<&str>| {
        let command = PlaceOrder { ship_to: ship_to.map(str::to_owned), ..place() };
        match past().when(command).outcome.expect("accepted").remove(0).event {
            Event::OrderPlaced(event) => event.ship_to.expect("an address").city,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((city(None), city(Some("office"))), ("Lyon".to_owned(), "Reims".to_owned()));
    let nowhere = PlaceOrder { ship_to: Some("moon".into()), ..place() };
    past().when(nowhere).then_rejected("address-unknown");
}

#[test]
fn an_order_refers_to_its_customer_and_to_every_product() {
    let expected =
        [Reference::to::<Customers>("VINET"), Reference::to::<Catalog>("11"), Reference::to::<Catalog>("42")];
    assert_eq!(Orders::references(&place().into()), expected);
    assert_eq!(Orders::references(&confirm().into()), []);
}

#[test]
fn an_order_is_placed_only_once() {
    past([placed()]).when(place()).then_rejected("order-exists");
}

#[test]
fn an_order_without_lines_is_rejected() {
    refused(PlaceOrder { lines: vec![], total: 0, ..place() }, "order-empty");
}

#[test]
fn an_order_has_at_most_500_lines() {
    let lines = |count| (0..count).map(|n| line(&n.to_string(), 1, 1, 0)).collect();
    refused(PlaceOrder { lines: lines(501), total: 501, ..place() }, "lines-too-many");
    let longest = PlaceOrder { lines: lines(500), total: 500, ..place() };
    assert_eq!(Orders::references(&longest.clone().into()).len(), 501);
    let products = (0..500).map(|n| product(&n.to_string(), "Chai", "Beverages"));
    assert!(past([]).and::<Catalog>(products).when(longest).outcome.is_ok());
}

#[test]
fn an_order_with_a_product_twice_is_rejected() {
    let lines = vec![line("11", 1, 100, 0), line("11", 2, 100, 0)];
    refused(PlaceOrder { lines, total: 300, ..place() }, "product-repeated");
}

#[test]
fn a_line_with_an_invalid_field_is_rejected() {
    refused(with_line(line("11", 0, 100, 0)), "quantity-invalid");
    refused(with_line(line("11", -1, 100, 0)), "quantity-invalid");
    refused(with_line(line("11", QUANTITY_MAX + 1, 0, 0)), "quantity-invalid");
    refused(with_line(line("11", 1, -1, 0)), "price-negative");
    refused(with_line(line("11", 1, TOTAL_MAX + 1, 0)), "price-too-large");
    refused(with_line(line("11", 2, i64::MAX, 0)), "price-too-large");
    refused(with_line(line("11", 1, 100, -1)), "discount-invalid");
    refused(with_line(line("11", 1, 100, 10_001)), "discount-invalid");
    refused(with_line(line("\0", 1, 100, 0)), "id-invalid");
}

#[test]
fn a_free_line_and_a_full_discount_are_accepted() {
    let lines = vec![line("11", 1, 0, 0), line("42", 1, 100, 10_000)];
    assert!(past([]).when(PlaceOrder { lines, total: 0, ..place() }).outcome.is_ok());
}

#[test]
fn an_order_with_an_invalid_field_is_rejected() {
    refused(PlaceOrder { order_id: String::new(), ..place() }, "id-invalid");
    refused(PlaceOrder { customer_id: "\0".into(), ..place() }, "id-invalid");
    refused(PlaceOrder { currency: "usd".into(), ..place() }, "currency-invalid");
    refused(PlaceOrder { placed_at: i64::MAX, ..place() }, "time-invalid");
}

#[test]
fn a_total_that_differs_by_one_cent_is_rejected() {
    refused(PlaceOrder { total: 25_172, ..place() }, "total-mismatch");
    refused(PlaceOrder { total: 25_174, ..place() }, "total-mismatch");
}

#[test]
fn an_order_costs_no_more_than_sums_can_hold() {
    refused(with_line(line("11", 2, TOTAL_MAX, 0)), "amount-too-large");
    let lines = vec![line("11", 1, TOTAL_MAX, 0), line("42", 1, 1, 0)];
    refused(PlaceOrder { lines, total: TOTAL_MAX + 1, ..place() }, "amount-too-large");
    let dearest = PlaceOrder { total: TOTAL_MAX, ..with_line(line("11", 1, TOTAL_MAX, 0)) };
    assert!(past([]).when(dearest).outcome.is_ok());
}

#[test]
fn an_order_is_never_placed_without_its_references() {
    given::<Orders>([]).when(place()).then_rejected("customer-unknown");
    given::<Orders>([]).and::<Customers>([customer()]).when(place()).then_rejected("product-unknown");
}

#[test]
fn a_placed_order_is_confirmed_once() {
    past([placed()]).when(confirm()).then([confirmed()]);
    past([placed(), confirmed()]).when(confirm()).then_rejected("order-not-placed");
}

#[test]
fn a_confirmed_order_is_shipped_once() {
    past([placed(), confirmed()]).when(ship()).then([shipped()]);
    past([placed()]).when(ship()).then_rejected("order-not-confirmed");
    past([placed(), confirmed(), shipped()]).when(ship()).then_rejected("order-not-confirmed");
}

#[test]
fn a_shipment_needs_a_time_that_can_be_held() {
    let command = ShipOrder { shipped_at: i64::MIN, ..ship() };
    past([placed(), confirmed()]).when(command).then_rejected("time-invalid");
}

#[test]
fn a_consignment_with_an_invalid_field_is_rejected() {
    let refused = |command: ShipOrder, code| past([placed(), confirmed()]).when(command).then_rejected(code);
    refused(ShipOrder { carrier: Some(" ".into()), ..ship() }, "carrier-invalid");
    refused(ShipOrder { tracking_number: Some("1\n".into()), ..ship() }, "tracking-number-invalid");
}

#[test]
fn a_shipped_order_is_delivered_once() {
    past([placed(), confirmed(), shipped()]).when(deliver()).then([delivered()]);
    past([placed(), confirmed()]).when(deliver()).then_rejected("order-not-shipped");
    past([]).when(deliver()).then_rejected("order-unknown");
    past([placed(), confirmed(), shipped(), delivered()]).when(deliver()).then_rejected("order-delivered");
    past([placed(), confirmed(), shipped(), delivered()]).when(cancel()).then_rejected("order-not-open");
    let never = DeliverOrder { delivered_at: i64::MIN, ..deliver() };
    past([placed(), confirmed(), shipped()]).when(never).then_rejected("time-invalid");
}

#[test]
fn the_stored_state_of_an_order_says_so_only_when_it_was_delivered() {
    let state = |events: &[Event]| {
        let state = events.iter().fold(None, Orders::evolve).expect("an order");
        serde_json::to_value(state).expect("it serialises")
    };
    assert_eq!(state(&[placed(), confirmed(), shipped()]).get("delivered"), None);
    assert_eq!(state(&[placed(), confirmed(), shipped(), delivered()])["delivered"], true);
}

#[test]
fn a_placed_or_confirmed_order_is_cancelled_and_the_event_repeats_what_was_ordered() {
    past([placed()]).when(cancel()).then([cancelled(false)]);
    past([placed(), confirmed()]).when(cancel()).then([cancelled(true)]);
}

/// An earlier version of `OrderConfirmed` without the lines.
fn confirmed_without_lines() -> Event {
    let (order_id, customer_id) = ("10248".to_owned(), "VINET".to_owned());
    let (currency, lines, country) = (String::new(), Vec::new(), String::new());
    OrderConfirmed { order_id, customer_id, currency, placed_at: 0, lines, total: 0, country }.into()
}

#[test]
fn a_cancellation_does_not_ask_readers_to_take_back_what_they_could_not_count() {
    past([placed(), confirmed_without_lines()]).when(cancel()).then([cancelled(false)]);
    past([placed(), confirmed_without_lines()]).when(ship()).then([shipped()]);
}

/// An earlier version of `OrderConfirmed` without the country.
fn confirmed_without_country() -> Event {
    match confirmed() {
        Event::OrderConfirmed(event) => OrderConfirmed { country: String::new(), ..event }.into(),
        other => other,
    }
}

#[test]
fn a_cancellation_is_taken_back_in_the_country_in_which_the_order_was_counted() {
    let decided = past([placed(), confirmed_without_country()]).when(cancel());
    let events = decided.outcome.expect("the command is accepted");
    let [Emitted { event: Event::OrderCancelled(event), .. }] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!((event.confirmed, event.country.as_str()), (true, ""));
}

#[test]
fn an_order_of_a_customer_without_a_country_counts_in_none() {
    let placed = match placed() {
        Event::OrderPlaced(event) => Event::from(OrderPlaced { customer_country: None, ..event }),
        other => other,
    };
    past([placed]).when(confirm()).then([confirmed_without_country()]);
}

#[test]
fn a_shipped_or_cancelled_order_is_not_cancelled() {
    past([placed(), confirmed(), shipped()]).when(cancel()).then_rejected("order-not-open");
    past([placed(), cancelled(false)]).when(cancel()).then_rejected("order-not-open");
}

#[test]
fn a_cancelled_order_is_neither_confirmed_nor_shipped() {
    past([placed(), cancelled(false)]).when(confirm()).then_rejected("order-not-placed");
    past([placed(), confirmed(), cancelled(true)]).when(ship()).then_rejected("order-not-confirmed");
}

#[test]
fn a_cancellation_needs_a_reason() {
    for reason in ["", " ", "\0", &"x".repeat(501)] {
        let command = CancelOrder { reason: reason.into(), ..cancel() };
        past([placed()]).when(command).then_rejected("reason-invalid");
    }
}

#[test]
fn an_order_that_was_never_placed_cannot_go_on() {
    past([]).when(confirm()).then_rejected("order-unknown");
    past([]).when(cancel()).then_rejected("order-unknown");
    past([]).when(ship()).then_rejected("order-unknown");
}

#[test]
fn what_cannot_have_happened_changes_nothing() {
    assert_eq!(Orders::evolve(None, &shipped()), None);
    let order = Orders::evolve(None, &placed());
    assert_eq!(Orders::evolve(order.clone(), &shipped()), order);
    assert_eq!(Orders::evolve(order.clone(), &placed()), order);
}

#[test]
fn others_see_who_ordered_and_for_how_much() {
    let order = Orders::evolve(None, &placed()).expect("an order");
    let public = OrderPublic { customer_id: "VINET".into(), currency: "USD".into(), total: 25_173 };
    assert_eq!(Orders::public(&order), public);
}

/// Mostly valid values here and below, so that most sequences make progress.
fn any_number() -> impl Strategy<Value = i64> {
    prop_oneof![30 => 1..1_000_i64, 1 => any::<i64>()]
}

prop_compose! {
    fn any_line()(
        product_id in prop_oneof![20 => Just("11".to_owned()), 20 => Just("42".to_owned()), 1 => any::<String>()],
        quantity in any_number(),
        unit_price in any_number(),
        discount_bp in prop_oneof![30 => 0..=10_000_i32, 1 => any::<i32>()],
    ) -> PlaceOrderLine {
        PlaceOrderLine { product_id, quantity, unit_price, discount_bp }
    }
}

prop_compose! {
    fn any_order()(
        order_id in prop_oneof![30 => "1024[89]", 1 => any::<String>()],
        customer_id in prop_oneof![30 => Just("VINET".to_owned()), 1 => any::<String>()],
        placed_at in prop_oneof![30 => Just(JULY_4_1996), 1 => any::<i64>()],
        lines in prop::collection::vec(any_line(), 0..=2),
        slip in prop_oneof![30 => Just(0_i64), 1 => any::<i64>()],
    ) -> PlaceOrder {
        let amounts = lines.iter().filter_map(|l| rules::line_amount(l.quantity, l.unit_price, l.discount_bp));
        let total = amounts.fold(slip, i64::wrapping_add);
        PlaceOrder { order_id, customer_id, currency: "USD".into(), placed_at, lines, total, ship_to: None }
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    (any_order(), 0..7).prop_map(|(command, kind)| {
        let PlaceOrder { order_id, customer_id: reason, placed_at: shipped_at, .. } = command.clone();
        match kind {
            0 => ConfirmOrder { order_id }.into(),
            1 => ShipOrder { order_id, shipped_at, ..ship() }.into(),
            2 => CancelOrder { order_id, reason }.into(),
            3 => DeliverOrder { order_id, delivered_at: shipped_at }.into(),
            _ => command.into(),
        }
    })
}

proptest! {
    #[test]
    fn no_sequence_of_commands_panics_or_makes_an_order_that_breaks_its_rules(
        commands in prop::collection::vec(any_command(), 0..20),
    ) {
        for order in past([]).after(commands).states().values() {
            prop_assert!(!order.lines.is_empty());
            prop_assert_eq!(order.total, order.lines.iter().map(|line| line.amount).sum::<i64>());
            prop_assert!(!order.delivered || order.status == Status::Shipped);
            prop_assert!(order.total >= 0 && order.lines.iter().all(|line| line.quantity > 0));
        }
    }
}
