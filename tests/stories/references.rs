//! References of commands, and what readers may see.

use millrace_tests::instance::pool;
use millrace_tests::load::{add_product, customer, place, product, register};
use millrace_tests::{Instance, stack};
use sqlx::Connection as _;

use crate::{beside_others, instance};

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_reference_is_a_dead_letter_and_its_sender_learns_of_it() {
    let _turn = beside_others().await;
    let instance = instance("references").await;
    // One batch has all of these. It is rolled back, and what its orders have read of its customers with it.
    let rolled_back = place(4, "nobody", &product(1));
    instance.send(&[register(1), add_product(1), place(5, &customer(1), &product(1)), rolled_back]).await;
    let _process = instance.start();
    instance.settle_commands().await;
    let (good, nobody) = (place(1, &customer(1), &product(1)), place(2, "nobody", &product(1)));
    let nothing = place(3, &customer(1), "nothing");
    let outcome = instance.send_and_wait(&[good, nobody, nothing]).await;
    outcome.expect_code(1);
    instance.settle_commands().await;
    assert_eq!(
        receipts(&instance).await,
        [
            "PlaceOrder-1 completed ",
            "PlaceOrder-2 dead nobody",
            "PlaceOrder-3 dead nothing",
            "PlaceOrder-4 dead nobody",
            "PlaceOrder-5 completed ",
        ]
    );
    let topic = format!("{}.{}.dlq", instance.topic("cmd", "orders"), instance.group("commands"));
    let letters = instance.kafka.all(&topic);
    assert_eq!(letters.len(), 3);
    assert!(letters.iter().all(|letter| letter.raw.text("x-error-code") == Some("reference-not-found")));
    instance.settle().await;
    let orders: i64 =
        sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&instance.read).await.unwrap();
    assert_eq!(orders, 2, "the neighbours were placed");
}

/// Each order's receipt: id, status, and which name its reason mentions.
async fn receipts(instance: &Instance) -> Vec<String> {
    let receipts = "SELECT id || ' ' || status || ' ' || CASE WHEN code = 'reference-not-found'
                        THEN coalesce(substring(message FROM '(nobody|nothing)'), message) ELSE coalesce(code, '') END
                    FROM command WHERE context = 'orders' ORDER BY id";
    sqlx::query_scalar(receipts).fetch_all(&instance.write).await.expect("receipts")
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_the_views_and_nothing_of_the_write_side() {
    let _turn = beside_others().await;
    let instance = instance("readers").await;
    let _process = instance.start();
    instance.send(&[register(1)]).await;
    instance.settle().await;
    let reader = pool("READER_DATABASE_URL", &instance.name);
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM customers").fetch_all(&reader).await.expect("a view");
    assert_eq!(names, ["Customer 1"]);
    for statement in [
        "INSERT INTO customers (customer_id) VALUES ('x')",
        "DELETE FROM customers",
        "SELECT * FROM progress",
    ] {
        let error = sqlx::query(statement).execute(&reader).await.expect_err(statement);
        let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.to_string());
        assert_eq!(code.as_deref(), Some("42501"), "insufficient privilege for {statement}: {error}");
    }
    let read_side = stack().address("READER_DATABASE_URL");
    let write_side =
        format!("{}millrace_write", read_side.strip_suffix("millrace_read").expect("the read side"));
    let error = sqlx::PgConnection::connect(&write_side).await.expect_err("the write side is closed");
    assert!(error.to_string().contains("permission denied"), "{error}");
}
