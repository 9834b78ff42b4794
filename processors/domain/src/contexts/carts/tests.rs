//! Carts: which commands are accepted and which are refused.

use millrace_schemas::carts::{
    AddToCart, CartCheckedOut, CartCheckedOutLine, ChangeCartQuantity, CheckOutCart, RemoveFromCart,
};
use millrace_schemas::catalog::{self, ProductAdded, ProductDiscontinued};
use millrace_schemas::customers;
use millrace_schemas::inventory::StockReceived;
use proptest::prelude::*;

use super::*;
use crate::contexts::catalog::Catalog;
use crate::contexts::customers::examples::registered;
use crate::contexts::inventory::Inventory;
use crate::rules::{LINES_MAX, QUANTITY_MAX, TOTAL_MAX};
use crate::testing::{Decided, Given, given};

const JULY_4_1996: i64 = 836_438_400_000_000;

fn customer() -> customers::Event {
    registered("VINET", "Vins et alcools").into()
}

fn product(product_id: &str, price: i64, currency: &str) -> catalog::Event {
    let [product_id, name, category, currency] = [product_id, "Chai", "Drinks", currency].map(str::to_owned);
    ProductAdded { product_id, name, category, price, currency }.into()
}

/// Tea costs 18.00, jam 10.00, gold almost all that sums can hold, water nothing, wine is sold in euros, and absinthe
/// no more.
fn past(events: impl IntoIterator<Item = Event>) -> Given<Carts> {
    given::<Carts>(events).and::<Customers>([customer()]).and::<Catalog>([
        product("tea", 1_800, "USD"),
        product("jam", 1_000, "USD"),
        product("gold", TOTAL_MAX - 1_000, "USD"),
        product("water", 0, "USD"),
        product("wine", 1, "EUR"),
        product("absinthe", 1, "USD"),
        ProductDiscontinued { product_id: "absinthe".into() }.into(),
    ])
}

fn create() -> CreateCart {
    let [cart_id, customer_id, currency] = ["c1", "VINET", "USD"].map(str::to_owned);
    CreateCart { cart_id, customer_id, currency }
}

fn created() -> Event {
    let CreateCart { cart_id, customer_id, currency } = create();
    CartCreated { cart_id, customer_id, currency }.into()
}

fn add(product_id: &str, quantity: i64) -> AddToCart {
    AddToCart { cart_id: "c1".into(), product_id: product_id.into(), quantity }
}

fn added(product_id: &str, quantity: i64, unit_price: i64) -> Event {
    let [cart_id, product_id, product_name] = ["c1", product_id, "Chai"].map(str::to_owned);
    let available = Some(0);
    CartItemAdded { cart_id, product_id, product_name, quantity, unit_price, available }.into()
}

fn remove(product_id: &str) -> RemoveFromCart {
    RemoveFromCart { cart_id: "c1".into(), product_id: product_id.into() }
}

fn removed(product_id: &str) -> Event {
    CartItemRemoved { cart_id: "c1".into(), product_id: product_id.into() }.into()
}

fn change(product_id: &str, quantity: i64) -> ChangeCartQuantity {
    ChangeCartQuantity { cart_id: "c1".into(), product_id: product_id.into(), quantity }
}

fn changed(product_id: &str, quantity: i64) -> Event {
    let (cart_id, product_id) = ("c1".into(), product_id.into());
    CartQuantityChanged { cart_id, product_id, quantity, available: Some(0) }.into()
}

fn abandon() -> AbandonCart {
    AbandonCart { cart_id: "c1".into(), reason: "too dear".into() }
}

fn abandoned() -> Event {
    CartAbandoned { cart_id: "c1".into(), reason: "too dear".into(), customer_id: "VINET".into() }.into()
}

fn check_out() -> CheckOutCart {
    CheckOutCart { cart_id: "c1".into(), order_id: "10248".into(), checked_out_at: JULY_4_1996 }
}

/// With these products, quantities and prices.
fn checked_out(lines: &[(&str, i64, i64)]) -> Event {
    let [cart_id, order_id, customer_id, currency] = ["c1", "10248", "VINET", "USD"].map(str::to_owned);
    let line = |(product_id, quantity, unit_price): &(&str, i64, i64)| CartCheckedOutLine {
        product_id: (*product_id).into(),
        quantity: *quantity,
        unit_price: *unit_price,
    };
    CartCheckedOut {
        cart_id,
        order_id,
        customer_id,
        currency,
        lines: lines.iter().map(line).collect(),
        total: lines.iter().map(|(_, quantity, unit_price)| quantity * unit_price).sum(),
        checked_out_at: JULY_4_1996,
    }
    .into()
}

fn reopen() -> ReopenCart {
    ReopenCart { cart_id: "c1".into(), reason: "the order was refused".into() }
}

fn reopened() -> Event {
    CartReopened { cart_id: "c1".into(), reason: "the order was refused".into() }.into()
}

/// Every command but those that create and reopen.
fn changes() -> Vec<Command> {
    vec![
        add("jam", 1).into(),
        remove("tea").into(),
        change("tea", 3).into(),
        abandon().into(),
        check_out().into(),
    ]
}

#[test]
fn a_cart_is_created_for_a_customer() {
    past([]).when(create()).then([created()]);
    assert_eq!(Carts::references(&create().into()), [Reference::to::<Customers>("VINET")]);
}

#[test]
fn a_cart_is_created_only_once() {
    past([created()]).when(create()).then_rejected("cart-exists");
    past([created(), abandoned()]).when(create()).then_rejected("cart-exists");
}

#[test]
fn a_malformed_cart_is_rejected_and_refers_to_nothing() {
    let refused = |command: CreateCart, code| {
        assert_eq!(Carts::references(&command.clone().into()), []);
        past([]).when(command).then_rejected(code);
    };
    refused(CreateCart { cart_id: String::new(), ..create() }, "id-invalid");
    refused(CreateCart { customer_id: "\0".into(), ..create() }, "id-invalid");
    refused(CreateCart { currency: "usd".into(), ..create() }, "currency-invalid");
}

#[test]
fn a_product_is_added_with_its_name_and_list_price() {
    past([created()]).when(add("tea", 2)).then([added("tea", 2, 1_800)]);
    past([created()]).when(add("water", 2)).then([added("water", 2, 0)]);
    assert_eq!(Carts::references(&add("tea", 2).into()), [Reference::to::<Catalog>("tea")]);
}

#[test]
fn a_product_is_added_once_and_then_its_quantity_is_changed() {
    past([created(), added("tea", 2, 1_800)]).when(add("tea", 1)).then_rejected("product-repeated");
    past([created(), added("tea", 2, 1_800)]).when(change("tea", 3)).then([changed("tea", 3)]);
    past([created(), added("tea", 2, 1_800), removed("tea")])
        .when(add("tea", 1))
        .then([added("tea", 1, 1_800)]);
}

#[test]
fn a_change_to_the_same_quantity_is_accepted_and_nothing_happens() {
    past([created(), added("tea", 2, 1_800)]).when(change("tea", 2)).then([]);
}

#[test]
fn an_item_says_how_much_of_it_could_be_reserved() {
    let received = StockReceived { product_id: "tea".into(), quantity: 5 };
    let past = |events: Vec<Event>| past(events).and::<Inventory>([received.clone().into()]);
    let available = |event: &Event| match event {
        Event::CartItemAdded(event) => event.available,
        Event::CartQuantityChanged(event) => event.available,
        _ => None,
    };
    let of = |decided: Decided<Carts>| {
        decided.outcome.expect("accepted").iter().map(|emitted| available(&emitted.event)).collect::<Vec<_>>()
    };
    assert_eq!(of(past(vec![created()]).when(add("tea", 9))), [Some(5)]);
    assert_eq!(of(past(vec![created(), added("tea", 9, 1)]).when(change("tea", 2))), [Some(5)]);
    assert_eq!(of(past(vec![created()]).when(add("jam", 1))), [Some(0)], "it never was in stock");
}

#[test]
fn the_stock_of_an_item_is_looked_up_where_its_id_can_be() {
    assert_eq!(Carts::advice(&add("tea", 2).into()), [Reference::to::<Inventory>("tea")]);
    assert_eq!(Carts::advice(&change("tea", 2).into()), [Reference::to::<Inventory>("tea")]);
    assert_eq!(Carts::advice(&add("\0", 2).into()), []);
    assert_eq!(Carts::advice(&create().into()), []);
}

#[test]
fn a_discontinued_product_is_not_added() {
    past([created()]).when(add("absinthe", 1)).then_rejected("product-discontinued");
}

#[test]
fn a_product_with_a_price_in_another_currency_is_not_added() {
    past([created()]).when(add("wine", 1)).then_rejected("currency-differs");
}

#[test]
fn a_product_or_quantity_that_cannot_be_is_rejected_and_refers_to_nothing() {
    for (command, code) in [
        (add("", 1), "id-invalid"),
        (add("tea", 0), "quantity-invalid"),
        (add("tea", -1), "quantity-invalid"),
        (add("tea", QUANTITY_MAX + 1), "quantity-invalid"),
    ] {
        assert_eq!(Carts::references(&command.clone().into()), []);
        past([created()]).when(command).then_rejected(code);
    }
    past([created(), added("tea", 2, 1_800)]).when(change("tea", 0)).then_rejected("quantity-invalid");
}

#[test]
fn nothing_is_created_or_added_without_its_references() {
    given::<Carts>([]).when(create()).then_rejected("customer-unknown");
    given::<Carts>([created()]).when(add("tea", 1)).then_rejected("product-unknown");
}

#[test]
fn a_cart_has_at_most_500_products() {
    let full = || (0..LINES_MAX).map(|n| added(&n.to_string(), 1, 1));
    past([created()].into_iter().chain(full())).when(add("tea", 1)).then_rejected("lines-too-many");
    past([created()].into_iter().chain(full().skip(1))).when(add("tea", 1)).then([added("tea", 1, 1_800)]);
}

#[test]
fn a_cart_costs_no_more_than_an_order_may() {
    let gold = || [created(), added("gold", 1, TOTAL_MAX - 1_000)];
    past(gold()).when(add("jam", 1)).then([added("jam", 1, 1_000)]);
    past(gold()).when(add("tea", 1)).then_rejected("amount-too-large");
    past(gold()).when(change("gold", 2)).then_rejected("amount-too-large");
    past([created()]).when(add("gold", QUANTITY_MAX)).then_rejected("amount-too-large");
}

#[test]
fn a_product_is_removed() {
    past([created(), added("tea", 2, 1_800)]).when(remove("tea")).then([removed("tea")]);
}

#[test]
fn what_is_not_in_the_cart_is_neither_removed_nor_changed() {
    past([created()]).when(remove("tea")).then_rejected("product-not-in-cart");
    past([created()]).when(change("tea", 1)).then_rejected("product-not-in-cart");
}

#[test]
fn a_cart_is_abandoned() {
    past([created()]).when(abandon()).then([abandoned()]);
    past([created()]).when(AbandonCart { reason: " ".into(), ..abandon() }).then_rejected("reason-invalid");
}

#[test]
fn a_cart_is_checked_out_with_all_that_its_order_says() {
    past([created(), added("tea", 2, 1_800), added("jam", 3, 1_000), changed("tea", 1)])
        .when(check_out())
        .then([checked_out(&[("jam", 3, 1_000), ("tea", 1, 1_800)])]);
}

#[test]
fn an_empty_cart_is_not_checked_out() {
    past([created()]).when(check_out()).then_rejected("cart-empty");
    past([created(), added("tea", 2, 1_800), removed("tea")]).when(check_out()).then_rejected("cart-empty");
}

#[test]
fn a_malformed_checkout_is_rejected() {
    let past = || past([created(), added("tea", 2, 1_800)]);
    past().when(CheckOutCart { order_id: "\0".into(), ..check_out() }).then_rejected("id-invalid");
    past().when(CheckOutCart { checked_out_at: i64::MAX, ..check_out() }).then_rejected("time-invalid");
}

#[test]
fn an_abandoned_or_checked_out_cart_takes_no_more_changes() {
    for command in changes() {
        let filled = || [created(), added("tea", 2, 1_800)].into_iter();
        past(filled().chain([abandoned()])).when(command.clone()).then_rejected("cart-abandoned");
        let checked_out = checked_out(&[("tea", 2, 1_800)]);
        past(filled().chain([checked_out])).when(command.clone()).then_rejected("cart-checked-out");
    }
}

#[test]
fn a_checked_out_cart_whose_order_was_refused_is_opened_again_with_what_was_in_it() {
    let lines = [("tea", 2, 1_800)];
    let past = || [created(), added("tea", 2, 1_800), checked_out(&lines)].into_iter();
    given::<Carts>(past()).when(reopen()).then([reopened()]);
    given::<Carts>(past().chain([reopened()])).when(check_out()).then([checked_out(&lines)]);
    let silent = ReopenCart { reason: String::new(), ..reopen() };
    given::<Carts>(past()).when(silent).then_rejected("reason-invalid");
}

#[test]
fn only_a_checked_out_cart_is_reopened() {
    past([created()]).when(reopen()).then_rejected("cart-not-checked-out");
    past([created(), abandoned()]).when(reopen()).then_rejected("cart-not-checked-out");
}

#[test]
fn a_cart_that_was_never_created_cannot_change() {
    for command in changes() {
        past([]).when(command).then_rejected("cart-unknown");
    }
    past([]).when(reopen()).then_rejected("cart-unknown");
}

#[test]
fn what_cannot_have_happened_changes_nothing() {
    let state = |events: &[Event]| events.iter().fold(None, Carts::evolve);
    assert_eq!(state(&[added("tea", 1, 1)]), None);
    for (past, impossible) in [
        (vec![created(), added("tea", 1, 1)], added("tea", 2, 2)),
        (vec![created()], changed("tea", 2)),
        (vec![created()], removed("tea")),
        (vec![created()], reopened()),
        (vec![created(), abandoned()], added("tea", 1, 1)),
        (vec![created(), abandoned()], reopened()),
        (vec![created()], created()),
    ] {
        assert_eq!(state(&[past.clone(), vec![impossible]].concat()), state(&past));
    }
}

/// Mostly valid ones, so that most sequences make progress.
fn any_command() -> impl Strategy<Value = Command> {
    let product = prop::sample::select(vec!["tea", "jam", "gold", "water", "wine", "absinthe", "\0"]);
    let quantity = prop_oneof![20 => 1..20_i64, 1 => any::<i64>()];
    let text = prop_oneof![20 => Just("fine".to_owned()), 1 => any::<String>()];
    (0..24, product, quantity, text).prop_map(|(kind, product, quantity, text)| match kind {
        0 => create().into(),
        1 => AbandonCart { reason: text, ..abandon() }.into(),
        2..=4 => remove(product).into(),
        5..=9 => change(product, quantity).into(),
        10..=12 => CheckOutCart { order_id: text, ..check_out() }.into(),
        13..=15 => ReopenCart { reason: text, ..reopen() }.into(),
        _ => add(product, quantity).into(),
    })
}

proptest! {
    #[test]
    fn no_sequence_of_commands_panics_or_makes_an_order_that_breaks_the_orders_rules(
        commands in prop::collection::vec(any_command(), 0..60),
    ) {
        for event in past([created()]).after(commands).accepted() {
            let Event::CartCheckedOut(CartCheckedOut { lines, total, .. }) = event else { continue };
            prop_assert!(!lines.is_empty() && *total <= TOTAL_MAX);
            prop_assert!(lines.iter().all(|line| (1..=QUANTITY_MAX).contains(&line.quantity)));
            prop_assert!(lines.is_sorted_by(|left, right| left.product_id < right.product_id));
            let sum: i64 = lines.iter().map(|line| line.quantity * line.unit_price).sum();
            prop_assert_eq!(sum, *total);
        }
    }
}
