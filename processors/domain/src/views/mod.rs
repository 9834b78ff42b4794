//! The read models, each in its own folder: row and fold (`mod.rs`), table (`table.sql`), SQL views (`view.sql`), the
//! auditor's check (`check.sql`) and, when it is published, its Elasticsearch mapping (`mapping.json`).

/// The sum of two amounts of a tally, field by field; `None` on overflow.
macro_rules! sum {
    ($amounts:ident { $($field:ident),* }, $left:expr, $right:expr) => {
        Some($amounts { $($field: $left.$field.checked_add($right.$field)?),* })
    };
}

pub mod account_analytics;
pub mod account_balances;
mod account_entries;
pub mod account_statement;
pub mod campaign_stats;
pub mod carts;
pub mod customer_360;
pub mod customer_history;
pub mod customer_purchases;
pub mod customer_revenue_daily;
pub mod customers;
pub mod deliveries;
pub mod events;
pub mod ledger_balances;
pub mod orders;
mod part;
pub mod payments;
pub mod products;
pub mod revenue_daily;
pub mod sales_daily;
pub mod segments;
pub mod sold;
pub mod sold_lines;
pub mod stock_movements_daily;
pub mod stock_reservations;
pub mod subscriptions;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};

/// A time of the contract. The contexts keep times within the years 1900 to 2200, so none is out of range.
fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}
