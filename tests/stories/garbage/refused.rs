//! Events that can be decoded but not stored everywhere.

use millrace_tests::load::register;
use millrace_tests::{Raw, kafka};
use serde_json::json;

use super::kinds::noise;
use crate::{beside_others, instance};

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_elasticsearch_refuses_is_a_dead_letter_and_its_neighbours_are_published() {
    let _turn = beside_others().await;
    let instance = instance("documents").await;
    let process = instance.start_with(&["commands"], &[]);
    instance.send(&[register(1)]).await;
    instance.settle_commands().await;
    let long = noise(600);
    let customer = json!({"customer_id": long, "name": "Long"});
    let event = Raw::of("CustomerRegistered", &customer)
        .await
        .header("ce_id", long.as_str())
        .header("ce_sequence", "1");
    // Longer than Lucene takes a term: shown with its document, and not found by it.
    let wordy = json!({"customer_id": "wordy", "name": "Wordy", "phone": noise(33_000)});
    let wordy = Raw::of("CustomerRegistered", &wordy)
        .await
        .header("ce_id", "wordy")
        .header("ce_sequence", "1")
        .header("correlation-id", noise(33_000));
    kafka::produce(&instance.topic("evt", "customers"), None, &[event, wordy]).await;
    instance.send(&[register(2), register(3)]).await;
    instance.settle_commands().await;
    drop(process);
    let _process = instance.start();
    instance.settle().await;
    for view in ["customers", "events"] {
        assert_eq!(instance.documents(view).await.len(), 4, "the neighbours are in the index of {view}");
        let refused = "SELECT code FROM dead_letter WHERE grp = $1 AND key = $2";
        let refused =
            sqlx::query_scalar::<_, String>(refused).bind(instance.group(view)).bind(long.as_bytes());
        assert_eq!(refused.fetch_all(&instance.read).await.expect("the ledger"), ["document-refused"]);
    }
    let rows = sqlx::query_scalar("SELECT count(*) FROM customers").fetch_one(&instance.read).await;
    assert_eq!(rows.ok(), Some(5_i64), "Postgres has them all");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amount_that_tallies_cannot_hold_is_a_dead_letter_of_the_tallies_alone() {
    let _turn = beside_others().await;
    let instance = instance("sums").await;
    let mut huge = Vec::new();
    for order in ["order-1", "order-2"] {
        huge.push(priceless(order).await);
    }
    // On one partition, so that they share a batch.
    kafka::produce(&instance.topic("evt", "orders"), Some(0), &huge).await;
    let _process = instance.start();
    instance.settle().await;
    let codes = sqlx::query_scalar::<_, String>("SELECT grp || ' ' || code FROM dead_letter ORDER BY grp");
    let codes = codes.fetch_all(&instance.read).await.expect("the ledger");
    let tallies = ["customer_purchases", "customer_revenue_daily", "revenue_daily", "sales_daily"];
    assert_eq!(codes, tallies.map(|tally| format!("{} refused-by-database", instance.group(tally))));
    let revenue = "SELECT c.revenue, r.revenue, s.revenue
                   FROM customer_revenue_daily AS c, revenue_daily AS r, sales_daily AS s";
    let revenue = sqlx::query_as::<_, (i64, i64, i64)>(revenue).fetch_all(&instance.read).await;
    assert_eq!(revenue.ok(), Some(vec![(i64::MAX, i64::MAX, i64::MAX)]), "the first is in every tally");
    assert_eq!(instance.documents("orders").await.len(), 2, "other views have both");
}

/// An event that no command leads to.
async fn priceless(order: &str) -> Raw {
    let line = json!({"product_id": "p", "category": "C", "quantity": 1, "amount": i64::MAX});
    let data = json!({
        "order_id": order, "customer_id": "c", "currency": "USD", "placed_at": "2024-01-01T00:00:00Z",
        "lines": [line], "total": i64::MAX,
    });
    Raw::of("OrderConfirmed", &data).await.header("ce_id", order).header("ce_sequence", "1")
}
