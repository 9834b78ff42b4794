//! Checks of results: a run counts only if its result is correct.

use anyhow::{Result, ensure};
use sqlx::{AssertSqlSafe, PgConnection};

use super::{read_side, streams_of};
use crate::cli::View;
use crate::instance::Instance;
use crate::load::sale::{self, Demand, Sums};
use crate::load::{customers, orders};
use crate::stack::database;

const COMMANDS: &str = "SELECT ARRAY[
    (SELECT count(*) FROM command WHERE status = 'completed'), (SELECT count(*) FROM command),
    (SELECT count(*) FROM outbox WHERE version IS NOT NULL), (SELECT count(*) FROM stream WHERE version = 4),
    (SELECT count(*) FROM dead_letter)]";
const CUSTOMERS: &str =
    "SELECT ARRAY[count(*), sum(version)::bigint, count(*) FILTER (WHERE phone LIKE '%4')] FROM customers";
const ORDERS: &str =
    "SELECT ARRAY[count(*), sum(version)::bigint, count(*) FILTER (WHERE status = 'shipped'),
    sum(total)::bigint] FROM orders";
const SALES: &str =
    "SELECT ARRAY[sum(lines)::bigint, sum(units)::bigint, sum(revenue)::bigint] FROM sales_daily";
/// The last figure, as of the two below: how many lines the product has that has most.
const PLACED: &str = "WITH line AS (
        SELECT line ->> 'product_id' AS product,
               (line ->> 'quantity')::bigint AS units, (line ->> 'amount')::bigint AS amount
        FROM stream, json_array_elements(state -> 'lines') AS line WHERE context = 'orders' AND version = 1)
    SELECT ARRAY[
        (SELECT count(*) FROM command WHERE context = 'orders' AND status = 'completed'),
        (SELECT count(*) FROM command WHERE status <> 'completed'), (SELECT count(*) FROM parked),
        (SELECT count(*) FROM outbox WHERE aggregatetype = 'orders' AND version IS NOT NULL),
        (SELECT sum(units)::bigint FROM line), (SELECT sum(amount)::bigint FROM line),
        (SELECT count(DISTINCT product) FROM line),
        (SELECT max(lines) FROM (SELECT count(*) AS lines FROM line GROUP BY product) AS by_product)]";
/// The first event of each product's stock is what was received before.
const RESERVED: &str = "WITH line AS (
        SELECT id AS product, (reservation.value)::bigint AS units
        FROM stream, json_each_text(state -> 'reservations') AS reservation WHERE context = 'inventory')
    SELECT ARRAY[
        (SELECT count(*) FROM command WHERE type = 'millrace.inventory.ReserveStock' AND status = 'completed'),
        (SELECT count(*) FROM command WHERE status <> 'completed'), (SELECT count(*) FROM parked),
        (SELECT count(*) FROM outbox WHERE aggregatetype = 'inventory' AND version > 1),
        (SELECT sum(version - 1)::bigint FROM stream WHERE context = 'inventory'),
        (SELECT sum(units)::bigint FROM line), (SELECT count(DISTINCT product) FROM line),
        (SELECT max(lines) FROM (SELECT count(*) AS lines FROM line GROUP BY product) AS by_product)]";
const SOLD: &str =
    "SELECT ARRAY[sum(lines)::bigint, sum(units)::bigint, sum(revenue)::bigint, count(*), max(lines)]
    FROM revenue_daily";
const WAITING: &str = "SELECT ARRAY[(SELECT count(*) FROM parked), (SELECT count(*) FROM blocked_key)]";
const LEFT_OVER: &str = "SELECT ARRAY[(SELECT count(*) FROM parked), (SELECT count(*) FROM dead_letter)]";

/// The expected rows of a view.
pub(crate) struct Expected {
    pub(crate) streams: u64,
    pub(crate) events: u64,
    sql: &'static str,
    figures: Vec<i64>,
}

impl Expected {
    /// After this many events, rounded down to whole streams.
    pub(crate) fn of(view: View, records: u64) -> Self {
        let streams = streams_of(view, records);
        let rows = signed(streams);
        let sums = orders::sums(if view == View::Customers { 0 } else { streams });
        let (versions, sql, figures) = match view {
            View::Customers => {
                (customers::VERSIONS, CUSTOMERS, vec![rows, rows * signed(customers::VERSIONS), rows])
            }
            View::Orders => {
                (orders::VERSIONS, ORDERS, vec![rows, rows * signed(orders::VERSIONS), rows, sums.revenue])
            }
            View::SalesDaily => (orders::VERSIONS, SALES, vec![sums.lines, sums.units, sums.revenue]),
        };
        Self { streams, events: streams * versions, sql, figures }
    }

    /// Compares with the tables.
    pub(crate) async fn check(&self, instance: &Instance) -> Result<()> {
        let mut connection = read_side(instance).await?;
        compare(&mut connection, instance, self.sql, &self.figures).await?;
        compare(&mut connection, instance, LEFT_OVER, &[0, 0]).await
    }
}

/// Every customer but the refused ones is a row, and all events of those wait behind the one that was refused.
pub(crate) async fn refused(instance: &Instance, streams: u64, refused: u64) -> Result<()> {
    let mut connection = read_side(instance).await?;
    let (rows, versions) = (signed(streams - refused), signed(customers::VERSIONS));
    compare(&mut connection, instance, CUSTOMERS, &[rows, rows * versions, rows]).await?;
    compare(&mut connection, instance, WAITING, &[signed(refused) * versions, signed(refused)]).await
}

/// Every command has its receipt and its event, every customer four versions, and nothing died.
pub(crate) async fn commands(instance: &Instance, streams: u64) -> Result<()> {
    let mut connection = database(instance.stack.write_database_url()).await?;
    let commands = signed(streams * customers::VERSIONS);
    compare(&mut connection, instance, COMMANDS, &[commands, commands, commands, signed(streams), 0]).await
}

/// Every order of a sale has its receipt, its event and its lines.
pub(crate) async fn placed(instance: &Instance, demand: Demand, orders: u64) -> Result<()> {
    let mut connection = database(instance.stack.write_database_url()).await?;
    let (Sums { units, revenue, products, most }, orders) = (demand.sums(orders), signed(orders));
    let expected = [orders, 0, 0, orders, units, revenue, products, most];
    compare(&mut connection, instance, PLACED, &expected).await
}

/// Every order of a sale has its receipt, and an event and a reservation for each of its lines.
pub(crate) async fn reserved(instance: &Instance, demand: Demand, orders: u64) -> Result<()> {
    let mut connection = database(instance.stack.write_database_url()).await?;
    let (Sums { units, products, most, .. }, lines) = (demand.sums(orders), signed(orders * sale::LINES));
    let expected = [signed(orders), 0, 0, lines, lines, units, products, most];
    compare(&mut connection, instance, RESERVED, &expected).await
}

/// Every line of a sale counts once, for its product.
pub(crate) async fn sold(instance: &Instance, demand: Demand, orders: u64) -> Result<()> {
    let mut connection = read_side(instance).await?;
    let (Sums { units, revenue, products, most }, lines) =
        (demand.sums(orders), signed(orders * sale::LINES));
    compare(&mut connection, instance, SOLD, &[lines, units, revenue, products, most]).await?;
    compare(&mut connection, instance, LEFT_OVER, &[0, 0]).await
}

/// Compares what a question finds in this instance.
pub(crate) async fn compare(
    connection: &mut PgConnection,
    instance: &Instance,
    sql: &'static str,
    expected: &[i64],
) -> Result<()> {
    let path = format!("SET search_path TO \"{}\"", instance.name);
    sqlx::raw_sql(AssertSqlSafe(path)).execute(&mut *connection).await?;
    let found: Vec<Option<i64>> = sqlx::query_scalar(sql).fetch_one(connection).await?;
    let same = found.iter().copied().eq(expected.iter().copied().map(Some));
    ensure!(same, "the result is wrong: {found:?} instead of {expected:?} for {sql}");
    Ok(())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
