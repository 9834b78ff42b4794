//! One customer: everything that is known of them in one answer, every figure equal to SQL of its own, proved and repaired.

use chrono::{DateTime, Days, SecondsFormat, Utc};
use millrace_tests::instance::pool;
use millrace_tests::load::{add_product, command, customer, order, place, product, register};
use millrace_tests::outcome::Outcome;
use millrace_tests::snapshot::elastic_with;
use millrace_tests::{Instance, Process};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::{beside_others, instance_with};

/// What the document of a customer is made of.
const CONTEXTS: &str = r#"["accounts", "carts", "catalog", "customers", "inventory", "notifications", "orders", "payments",
    "reviews", "subscriptions"]"#;
/// Days back from today on which money is paid in.
const DAYS: [u64; 5] = [0, 29, 30, 100, 400];

/// A customer who has done something in every context, and another one who has not.
async fn known(story: &str) -> (Instance, Process) {
    let instance = instance_with(story, &[("contexts", CONTEXTS)]).await;
    let process = instance.start();
    instance.send(&[register(1), register(2), add_product(1), add_product(2)]).await;
    instance.settle().await;
    instance.send(&[placed(), shopped(), reviewed(), subscribed(), banked()].concat()).await;
    instance.settle().await;
    (instance, process)
}

/// Three orders on days of their own; one of them is confirmed, and one is cancelled.
fn placed() -> Vec<String> {
    let of = |number: usize| place(number, &customer(1), &product(1));
    vec![
        of(1),
        of(2),
        of(3),
        command("ConfirmOrder", 1, json!({"order_id": order(1)})),
        command("CancelOrder", 2, json!({"order_id": order(2), "reason": "changed their mind"})),
    ]
}

fn shopped() -> Vec<String> {
    let cart = |number: usize| {
        let cart_id = format!("cart-{number}");
        let create = json!({"cart_id": cart_id, "customer_id": customer(1), "currency": "EUR"});
        [
            command("CreateCart", number, create),
            command("AbandonCart", number, json!({"cart_id": cart_id, "reason": "idle"})),
        ]
    };
    [cart(1), cart(2)].concat()
}

fn reviewed() -> Vec<String> {
    let write = |number: usize, rating: i32| {
        let review_id = format!("{}:{}", product(number), customer(1));
        let data = json!({
            "review_id": review_id, "product_id": product(number), "customer_id": customer(1), "rating": rating,
            "title": "Tea", "text": "As it should be.", "written_at": "2026-01-20T18:00:00Z",
        });
        command("WriteReview", number, data)
    };
    vec![write(1, 5), write(2, 2)]
}

fn subscribed() -> Vec<String> {
    let start = |number: usize| {
        let data = json!({
            "subscription_id": format!("sub-{number}"), "customer_id": customer(1), "plan": "tea", "amount": 700,
            "currency": "EUR", "period": "year", "started_at": "2126-01-15T00:00:00Z",
        });
        command("StartSubscription", number, data)
    };
    vec![start(1), start(2), command("PauseSubscription", 2, json!({"subscription_id": "sub-2"}))]
}

/// A deposit of 100 on each of some days back from today, and a withdrawal of 30 today.
fn banked() -> Vec<String> {
    let open = json!({
        "account_id": "DE01", "customer_id": customer(1), "kind": "current", "currency": "EUR", "initial_balance": 0,
        "overdraft": 0, "opened_at": "2020-01-01T00:00:00Z",
    });
    let entry = |number: usize, name: &str, amount: i64, days: u64| {
        let data = json!({
            "account_id": "DE01", "transaction_id": format!("t{number}"), "amount": amount, "currency": "EUR",
            "text": "x", "booked_at": days_ago(days),
        });
        command(name, number, data)
    };
    let deposits = DAYS.iter().enumerate().map(|(number, days)| entry(number, "DepositMoney", 100, *days));
    std::iter::once(command("OpenAccount", 1, open))
        .chain(deposits)
        .chain([entry(9, "WithdrawMoney", 30, 0)])
        .collect()
}

/// The beginning of that day, so that it is past whenever the story runs.
fn days_ago(days: u64) -> String {
    let day = Utc::now().date_naive().checked_sub_days(Days::new(days)).expect("a day");
    let begin: DateTime<Utc> = day.and_time(chrono::NaiveTime::MIN).and_utc();
    begin.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_known_of_a_customer_is_one_document_for_readers_and_operators() {
    let _turn = beside_others().await;
    let (instance, _process) = known("customer_360").await;
    let told = instance.millrace(&["customer", "show", &customer(1), "--format", "json"]).await;
    let told = told.expect_success().json();
    let readers = pool("READER_DATABASE_URL", &instance.name);
    for asked in ["SELECT customer_360($1)", "SELECT document FROM customer_360 WHERE customer_id = $1"] {
        let document: Value =
            sqlx::query_scalar(asked).bind(customer(1)).fetch_one(&readers).await.expect(asked);
        assert_eq!(without_time(document), without_time(told.clone()), "{asked}");
    }
    tells_what_they_do(&told["profile"]);
    tells_what_moved(&told);
    every_part_is_told_with_its_version(&told);
    nothing_is_known_of_a_stranger(&instance, &readers).await;
    instance.millrace(&["verify"]).await.expect_success();
}

/// Each answer is of its own moment.
fn without_time(mut document: Value) -> Value {
    document.as_object_mut().expect("a document").remove("as_of").expect("when it was read");
    document
}

fn tells_what_they_do(profile: &Value) {
    let figures = ["order_count", "orders_cancelled", "carts_abandoned", "reviews", "rating_hundredths"];
    assert_eq!(figures.map(|figure| profile[figure].as_i64()), [2, 1, 2, 2, 350].map(Some), "{profile}");
    let subscriptions = ["subscriptions_active", "subscriptions_paused", "subscriptions_cancelled"];
    assert_eq!(subscriptions.map(|figure| profile[figure].as_i64()), [1, 1, 0].map(Some), "{profile}");
    assert_eq!(
        profile["subscriptions_stopped"],
        json!([{"subscription_id": "sub-2", "status": "paused"}]),
        "{profile}"
    );
}

/// A deposit 29 days ago is among the last 30 days, today included, and one 30 days ago is not.
fn tells_what_moved(told: &Value) {
    let account = &told["accounts"][0];
    assert_eq!((&account["account_id"], &account["balance"]), (&json!("DE01"), &json!(470)), "{account}");
    let came_in =
        |entries: i64, amount: i64| json!({"entries": entries, "amount_in": amount, "amount_out": 30});
    let expected = json!({"30": came_in(3, 200), "90": came_in(4, 300), "365": came_in(5, 400)});
    assert_eq!(account["last_days"], expected);
    assert_eq!(["amount_in", "amount_out"].map(|field| account[field].as_i64()), [Some(500), Some(30)]);
    let ever = told["transactions"].as_array().expect("sums").iter().find(|sum| sum["days"].is_null());
    let ever = ever.expect("of all time");
    assert_eq!((&ever["entries"], &ever["amount_in"]), (&json!(6), &json!(500)), "{ever}");
    assert!(
        account["last_booked_at"].as_str().is_some_and(|at| days_ago(0).starts_with(&at[..10])),
        "{account}"
    );
}

fn every_part_is_told_with_its_version(told: &Value) {
    let parts = told["parts"].as_object().expect("parts");
    for name in ["profile", "accounts", "favourites", "orders", "subscriptions", "carts", "history"] {
        let part = &parts[name];
        assert!(part["version"].as_i64() > Some(0), "{name}: {part}");
        assert!(part["updated_at"].is_string() && part["applied_at"].is_string(), "{name}: {part}");
    }
    assert_eq!(told["orders"].as_array().map(Vec::len), Some(3));
    assert_eq!(told["favourites"]["products"][0]["product_id"], json!(product(1)), "{told}");
    assert_eq!(told["favourites"]["categories"].as_array().map(Vec::len), Some(1), "{told}");
}

async fn nothing_is_known_of_a_stranger(instance: &Instance, readers: &sqlx::PgPool) {
    let none: Option<Value> =
        sqlx::query_scalar("SELECT customer_360('nosuch')").fetch_one(readers).await.expect("an answer");
    assert_eq!(none, None);
    let told = instance.millrace(&["customer", "show", "nosuch"]).await;
    told.expect_code(4).expect_told("no view knows the customer `nosuch`");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_shows_a_customer_is_compared_and_put_right_and_nothing_of_others_is() {
    let _turn = beside_others().await;
    let (instance, _process) = known("customer_verify").await;
    let sound = verify(&instance, 1, &[]).await;
    let report = sound.expect_success().json();
    let compared: Vec<&str> =
        report["compared"].as_array().expect("views").iter().filter_map(|one| one["name"].as_str()).collect();
    for view in
        ["customers", "orders", "account_balances", "account_analytics", "customer_purchases", "carts"]
    {
        assert!(compared.contains(&view), "{view}: {compared:?}");
    }
    every_clock_is_level(&report);
    for sql in [
        format!("UPDATE orders_g1 SET total = total + 1 WHERE order_id = '{}'", order(3)),
        format!("UPDATE account_analytics_g1 SET entries = 7 WHERE customer_id = '{}'", customer(1)),
        "DELETE FROM carts_g1 WHERE cart_id = 'cart-1'".to_owned(),
        format!("UPDATE customers_g1 SET reviews = 9 WHERE customer_id = '{}'", customer(2)),
    ] {
        let done = sqlx::query(AssertSqlSafe(sql.as_str())).execute(&instance.read).await.expect("rows");
        assert!(done.rows_affected() > 0, "{sql}");
    }
    let account = format!("{}-account_balances/_doc/DE01?refresh=true", instance.name);
    elastic_with(Method::DELETE, &account, None).await;
    let told = verify(&instance, 1, &[]).await;
    let names = found(told.expect_code(5));
    for wrong in
        ["row orders", "row account_analytics", "row carts", "document account_balances", "document orders"]
    {
        assert!(names.iter().any(|name| name == wrong), "{wrong}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.ends_with(" customers")), "that of another customer: {names:?}");
    verify(&instance, 1, &["--repair", "--why", "edited by hand"]).await.expect_success();
    instance.settle().await;
    verify(&instance, 1, &[]).await.expect_success();
    assert_eq!(
        found(verify(&instance, 2, &[]).await.expect_code(5)),
        ["document customers", "row customers"]
    );
    instance.millrace(&["verify", "--customer", "nosuch"]).await.expect_code(4);
    an_account_is_compared_with_its_ledger(&instance).await;
}

/// The rows of the ledger name no customer.
async fn an_account_is_compared_with_its_ledger(instance: &Instance) {
    let wrong = "UPDATE ledger_balances_g1 SET credit = credit + 5 WHERE ledger_account = 'DE01'";
    sqlx::query(wrong).execute(&instance.read).await.expect("the ledger");
    let told = verify(instance, 1, &[]).await;
    assert_eq!(found(told.expect_code(5)), ["ledger account_balances"]);
    assert_eq!(told.json()["findings"][0]["fields"][0]["difference"], json!(-5));
    assert_eq!(told.json()["ledger_left_out"], json!(0));
    // While the ledger lacks an event, a difference is none; that nothing was compared is said.
    let behind = "UPDATE progress SET version = version - 1
        WHERE grp LIKE '%.ledger_balances' AND context = 'accounts' AND stream = 'DE01'";
    let done = sqlx::query(behind).execute(&instance.read).await.expect("progress");
    assert_eq!(done.rows_affected(), 1);
    let told = verify(instance, 1, &[]).await.expect_success().json();
    assert_eq!(told["ledger_left_out"], json!(1));
    let text = instance.millrace(&["verify", "--customer", &customer(1)]).await;
    text.expect_success()
        .expect_told("not compared with the ledger, as a view is behind or they are too many: 1");
}

async fn verify(instance: &Instance, number: usize, more: &[&str]) -> Outcome {
    let id = customer(number);
    instance.millrace(&[&["verify", "--format", "json", "--customer", id.as_str()], more].concat()).await
}

/// Kind and view of each finding, in alphabetical order.
fn found(outcome: &Outcome) -> Vec<String> {
    let report = outcome.json();
    let findings = report["findings"].as_array().expect("findings").iter();
    let text = |finding: &Value, field: &str| finding[field].as_str().expect("text").to_owned();
    let mut found: Vec<String> =
        findings.map(|one| format!("{} {}", text(one, "what"), text(one, "name"))).collect();
    found.sort();
    found
}

fn every_clock_is_level(report: &Value) {
    let clocks = report["clocks"].as_array().expect("clocks");
    assert!(clocks.len() > 6, "customer, account, orders, carts, subscriptions: {report}");
    for clock in clocks {
        let folded = clock["folded"].as_array().expect("views");
        assert!(folded.iter().all(|one| one["behind"] == json!(0)), "{clock}");
        assert!(!folded.is_empty(), "no view reads it: {clock}");
    }
}
