//! Millrace on components that are encrypted, know who asks, and allow no more than is needed: with the file, the rights and the commands
//! of docs/operations/security.md. `scripts/test secure` runs it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a story that cannot go on ends; what it expected is the message"
)]

mod guarded;
mod proxy;

use millrace_tests::load::{add_product, place, receive, register};

use guarded::{Guarded, rows};

const CUSTOMERS: usize = 20;
const ORDERS: &str = "SELECT count(*) FROM orders";

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_on_guarded_components_and_goes_on_when_secrets_are_replaced() {
    let guarded = Guarded::new().await;
    guarded.millrace(&["setup"]).await.expect_success();
    guarded.millrace(&["doctor"]).await.expect_told("nothing is wrong");
    let run = guarded.run();
    let basics: Vec<String> =
        (0..CUSTOMERS).map(register).chain((0..4).flat_map(|n| [add_product(n), receive(n)])).collect();
    guarded.send(&basics).await;
    guarded.send(&orders(0)).await;
    rows(&guarded, ORDERS, CUSTOMERS).await;

    guarded.replace_secrets();
    guarded.send(&orders(CUSTOMERS)).await;
    rows(&guarded, ORDERS, 2 * CUSTOMERS).await;
    guarded.millrace(&["status", "--wait", "1m"]).await.expect_success();
    guarded.millrace(&["verify"]).await.expect_success();
    assert!(run.log().contains("certificates or credentials were changed"), "{}", run.log_tail());
    guarded.no_secret_is_shown(&run).await;
    run.stop().expect("a clean end");
    guarded.millrace(&["teardown", "--yes"]).await.expect_success();
}

fn orders(from: usize) -> Vec<String> {
    (from..from + CUSTOMERS)
        .map(|n| place(n, &format!("customer-{:04}", n % CUSTOMERS), "product-0001"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_wrong_or_missing_is_told_by_its_service_and_never_shown() {
    let guarded = Guarded::new().await;
    for (setting, service) in [
        ("elasticsearch.access.password_file", "Elasticsearch"),
        ("registry.access.token_file", "registry"),
        ("connect.access.password_file", "Connect"),
        ("postgres.write.password_file", "write"),
        ("kafka.property_files.sasl.password", "Kafka"),
    ] {
        let wrong = guarded.file("wrong", "s3cret-but-wrong");
        let said = guarded.millrace(&["setup", "--set", &format!("{setting}={wrong}")]).await;
        said.expect_failure().expect_told(service).expect_not_told("s3cret-but-wrong");
        let missing = format!("{setting}=/nowhere/secret");
        guarded.millrace(&["setup", "--set", &missing]).await.expect_code(2).expect_told("/nowhere/secret");
    }
    guarded.millrace(&["teardown", "--yes"]).await.expect_success();
}
