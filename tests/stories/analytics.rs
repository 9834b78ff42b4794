//! Analytics: sums of events agree with orders and stock.

use millrace_tests::load::{Load, command, customer, product};
use millrace_tests::{Instance, becomes};
use serde_json::json;

use crate::{beside_others, instance};

const SMALL: Load = Load { customers: 6, products: 8, orders: 60 };

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_look_at_revenue_adds_up_to_the_orders_that_were_confirmed() {
    let _turn = beside_others().await;
    let instance = instance("analytics").await;
    let _process = instance.start();
    works_off_the_load(&instance).await;
    let expected = sums(
        &instance,
        "SELECT currency, sum(total)::bigint FROM orders WHERE status IN ('confirmed', 'shipped')",
    )
    .await;
    assert_eq!(expected.len(), 2, "two currencies");
    for view in ["sales_daily", "revenue_daily", "customer_revenue_daily"] {
        assert_eq!(revenue(&instance, view).await, expected, "{view}");
    }
    for view in ["revenue_by_month", "revenue_by_country", "revenue_by_product", "top_customers"] {
        assert_eq!(revenue(&instance, view).await, expected, "{view}");
    }
    shares_are_parts_of_a_whole(&instance).await;
    the_longest_id_has_documents_too(&instance).await;
    the_best_customer_comes_first(&instance).await;
}

async fn works_off_the_load(instance: &Instance) {
    instance.send(&SMALL.basics()).await;
    instance.settle().await;
    instance.send(&SMALL.slices(1).concat()).await;
    instance.settle().await;
}

async fn revenue(instance: &Instance, view: &str) -> Vec<(String, i64)> {
    sums(instance, &format!("SELECT currency, sum(revenue)::bigint FROM {view}")).await
}

/// An amount for each currency.
async fn sums(instance: &Instance, select: &str) -> Vec<(String, i64)> {
    let sql = format!("{select} GROUP BY currency ORDER BY currency");
    sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&instance.read).await.expect("sums")
}

async fn shares_are_parts_of_a_whole(instance: &Instance) {
    for (view, whole) in [
        ("revenue_by_month", "month, currency"),
        ("revenue_by_country", "year, currency"),
        ("top_customers", "currency"),
    ] {
        // Each is rounded to four decimals.
        let sql = format!("SELECT abs(sum(share) - 1) <= 0.00005 * count(*) FROM {view} GROUP BY {whole}");
        let whole = sqlx::query_scalar::<_, bool>(sqlx::AssertSqlSafe(sql)).fetch_all(&instance.read).await;
        let whole = whole.expect("shares");
        assert!(!whole.is_empty() && whole.iter().all(|whole| *whole), "{view}: {whole:?}");
    }
}

/// The id of an order has as many bytes as that of a document; those of its lines have a place besides.
async fn the_longest_id_has_documents_too(instance: &Instance) {
    let order_id = "\u{1F375}".repeat(128);
    let line = |number: usize| json!({"product_id": product(number), "quantity": 2, "unit_price": 50, "discount_bp": 0});
    let place = json!({
        "order_id": order_id, "customer_id": customer(0), "placed_at": "2026-01-01T00:00:00Z", "currency": "USD",
        "lines": [line(0), line(1)], "total": 200,
    });
    let confirm = json!({"order_id": order_id});
    let commands = [command("PlaceOrder", 900, place), command("ConfirmOrder", 900, confirm)];
    instance.send_and_wait(&commands).await.expect_success();
    instance.settle().await;
    let lines = "SELECT count(*) FROM sold_lines WHERE octet_length(order_id) = 512";
    becomes(&instance.read, lines, 2).await;
    becomes(&instance.read, "SELECT count(*) FROM dead_letter", 0).await;
    instance.assert_both_read_models_agree().await;
    instance.millrace(&["verify"]).await.expect_success();
}

async fn the_best_customer_comes_first(instance: &Instance) {
    let best = "SELECT count(*) FROM top_customers AS t WHERE (rank = 1) <> (revenue = (
                    SELECT max(revenue) FROM top_customers AS other WHERE other.currency = t.currency))";
    let wrong = sqlx::query_scalar::<_, i64>(best).fetch_one(&instance.read).await.expect("ranks");
    assert_eq!(wrong, 0, "only the best are first");
    becomes(&instance.read, "SELECT count(*) FROM top_customers WHERE customer_name IS NULL", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_turns_over_by_what_was_shipped_of_what_was_there() {
    let _turn = beside_others().await;
    let instance = instance("turnover").await;
    let _process = instance.start();
    instance.send(&SMALL.basics()).await;
    instance.settle().await;
    instance.send(&shipped_today(300_000)).await;
    instance.settle().await;
    let turnover = "SELECT days, shipped, average_on_hand::float8, turnover::float8 FROM stock_turnover
                    WHERE product_id = $1 ORDER BY days";
    let turnover = sqlx::query_as::<_, (i32, i64, f64, f64)>(turnover).bind(product(0));
    let turnover = turnover.fetch_all(&instance.read).await.expect("a turnover");
    assert_eq!(turnover.iter().map(|row| row.0).collect::<Vec<_>>(), [30, 90, 365]);
    for (days, shipped, average, turnover) in turnover {
        assert_eq!(shipped, 300_000);
        // A million was there all the time; less the units that left today, or yesterday when midnight has passed.
        let gone = (1_000_000.0 - average) * f64::from(days) / 300_000.0;
        assert!((gone - 1.0).abs() < 1e-4 || (gone - 2.0).abs() < 1e-4, "{average} in {days} days");
        assert!((turnover - 300_000.0 / average).abs() < 1e-4, "{turnover}");
    }
}

/// Commands without a time happen when they are sent.
fn shipped_today(quantity: i64) -> Vec<String> {
    let (reservation, product) = ("today", product(0));
    let lines = json!([{"product_id": product, "quantity": quantity}]);
    let reserve = json!({"reservation_id": reservation, "lines": lines});
    let ship = json!({"reservation_id": reservation, "product_ids": [product]});
    let command =
        |name: &str, data| json!({"id": name, "source": "stories", "type": name, "data": data}).to_string();
    vec![command("ReserveStock", reserve), command("ShipStock", ship)]
}
