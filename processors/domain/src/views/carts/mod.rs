//! Carts: what customers are about to order.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::carts::{
    CartCheckedOut, CartCreated, CartItemAdded, CartQuantityChanged, Event as Carts,
};
use serde::{Deserialize, Serialize};

use super::time;
use crate::{Recorded, View};

/// The view of carts.
#[derive(Debug)]
pub struct CartView;

/// Where a cart stands, as readers see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CartStatus {
    /// It takes changes.
    #[default]
    Open,
    /// It became an order.
    CheckedOut,
    /// It was given up.
    Abandoned,
}

/// One cart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartRow {
    /// The cart.
    pub cart_id: String,
    /// The customer who owns it.
    pub customer_id: String,
    /// ISO 4217 code.
    pub currency: String,
    /// Its status.
    pub status: CartStatus,
    /// Sum of the line amounts in minor units.
    pub total: i64,
    /// Whether one of its lines was short of stock.
    pub short: bool,
    /// The order that it became, until that was refused.
    pub order_id: Option<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was checked out.
    pub checked_out_at: Option<DateTime<Utc>>,
    /// What is in it, in the order in which it was added.
    pub lines: Vec<CartRowLine>,
}

/// One product of a cart, as it was when it was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartRowLine {
    /// The product.
    pub product_id: String,
    /// Its name at that time.
    pub product_name: String,
    /// Units.
    pub quantity: i64,
    /// Price of one unit in minor units.
    pub unit_price: i64,
    /// What the line costs in minor units.
    pub amount: i64,
    /// Whether fewer units could be reserved when it was added or its quantity last changed.
    pub short: bool,
}

impl View for CartView {
    const NAME: &'static str = "carts";
    const CONTEXTS: &'static [&'static str] = &["carts"];
    const KEY: &'static str = "cart_id";
    const SHARED: bool = false;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = None;
    const FOLD: u32 = 2;
    const CHANGED: &'static [&'static str] = &["lines"];
    type Row = CartRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        match &recorded.event {
            Event::Carts(_) => vec![recorded.stream.clone()],
            _ => Vec::new(),
        }
    }

    fn evolve(row: CartRow, key: &str, recorded: &Recorded) -> CartRow {
        let row = CartRow { cart_id: key.to_owned(), ..row };
        match &recorded.event {
            Event::Carts(event) => row.after(event, recorded.occurred_at).summed(),
            _ => row,
        }
    }
}

impl CartRow {
    fn after(self, event: &Carts, occurred_at: DateTime<Utc>) -> Self {
        match event {
            Carts::CartCreated(event) => self.created(event.clone(), occurred_at),
            Carts::CartItemAdded(event) => self.with(event.clone()),
            Carts::CartItemRemoved(event) => self.without(&event.product_id),
            Carts::CartQuantityChanged(event) => self.with_quantity(event),
            Carts::CartAbandoned(_) => Self { status: CartStatus::Abandoned, ..self },
            Carts::CartCheckedOut(event) => self.checked_out(event),
            Carts::CartReopened(_) => {
                Self { status: CartStatus::Open, order_id: None, checked_out_at: None, ..self }
            }
        }
    }

    fn created(self, event: CartCreated, created_at: DateTime<Utc>) -> Self {
        let CartCreated { cart_id: _, customer_id, currency } = event;
        Self { customer_id, currency, created_at, ..self }
    }

    fn with(mut self, event: CartItemAdded) -> Self {
        let CartItemAdded { cart_id: _, product_id, product_name, quantity, unit_price, available } = event;
        let (amount, short) = (quantity.wrapping_mul(unit_price), is_short(quantity, available));
        self.lines.push(CartRowLine { product_id, product_name, quantity, unit_price, amount, short });
        self
    }

    fn without(mut self, product_id: &str) -> Self {
        self.lines.retain(|line| line.product_id != product_id);
        self
    }

    fn with_quantity(mut self, event: &CartQuantityChanged) -> Self {
        let line = self.lines.iter_mut().find(|line| line.product_id == event.product_id);
        line.into_iter().for_each(|line| {
            line.quantity = event.quantity;
            line.amount = event.quantity.wrapping_mul(line.unit_price);
            line.short = is_short(event.quantity, event.available);
        });
        self
    }

    fn checked_out(self, event: &CartCheckedOut) -> Self {
        let (order_id, checked_out_at) = (Some(event.order_id.clone()), Some(time(event.checked_out_at)));
        Self { status: CartStatus::CheckedOut, order_id, checked_out_at, ..self }
    }

    /// The context bounds amounts and their sum; wrapping only keeps this total.
    fn summed(self) -> Self {
        let total = self.lines.iter().fold(0_i64, |sum, line| sum.wrapping_add(line.amount));
        let short = self.lines.iter().any(|line| line.short);
        Self { total, short, ..self }
    }
}

/// Not where the event does not say what was available.
fn is_short(quantity: i64, available: Option<i64>) -> bool {
    available.is_some_and(|available| available < quantity)
}

#[cfg(test)]
mod tests {
    use millrace_schemas::carts::{CartAbandoned, CartItemRemoved, CartReopened};

    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, fold_view, happened};

    const JULY_4_1996: i64 = 836_438_400_000_000;

    fn cart(event: impl Into<Carts>) -> Event {
        Event::Carts(event.into())
    }

    fn created(cart_id: &str) -> Event {
        let [cart_id, customer_id, currency] = [cart_id, "VINET", "USD"].map(str::to_owned);
        cart(CartCreated { cart_id, customer_id, currency })
    }

    fn added(product_id: &str, quantity: i64, unit_price: i64) -> Event {
        let [cart_id, product_id] = ["c", product_id].map(str::to_owned);
        let product_name = format!("Product {product_id}");
        let available = Some(3);
        cart(CartItemAdded { cart_id, product_id, product_name, quantity, unit_price, available })
    }

    fn removed(product_id: &str) -> Event {
        cart(CartItemRemoved { cart_id: "c".into(), product_id: product_id.into() })
    }

    fn quantity_changed(product_id: &str, quantity: i64) -> Event {
        let available = Some(3);
        cart(CartQuantityChanged { cart_id: "c".into(), product_id: product_id.into(), quantity, available })
    }

    fn checked_out() -> Event {
        let [cart_id, order_id, customer_id, currency] = ["c", "o", "VINET", "USD"].map(str::to_owned);
        let (lines, total, checked_out_at) = (Vec::new(), 0, JULY_4_1996);
        cart(CartCheckedOut { cart_id, order_id, customer_id, currency, lines, total, checked_out_at })
    }

    fn reopened() -> Event {
        cart(CartReopened { cart_id: "c".into(), reason: "no stock".into() })
    }

    fn abandoned(cart_id: &str) -> Event {
        cart(CartAbandoned {
            cart_id: cart_id.into(),
            reason: "forgotten".into(),
            customer_id: "VINET".into(),
        })
    }

    fn filled() -> Vec<Event> {
        vec![created("c"), added("2", 3, 100), added("1", 1, 250)]
    }

    fn row_after(events: &[Event]) -> CartRow {
        fold_view::<CartView>(events).remove("c").expect("the cart")
    }

    fn quantities(row: &CartRow) -> Vec<(&str, i64)> {
        row.lines.iter().map(|line| (line.product_id.as_str(), line.quantity)).collect()
    }

    #[test]
    fn a_cart_shows_its_products_in_the_order_in_which_they_were_added() {
        let row = row_after(&filled());
        assert_eq!(quantities(&row), [("2", 3), ("1", 1)]);
        assert_eq!((row.lines[0].product_name.as_str(), row.lines[0].amount), ("Product 2", 300));
        assert_eq!((row.status, row.total, row.created_at), (CartStatus::Open, 550, happened(1)));
    }

    #[test]
    fn the_total_follows_what_is_changed_and_removed() {
        let events = [filled(), vec![quantity_changed("2", 5), removed("1")]].concat();
        let row = row_after(&events);
        assert_eq!((quantities(&row), row.total), (vec![("2", 5)], 500));
    }

    #[test]
    fn a_product_that_is_added_again_comes_last_at_its_new_price() {
        let row = row_after(&[filled(), vec![removed("2"), added("2", 1, 90)]].concat());
        assert_eq!((quantities(&row), row.total), (vec![("1", 1), ("2", 1)], 340));
    }

    #[test]
    fn a_cart_that_is_checked_out_names_its_order() {
        let row = row_after(&[filled(), vec![checked_out()]].concat());
        assert_eq!((row.status, row.order_id.as_deref()), (CartStatus::CheckedOut, Some("o")));
        assert_eq!((row.checked_out_at, row.total), (Some(time(JULY_4_1996)), 550));
    }

    #[test]
    fn a_cart_whose_order_was_refused_is_open_again() {
        let row = row_after(&[filled(), vec![checked_out(), reopened()]].concat());
        assert_eq!(row, row_after(&filled()));
    }

    #[test]
    fn a_cart_is_short_while_it_wants_more_than_could_be_reserved() {
        let short = |events: &[Event]| {
            let row = row_after(&[filled(), events.to_vec()].concat());
            (row.short, row.lines.iter().map(|line| line.short).collect::<Vec<_>>())
        };
        assert_eq!(short(&[]), (false, vec![false, false]));
        assert_eq!(short(&[quantity_changed("2", 4)]), (true, vec![true, false]));
        assert_eq!(short(&[quantity_changed("2", 4), quantity_changed("2", 3)]), (false, vec![false, false]));
        assert_eq!(short(&[added("3", 4, 1), removed("3")]), (false, vec![false, false]));
        assert!(!is_short(4, None), "records of version 1 do not say it");
    }

    #[test]
    fn carts_do_not_touch_each_other() {
        let rows = assert_same_rows_in_any_order::<CartView>(&[filled(), vec![created("d"), abandoned("d")]]);
        let found: Vec<(CartStatus, i64)> = rows.values().map(|row| (row.status, row.total)).collect();
        assert_eq!(found, [(CartStatus::Open, 550), (CartStatus::Abandoned, 0)]);
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        assert_survives_storage(&row_after(&[filled(), vec![checked_out()]].concat()));
    }
}
