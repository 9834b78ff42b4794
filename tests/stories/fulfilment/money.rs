//! Money and mails: Millrace's records agree with the provider's ledger.

use millrace_tests::load::{command, customer, order};
use serde_json::json;

use super::history::{History, assert_nothing_is_left};
use super::{Shop, place, shop};
use crate::beside_others;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_paid_confirmed_and_told_of_and_readers_see_it() {
    let _turn = beside_others().await;
    let shop = shop("doorstep", &[], &[]).await;
    shop.stocked(1, &[5, 5]).await;
    let _process = shop.open();
    shop.instance.send(&[place(1, 1, &[(0, 2), (1, 1)])]).await;
    shop.rest().await;
    shop.instance.settle().await;
    let row: (String, String, String, i64) =
        sqlx::query_as("SELECT status, payment_status, fulfilment, captured FROM orders WHERE order_id = $1")
            .bind(order(1))
            .fetch_one(&shop.instance.read)
            .await
            .expect("the order");
    assert_eq!(row, ("confirmed".to_owned(), "captured".to_owned(), "confirmed".to_owned(), 750));
    let days: Vec<(String, i64)> = sqlx::query_as("SELECT outcome, orders FROM fulfilment_daily")
        .fetch_all(&shop.instance.read)
        .await
        .expect("days");
    assert_eq!(days, [("confirmed".to_owned(), 1)]);
    let mails: Vec<String> = mails(&shop.outside.entries());
    assert_eq!(mails, ["c0@example.com"]);
    History::read(&shop.instance.write).await.assert_sound(&shop.outside);
    shop.instance.assert_both_read_models_agree().await;
    what_the_provider_has_is_compared(&shop).await;
}

/// An authorisation and a capture, as they were answered.
async fn what_the_provider_has_is_compared(shop: &Shop) {
    let id = customer(0);
    let verify = ["verify", "--customer", id.as_str(), "--format", "json"];
    let report = shop.instance.millrace(&verify).await.expect_success().json();
    let compared = report["compared"].as_array().expect("what was compared").iter();
    let asked: Vec<_> = compared.filter(|one| one["name"] == "provider").map(|one| &one["rows"]).collect();
    assert_eq!(asked, [&json!(2)], "{report}");
    let other = r#"UPDATE effect SET answer = '{"done": {"reference": "another"}}' WHERE effect = 'payment'"#;
    sqlx::query(other).execute(&shop.instance.write).await.expect("calls");
    let report = shop.instance.millrace(&verify).await.expect_code(5).json();
    let findings = report["findings"].as_array().expect("findings");
    let told = findings.iter().filter(|one| one["what"] == "provider" && one["key"] == order(1));
    assert_eq!(told.count(), 2, "{report}");
}

fn mails(entries: &[serde_json::Value]) -> Vec<String> {
    let mails = entries.iter().filter(|entry| entry["kind"] == "mail");
    mails.map(|mail| mail["to"][0].as_str().expect("a recipient").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_whose_answer_is_lost_is_asked_for_and_never_made_twice() {
    let _turn = beside_others().await;
    // Ends when calls are made again and again, as a planted bug makes them.
    let bounded = [("effects.age_max", "60s")];
    let shop = shop("lost_answers", &bounded, &["--timeout-after-charge", "100", "--hold-ms", "2000"]).await;
    shop.stocked(1, &[100]).await;
    let process = shop.open();
    shop.instance.send(&(0..6).map(|i| place(i, 1, &[(0, 1)])).collect::<Vec<_>>()).await;
    shop.rest().await;
    let unknown = process
        .metrics()
        .await
        .expect("figures")
        .sum("millrace_effect_calls_total", &[("effect", "payment"), ("outcome", "unknown")]);
    assert!(unknown >= 12.0, "every answer was lost: {unknown}");
    let entries = shop.outside.entries();
    let done = |kind: &str| entries.iter().filter(|entry| entry["kind"] == kind).count();
    assert_eq!((done("authorisation"), done("charge")), (6, 6));
    History::read(&shop.instance.write).await.assert_sound(&shop.outside);
    assert_nothing_is_left(&shop.instance.write).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_the_provider_still_works_on_is_waited_for_and_made_once() {
    let _turn = beside_others().await;
    let impatient = [("effects.call_timeout", "300ms")];
    let shop = shop("in_work", &impatient, &["--slow", "100", "--slow-ms", "2000"]).await;
    shop.stocked(1, &[100]).await;
    let process = shop.open();
    shop.instance.send(&(0..4).map(|i| place(i, 1, &[(0, 1)])).collect::<Vec<_>>()).await;
    shop.rest().await;
    for i in 0..4 {
        assert_eq!(shop.standing(i).await, "fulfilled", "order {i}");
    }
    let figures = process.metrics().await.expect("figures");
    let refused = [("effect", "payment"), ("outcome", "refused")];
    assert_eq!(figures.sum("millrace_effect_calls_total", &refused), 0.0, "a key in work is no refusal");
    let entries = shop.outside.entries();
    let done = |kind: &str| entries.iter().filter(|entry| entry["kind"] == kind).count();
    assert_eq!((done("authorisation"), done("charge")), (4, 4));
    History::read(&shop.instance.write).await.assert_sound(&shop.outside);
    assert_nothing_is_left(&shop.instance.write).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_whose_answer_is_lost_is_not_sent_again() {
    let _turn = beside_others().await;
    let shop = shop("lost_mails", &[], &["--timeout-after-mail", "100", "--hold-ms", "2000"]).await;
    shop.stocked(1, &[5]).await;
    let _process = shop.open();
    shop.instance.send(&[place(1, 1, &[(0, 1)]), place(2, 1, &[(0, 1)])]).await;
    shop.rest().await;
    assert_eq!(mails(&shop.outside.entries()).len(), 2, "each was taken once");
    let told = "SELECT count(*) FROM outbox WHERE type = 'millrace.notifications.NotificationFailed'";
    assert_eq!(shop.instance.count(told).await, Ok(2), "and nobody says that they were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_notifications_gets_none() {
    let _turn = beside_others().await;
    let shop = shop("opted_out", &[], &[]).await;
    shop.stocked(2, &[5]).await;
    let _process = shop.open();
    let stop = command("StopNotifications", 0, json!({"customer_id": customer(0)}));
    shop.instance.send_and_wait(&[stop]).await.expect_success();
    shop.instance.send(&[place(0, 2, &[(0, 1)]), place(1, 2, &[(0, 1)])]).await;
    shop.rest().await;
    assert_eq!(mails(&shop.outside.entries()), ["c1@example.com"]);
    assert_eq!(shop.standing(0).await, "fulfilled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_becomes_an_order_or_is_open_again() {
    let _turn = beside_others().await;
    let shop = shop("carts", &[], &[]).await;
    shop.stocked(1, &[5]).await;
    let _process = shop.open();
    let cart = |name: &str, number: usize, mut data: serde_json::Value| {
        data["cart_id"] = json!(format!("cart-{number}"));
        command(name, number, data)
    };
    let filled = |number: usize, ordered: usize| {
        let product = millrace_tests::load::product(0);
        vec![
            cart("CreateCart", number, json!({"customer_id": customer(0), "currency": "USD"})),
            cart("AddToCart", number, json!({"product_id": product, "quantity": 2})),
            cart(
                "CheckOutCart",
                number,
                json!({"order_id": order(ordered), "checked_out_at": "2024-01-01T00:00:00Z"}),
            ),
        ]
    };
    shop.instance.send_and_wait(&filled(1, 1)).await.expect_success();
    shop.rest().await;
    // The first order was another cart's, the second one of no cart.
    shop.instance.send_and_wait(&filled(2, 1)).await.expect_success();
    shop.instance.send_and_wait(&[place(2, 1, &[(0, 1)])]).await.expect_success();
    shop.instance.send_and_wait(&filled(3, 2)).await.expect_success();
    shop.rest().await;
    let carts: Vec<(String, String)> = sqlx::query_as("SELECT cart_id, status FROM carts ORDER BY 1")
        .fetch_all(&shop.instance.read)
        .await
        .expect("carts");
    let expected = [("cart-1", "checked_out"), ("cart-2", "open"), ("cart-3", "open")];
    assert_eq!(carts.iter().map(|(id, status)| (id.as_str(), status.as_str())).collect::<Vec<_>>(), expected);
    assert_eq!(
        (shop.standing(1).await.as_str(), shop.standing(2).await.as_str()),
        ("fulfilled", "fulfilled")
    );
}
