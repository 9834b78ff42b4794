//! Inventory: which commands are accepted and which are refused.

use millrace_schemas::inventory::{
    ReleaseStock, ReserveStock, ReserveStockLine, ReturnStock, ReturnStockLine, ShipStock, StockReleased,
    StockReserved, StockReturned, StockShipped,
};
use proptest::prelude::*;

use super::*;
use crate::testing::{fold_view, given};
use crate::views::products::ProductView;

fn receive(product: &str, quantity: i64) -> ReceiveStock {
    ReceiveStock { product_id: product.into(), quantity }
}

fn received(product: &str, quantity: i64) -> Event {
    StockReceived { product_id: product.into(), quantity }.into()
}

fn adjust(difference: i64) -> AdjustStock {
    AdjustStock { product_id: "tea".into(), difference, reason: "counted".into() }
}

fn adjusted(difference: i64) -> Event {
    StockAdjusted { product_id: "tea".into(), difference, reason: "counted".into() }.into()
}

fn reserve(lines: &[(&str, i64)]) -> ReserveStock {
    let line = |(product, quantity): &(&str, i64)| ReserveStockLine {
        product_id: (*product).into(),
        quantity: *quantity,
    };
    ReserveStock { reservation_id: "r1".into(), lines: lines.iter().map(line).collect() }
}

fn reserved(product: &str, quantity: i64) -> Event {
    StockReserved { product_id: product.into(), reservation_id: "r1".into(), quantity }.into()
}

fn release(products: &[&str]) -> ReleaseStock {
    ReleaseStock {
        reservation_id: "r1".into(),
        product_ids: products.iter().map(ToString::to_string).collect(),
    }
}

fn released(product: &str, quantity: i64) -> Event {
    StockReleased { product_id: product.into(), reservation_id: "r1".into(), quantity }.into()
}

fn ship(products: &[&str]) -> ShipStock {
    ShipStock { reservation_id: "r1".into(), product_ids: products.iter().map(ToString::to_string).collect() }
}

fn shipped(product: &str, quantity: i64) -> Event {
    StockShipped { product_id: product.into(), reservation_id: "r1".into(), quantity }.into()
}

fn take_back(lines: &[(&str, i64)]) -> ReturnStock {
    let line = |(product, quantity): &(&str, i64)| ReturnStockLine {
        product_id: (*product).into(),
        quantity: *quantity,
    };
    ReturnStock { reservation_id: "r1".into(), lines: lines.iter().map(line).collect() }
}

fn returned(product: &str, quantity: i64) -> Event {
    StockReturned { product_id: product.into(), reservation_id: "r1".into(), quantity }.into()
}

/// On hand, reserved, available.
fn figures(events: &[Event]) -> (i64, i64, i64) {
    let stock = events.iter().fold(None, Inventory::evolve).expect("a stock");
    (stock.on_hand, stock.reserved(), stock.available())
}

#[test]
fn stock_is_received() {
    given::<Inventory>([]).when(receive("tea", 10)).then([received("tea", 10)]);
    given::<Inventory>([received("tea", 10)]).when(receive("tea", 5)).then([received("tea", 5)]);
}

#[test]
fn nothing_or_less_cannot_be_received() {
    for quantity in [0, -1, i64::MIN, i64::MAX] {
        given::<Inventory>([]).when(receive("tea", quantity)).then_rejected("quantity-invalid");
    }
    given::<Inventory>([]).when(receive("", 1)).then_rejected("id-invalid");
}

#[test]
fn more_than_can_be_counted_is_rejected() {
    given::<Inventory>([received("tea", i64::MAX)]).when(receive("tea", 1)).then_rejected("stock-overflow");
    given::<Inventory>([received("tea", 1)]).when(adjust(i64::MAX)).then_rejected("stock-overflow");
}

#[test]
fn stock_is_adjusted_up_and_down() {
    given::<Inventory>([received("tea", 10)]).when(adjust(3)).then([adjusted(3)]);
    given::<Inventory>([received("tea", 10)]).when(adjust(-10)).then([adjusted(-10)]);
    given::<Inventory>([]).when(adjust(3)).then([adjusted(3)]);
}

#[test]
fn an_adjustment_needs_a_difference_and_a_reason() {
    given::<Inventory>([]).when(adjust(0)).then_rejected("difference-zero");
    let silent = AdjustStock { reason: String::new(), ..adjust(1) };
    given::<Inventory>([]).when(silent).then_rejected("reason-invalid");
}

#[test]
fn an_adjustment_never_takes_what_is_reserved_or_not_there() {
    let past = || given::<Inventory>([received("tea", 10), reserved("tea", 4)]);
    past().when(adjust(-6)).then([adjusted(-6)]);
    past().when(adjust(-7)).then_rejected("stock-insufficient");
    past().when(adjust(i64::MIN)).then_rejected("stock-insufficient");
    given::<Inventory>([]).when(adjust(-1)).then_rejected("stock-insufficient");
}

#[test]
fn several_products_are_reserved_at_once() {
    given::<Inventory>([received("tea", 10), received("jam", 2)])
        .when(reserve(&[("tea", 10), ("jam", 1)]))
        .then([reserved("tea", 10), reserved("jam", 1)]);
}

#[test]
fn a_reservation_that_one_product_cannot_fill_reserves_nothing() {
    let past = given::<Inventory>([received("tea", 10), received("jam", 2)]);
    past.when(reserve(&[("tea", 10), ("jam", 3)])).then_rejected("stock-insufficient");
    given::<Inventory>([received("tea", 10)])
        .when(reserve(&[("tea", 10), ("jam", 1)]))
        .then_rejected("stock-insufficient");
}

#[test]
fn what_others_have_reserved_is_not_available() {
    let other = StockReserved { product_id: "tea".into(), reservation_id: "r0".into(), quantity: 4 };
    let past = || given::<Inventory>([received("tea", 10), other.clone().into()]);
    past().when(reserve(&[("tea", 6)])).then([reserved("tea", 6)]);
    past().when(reserve(&[("tea", 7)])).then_rejected("stock-insufficient");
}

#[test]
fn reserving_again_is_rejected() {
    given::<Inventory>([received("tea", 10), reserved("tea", 1)])
        .when(reserve(&[("tea", 1)]))
        .then_rejected("reservation-exists");
}

#[test]
fn a_malformed_reservation_is_rejected() {
    let refused = |command: ReserveStock, code| {
        given::<Inventory>([received("tea", 10)]).when(command).then_rejected(code);
    };
    refused(reserve(&[]), "reservation-empty");
    refused(reserve(&[("tea", 1), ("tea", 1)]), "product-repeated");
    refused(reserve(&[("tea", 0)]), "quantity-invalid");
    refused(reserve(&[("tea", -1)]), "quantity-invalid");
    refused(reserve(&[("t\0a", 1)]), "id-invalid");
    refused(ReserveStock { reservation_id: String::new(), ..reserve(&[("tea", 1)]) }, "id-invalid");
}

#[test]
fn a_reservation_has_at_most_500_lines() {
    let products: Vec<String> = (0..=500).map(|n| format!("p{n}")).collect();
    let lines: Vec<(&str, i64)> = products.iter().map(|product| (product.as_str(), 1)).collect();
    let stock = || given::<Inventory>(products.iter().map(|product| received(product, 1)));
    assert_eq!(stock().when(reserve(&lines[..500])).outcome.map(|events| events.len()), Ok(500));
    stock().when(reserve(&lines)).then_rejected("lines-too-many");
}

#[test]
fn released_units_are_available_again() {
    let events = [received("tea", 10), reserved("tea", 4)];
    given::<Inventory>(events).when(release(&["tea"])).then([released("tea", 4)]);
    given::<Inventory>([received("tea", 10), reserved("tea", 4), released("tea", 4)])
        .when(reserve(&[("tea", 10)]))
        .then([reserved("tea", 10)]);
}

#[test]
fn shipped_units_leave_the_warehouse() {
    given::<Inventory>([received("tea", 10), reserved("tea", 4)])
        .when(ship(&["tea"]))
        .then([shipped("tea", 4)]);
    let events = [received("tea", 10), reserved("tea", 4), shipped("tea", 4)];
    assert_eq!(figures(&events), (6, 0, 6));
}

#[test]
fn a_reservation_missing_on_one_product_is_neither_released_nor_shipped() {
    let past = || given::<Inventory>([received("tea", 10), reserved("tea", 4), received("jam", 1)]);
    past().when(release(&["tea", "jam"])).then_rejected("reservation-unknown");
    past().when(ship(&["tea", "jam"])).then_rejected("reservation-unknown");
    past().when(ship(&["tea", "nothing"])).then_rejected("reservation-unknown");
}

#[test]
fn a_reservation_is_shipped_or_released_only_once() {
    let past = || given::<Inventory>([received("tea", 10), reserved("tea", 4), shipped("tea", 4)]);
    past().when(ship(&["tea"])).then_rejected("reservation-unknown");
    past().when(release(&["tea"])).then_rejected("reservation-unknown");
}

#[test]
fn a_release_or_shipment_names_each_product_once() {
    let past = || given::<Inventory>([received("tea", 10), reserved("tea", 4)]);
    past().when(release(&["tea", "tea"])).then_rejected("product-repeated");
    past().when(ship(&["tea", "tea"])).then_rejected("product-repeated");
    past().when(release(&[])).then_rejected("reservation-empty");
    past().when(ship(&[])).then_rejected("reservation-empty");
    past().when(ship(&["tea"; 501])).then_rejected("lines-too-many");
}

#[test]
fn shipped_units_that_come_back_are_on_hand_again() {
    let past = || [received("tea", 10), reserved("tea", 4), shipped("tea", 4)];
    given::<Inventory>(past())
        .when(take_back(&[("tea", 3), ("jam", 1)]))
        .then([returned("tea", 3), returned("jam", 1)]);
    assert_eq!(figures(&[&past()[..], &[returned("tea", 3)]].concat()), (9, 0, 9));
}

#[test]
fn a_malformed_return_is_rejected() {
    let refused = |command: ReturnStock, code| {
        given::<Inventory>([received("tea", 10)]).when(command).then_rejected(code);
    };
    refused(take_back(&[]), "return-empty");
    refused(take_back(&[("tea", 1); 501]), "lines-too-many");
    refused(take_back(&[("tea", 1), ("tea", 1)]), "product-repeated");
    refused(take_back(&[("tea", 0)]), "quantity-invalid");
    refused(take_back(&[("jam", 1), ("tea", -1)]), "quantity-invalid");
    refused(take_back(&[("t\0a", 1)]), "id-invalid");
    refused(ReturnStock { reservation_id: String::new(), ..take_back(&[("tea", 1)]) }, "id-invalid");
}

#[test]
fn a_return_of_more_than_can_be_counted_is_rejected() {
    let full = given::<Inventory>([received("tea", i64::MAX)]);
    full.when(take_back(&[("jam", 1), ("tea", 1)])).then_rejected("stock-overflow");
}

#[test]
fn on_hand_reserved_and_available_are_three_figures() {
    let events = [received("tea", 10), adjusted(-1), reserved("tea", 4)];
    assert_eq!(figures(&events), (9, 4, 5));
    let stock = events.iter().fold(None, Inventory::evolve).expect("a stock");
    assert_eq!(Inventory::public(&stock), StockPublic { available: 5 });
}

#[test]
fn what_cannot_have_happened_changes_nothing() {
    let impossible =
        [shipped("tea", 1), released("tea", 1), reserved("tea", 11), adjusted(-11), adjusted(i64::MAX)];
    for event in impossible {
        assert_eq!(figures(&[received("tea", 10), event.clone()]), (10, 0, 10));
        assert_eq!(Inventory::evolve(None, &shipped("tea", 1)), None);
    }
}

/// Mostly valid ones, so that most sequences make progress.
fn any_product() -> impl Strategy<Value = &'static str> {
    prop_oneof![30 => Just("tea"), 30 => Just("jam"), 1 => Just("\0")]
}

fn any_quantity() -> impl Strategy<Value = i64> {
    prop_oneof![12 => 1..20_i64, 3 => -10..=0_i64, 1 => any::<i64>()]
}

fn any_command() -> impl Strategy<Value = Command> {
    let lines = prop::collection::vec((any_product(), any_quantity()), 0..3);
    let reservation = prop_oneof![20 => "r[12]", 1 => any::<String>()];
    (0..6, lines, reservation, any_quantity()).prop_map(|(kind, lines, reservation_id, number)| {
        let products: Vec<&str> = lines.iter().map(|(product, _)| *product).collect();
        let product = products.first().copied().unwrap_or_default();
        match kind {
            0 => receive(product, number).into(),
            1 => AdjustStock { product_id: product.into(), ..adjust(number) }.into(),
            2 => ReserveStock { reservation_id, ..reserve(&lines) }.into(),
            3 => ReleaseStock { reservation_id, ..release(&products) }.into(),
            4 => ReturnStock { reservation_id, ..take_back(&lines) }.into(),
            _ => ShipStock { reservation_id, ..ship(&products) }.into(),
        }
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    (0..6, "r[12]", any_quantity()).prop_map(|(kind, reservation_id, quantity)| {
        let product_id = "tea".to_owned();
        match kind {
            0 => received("tea", quantity),
            1 => adjusted(quantity),
            2 => StockReserved { product_id, reservation_id, quantity }.into(),
            3 => StockReleased { product_id, reservation_id, quantity }.into(),
            4 => StockReturned { product_id, reservation_id, quantity }.into(),
            _ => StockShipped { product_id, reservation_id, quantity }.into(),
        }
    })
}

fn assert_sound(stock: &Stock) {
    assert!(
        ["r1", "r2"].iter().filter_map(|id| stock.reservations.get(id)).all(|units| units > 0),
        "{stock:?}"
    );
    assert!(0 <= stock.reserved() && stock.reserved() <= stock.on_hand, "{stock:?}");
}

proptest! {
    #[test]
    fn no_sequence_of_commands_panics_or_makes_available_stock_negative(
        commands in prop::collection::vec(any_command(), 0..40),
    ) {
        given::<Inventory>([]).after(commands).states().values().for_each(assert_sound);
    }

    /// The view adds up whatever events it gets; the state ignores what cannot be. They agree only if nothing impossible
    /// was ever accepted.
    #[test]
    fn the_view_shows_the_figures_that_were_decided_on(commands in prop::collection::vec(any_command(), 0..40)) {
        let past = given::<Inventory>([]).after(commands);
        let events: Vec<_> = past.accepted().iter().cloned().map(millrace_schemas::Event::Inventory).collect();
        let rows = fold_view::<ProductView>(&events);
        prop_assert_eq!(rows.len(), past.states().len());
        for (product, stock) in past.states() {
            let row = &rows[product];
            let decided = (stock.on_hand, stock.reserved(), stock.available());
            prop_assert_eq!((row.on_hand, row.reserved, row.available), decided);
        }
    }

    #[test]
    fn no_sequence_of_events_panics_or_makes_available_stock_negative(
        events in prop::collection::vec(any_event(), 0..40),
    ) {
        events.iter().fold(None, Inventory::evolve).iter().for_each(assert_sound);
    }
}
