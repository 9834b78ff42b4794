//! Orders of a sale, all on one day: three lines each of a thousand products, or one of them of one popular product.

use std::collections::HashMap;

use millrace_schemas::catalog::{self, AddProduct};
use millrace_schemas::inventory::{self, ReceiveStock, ReserveStock, ReserveStockLine};
use millrace_schemas::orders::{
    self, OrderConfirmed, OrderConfirmedLine, OrderPlaced, OrderPlacedLine, PlaceOrder, PlaceOrderLine,
};

use super::{Step, id, time};

/// Events of each order: placed and confirmed.
pub(crate) const VERSIONS: u64 = 2;
/// Lines of each order.
pub(crate) const LINES: u64 = 3;
/// The number of customers.
pub(crate) const CUSTOMERS: u64 = 1_000;
/// Products, the hot one too, which is the last.
pub(crate) const PRODUCTS: u64 = HOT + 1;
/// Units of each product before the sale, more than all orders together want.
pub(crate) const STOCK: i64 = 1_000_000_000;

const HOT: u64 = 1_000;
const PRICES: u64 = 5_000;
const CATEGORIES: u64 = 8;

/// The demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Each order has other products than the orders around it.
    Spread,
    /// Each order has one line of the same product.
    Hot,
}

/// An order of the sale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) number: u64,
    pub(crate) demand: Demand,
}

/// The sums over all orders.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) units: i64,
    pub(crate) revenue: i64,
    /// Products of which there is a line.
    pub(crate) products: i64,
    /// Lines of the product that has most of them.
    pub(crate) most: i64,
}

impl Demand {
    /// The name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Demand::Spread => "spread",
            Demand::Hot => "hot",
        }
    }

    /// The first orders of the sale.
    pub(crate) fn orders(self, orders: u64) -> impl Iterator<Item = Order> {
        (0..orders).map(move |number| Order { number, demand: self })
    }

    /// The sums over the first orders.
    pub(crate) fn sums(self, orders: u64) -> Sums {
        let (mut sums, mut products) = (Sums::default(), HashMap::<String, i64>::new());
        for line in self.orders(orders).flat_map(Order::lines) {
            sums.units += line.quantity;
            sums.revenue += line.amount;
            *products.entry(line.product_id).or_default() += 1;
        }
        let most = products.values().copied().max().unwrap_or(0);
        Sums { products: signed(products.len() as u64), most, ..sums }
    }
}

/// Offers a product.
pub(crate) fn add(number: u64) -> catalog::Command {
    let (product_id, currency) = (product(number), "EUR".to_owned());
    let (name, category) = (product_name(number), category(number));
    AddProduct { product_id, name, category, price: 100, currency }.into()
}

/// Fills the warehouse with a product.
pub(crate) fn receive(number: u64) -> inventory::Command {
    ReceiveStock { product_id: product(number), quantity: STOCK }.into()
}

impl Order {
    /// The command that places it.
    pub(crate) fn place(self) -> orders::Command {
        let OrderPlaced { order_id, customer_id, currency, placed_at, lines, total, .. } = self.placed();
        let line = |line: OrderPlacedLine| {
            let OrderPlacedLine { product_id, quantity, unit_price, discount_bp, .. } = line;
            PlaceOrderLine { product_id, quantity, unit_price, discount_bp }
        };
        let lines = lines.into_iter().map(line).collect();
        PlaceOrder { order_id, customer_id, currency, placed_at, lines, total, ship_to: None }.into()
    }

    /// The command that reserves what it wants.
    pub(crate) fn reserve(self) -> inventory::Command {
        let OrderPlaced { order_id: reservation_id, lines, .. } = self.placed();
        let line = |OrderPlacedLine { product_id, quantity, .. }| ReserveStockLine { product_id, quantity };
        ReserveStock { reservation_id, lines: lines.into_iter().map(line).collect() }.into()
    }

    /// The event of a version.
    pub(crate) fn event(self, version: u64) -> orders::Event {
        if version == 1 { self.placed().into() } else { self.confirmed().into() }
    }

    fn placed(self) -> OrderPlaced {
        let customer = self.number % CUSTOMERS;
        let lines: Vec<OrderPlacedLine> = self.lines().collect();
        OrderPlaced {
            order_id: id("order", self.number).to_string(),
            customer_id: id("customer", customer).to_string(),
            customer_name: format!("Customer number {customer}"),
            customer_country: Some("Germany".to_owned()),
            currency: "EUR".to_owned(),
            placed_at: time(Step { stream: self.number, version: 1 }).1,
            total: lines.iter().map(|line| line.amount).sum(),
            lines,
            ship_to: None,
        }
    }

    fn confirmed(self) -> OrderConfirmed {
        let OrderPlaced {
            order_id, customer_id, customer_country, currency, placed_at, lines, total, ..
        } = self.placed();
        let line = |line: OrderPlacedLine| {
            let OrderPlacedLine { product_id, category, quantity, amount, .. } = line;
            OrderConfirmedLine { product_id, category, quantity, amount }
        };
        let (lines, country) = (lines.into_iter().map(line).collect(), customer_country.unwrap_or_default());
        OrderConfirmed { order_id, customer_id, currency, placed_at, lines, total, country }
    }

    fn lines(self) -> impl Iterator<Item = OrderPlacedLine> {
        (0..LINES).map(move |place| self.line(place))
    }

    /// Quantity and price are the same whatever the product is, so that both demands add up to the same.
    fn line(self, place: u64) -> OrderPlacedLine {
        let (number, line) = (self.product(place), self.number * LINES + place);
        let (quantity, unit_price) = (signed(1 + line % 4), signed(100 + line * 31 % PRICES));
        OrderPlacedLine {
            product_id: product(number),
            product_name: product_name(number),
            category: category(number),
            quantity,
            unit_price,
            discount_bp: 0,
            amount: quantity * unit_price,
        }
    }

    /// The number of a line's product.
    fn product(self, place: u64) -> u64 {
        match (self.demand, place) {
            (Demand::Hot, 0) => HOT,
            _ => (self.number * LINES + place) % HOT,
        }
    }
}

fn product(number: u64) -> String {
    id("product", number).to_string()
}

fn product_name(number: u64) -> String {
    format!("Product number {number}")
}

fn category(number: u64) -> String {
    format!("Category {}", number % CATEGORIES)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn products(demand: Demand, number: u64) -> Vec<u64> {
        let order = Order { number, demand };
        (0..LINES).map(|place| order.product(place)).collect()
    }

    #[test]
    fn a_hot_product_takes_the_first_line_of_every_order_and_leaves_the_others() {
        assert_eq!(products(Demand::Spread, 333), [999, 0, 1]);
        assert_eq!(products(Demand::Hot, 333), [HOT, 0, 1]);
    }

    #[test]
    fn both_demands_add_up_to_the_same() {
        let (spread, hot) = (Demand::Spread.sums(4_000), Demand::Hot.sums(4_000));
        assert_eq!((spread.units, spread.revenue), (hot.units, hot.revenue));
        assert_eq!((spread.products, spread.most), (1_000, 12));
        assert_eq!((hot.products, hot.most), (1_001, 4_000));
    }

    #[test]
    fn the_sums_are_those_of_the_placed_orders() {
        let placed: Vec<OrderPlaced> = Demand::Hot.orders(10).map(Order::placed).collect();
        let units = placed.iter().flat_map(|order| &order.lines).map(|line| line.quantity).sum();
        let revenue = placed.iter().map(|order| order.total).sum();
        let sums = Demand::Hot.sums(10);
        assert_eq!((sums.units, sums.revenue), (units, revenue));
    }
}
