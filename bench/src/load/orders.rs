//! Orders of one to three lines: placed, confirmed, shipped. Three events each.

use millrace_schemas::orders::{
    Event, OrderConfirmed, OrderConfirmedLine, OrderPlaced, OrderPlacedLine, OrderShipped,
};

use super::{Step, id, time};

/// Events of each stream.
pub(crate) const VERSIONS: u64 = 3;

const CATEGORIES: u64 = 8;
const DAYS: i64 = 365;
const DAY_MICROSECONDS: i64 = 86_400_000_000;
const PRICES: u64 = 5_000;

/// The sums over all orders.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) lines: i64,
    pub(crate) units: i64,
    pub(crate) revenue: i64,
}

/// The event of a version.
pub(crate) fn event(step: Step) -> Event {
    let (order_id, customer_id) = (order(step), id("customer", step.stream % 1_000).to_string());
    match step.version {
        1 => placed(step).into(),
        2 => confirmed(step).into(),
        _ => {
            let (shipped_at, carrier, tracking_number) = (time(step).1, None, None);
            OrderShipped { order_id, customer_id, shipped_at, carrier, tracking_number }.into()
        }
    }
}

/// The sums over the first `orders` orders.
pub(crate) fn sums(orders: u64) -> Sums {
    let mut sums = Sums::default();
    for line in (0..orders).flat_map(lines) {
        sums.lines += 1;
        sums.units += line.quantity;
        sums.revenue += line.amount;
    }
    sums
}

fn order(step: Step) -> String {
    id("order", step.stream).to_string()
}

fn placed(step: Step) -> OrderPlaced {
    let lines: Vec<OrderPlacedLine> = lines(step.stream).collect();
    OrderPlaced {
        order_id: order(step),
        customer_id: id("customer", step.stream % 1_000).to_string(),
        customer_name: format!("Customer number {}", step.stream % 1_000),
        customer_country: Some("Germany".to_owned()),
        currency: "EUR".to_owned(),
        placed_at: signed(step.stream) % DAYS * DAY_MICROSECONDS,
        total: lines.iter().map(|line| line.amount).sum(),
        lines,
        ship_to: None,
    }
}

fn confirmed(step: Step) -> OrderConfirmed {
    let OrderPlaced { order_id, customer_id, customer_country, currency, placed_at, lines, total, .. } =
        placed(step);
    let line = |line: OrderPlacedLine| {
        let OrderPlacedLine { product_id, category, quantity, amount, .. } = line;
        OrderConfirmedLine { product_id, category, quantity, amount }
    };
    let lines = lines.into_iter().map(line).collect();
    let country = customer_country.unwrap_or_default();
    OrderConfirmed { order_id, customer_id, currency, placed_at, lines, total, country }
}

fn lines(order: u64) -> impl Iterator<Item = OrderPlacedLine> {
    (0..=order % 3).map(move |place| {
        let number = order * 7 + place;
        let (quantity, unit_price) = (signed(1 + number % 9), signed(100 + number * 31 % PRICES));
        OrderPlacedLine {
            product_id: id("product", number % 500).to_string(),
            product_name: format!("Product number {}", number % 500),
            category: format!("Category {}", number % CATEGORIES),
            quantity,
            unit_price,
            discount_bp: 0,
            amount: quantity * unit_price,
        }
    })
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_the_placed_orders() {
        let placed: Vec<OrderPlaced> = (0..10).map(|stream| placed(Step { stream, version: 1 })).collect();
        let lines = || placed.iter().flat_map(|order| &order.lines);
        let units = lines().map(|line| line.quantity).sum();
        let revenue = placed.iter().map(|order| order.total).sum();
        assert_eq!(sums(10), Sums { lines: signed(lines().count() as u64), units, revenue });
    }
}
