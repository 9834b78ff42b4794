//! More orders than units of stock.

use super::history::{History, assert_nothing_is_left};
use super::{place, shop};
use crate::beside_others;

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_orders_for_the_last_ten_items_ten_are_confirmed_and_nothing_stays_reserved() {
    let _turn = beside_others().await;
    let shop = shop("last_items", &[], &[]).await;
    shop.stocked(5, &[10]).await;
    let _process = shop.open();
    shop.instance.send(&(0..50).map(|i| place(i, 5, &[(0, 1)])).collect::<Vec<_>>()).await;
    shop.rest().await;
    let history = History::read(&shop.instance.write).await;
    history.assert_sound(&shop.outside);
    let orders = history.orders();
    let confirmed = orders.values().filter(|order| order.confirmed && order.shipped == 1).count();
    let cancelled = orders.values().filter(|order| order.cancelled).count();
    assert_eq!((confirmed, cancelled), (10, 40));
    assert_nothing_is_left(&shop.instance.write).await;
    let stock: (i64, i64, i64) = sqlx::query_as("SELECT on_hand, reserved, available FROM products")
        .fetch_one(&shop.instance.read)
        .await
        .expect("the product");
    assert_eq!(stock, (0, 0, 0));
}
