//! What a bank's customer asks: what is on my accounts, what came and went, by day, week, month and span.

use std::fmt::Debug;

use millrace_tests::load::{command, customer, register};
use millrace_tests::{Instance, becomes};
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow};

use super::SETTINGS;
use crate::{beside_others, instance_with};

const CURRENT: &str = "CURRENT1";
const SAVINGS: &str = "SAVINGS1";

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_sees_all_accounts_and_what_came_and_went_on_them() {
    let _turn = beside_others().await;
    let instance = instance_with("account_readers", &SETTINGS).await;
    let _process = instance.start();
    the_accounts_are_used(&instance).await;
    the_last_entries_come_first_and_spans_share_none(&instance).await;
    days_add_up_to_weeks_and_months(&instance).await;
    spans_end_with_each_day(&instance).await;
    what_is_held_is_there_and_not_available(&instance).await;
    a_frozen_account_stands_still_and_an_empty_one_is_closed(&instance).await;
    a_wrong_balance_is_named_and_repaired_for_its_account(&instance).await;
    instance.assert_both_read_models_agree().await;
    instance.millrace(&["verify"]).await.expect_success();
}

fn open(number: usize, account: &str, kind: &str, initial_balance: i64) -> String {
    let data = json!({
        "account_id": account, "customer_id": customer(1), "kind": kind, "currency": "EUR",
        "initial_balance": initial_balance, "overdraft": 0, "opened_at": "2024-01-01T09:00:00Z",
    });
    command("OpenAccount", number, data)
}

fn moved(number: usize, name: &str, amount: i64, booked_at: &str) -> String {
    let data = json!({
        "account_id": CURRENT, "transaction_id": format!("transaction-{number}"), "amount": amount, "currency": "EUR",
        "text": "", "booked_at": booked_at,
    });
    command(name, number, data)
}

fn saved(number: usize, amount: i64, booked_at: &str) -> String {
    let data = json!({
        "from_account_id": CURRENT, "to_account_id": SAVINGS, "transfer_id": format!("transfer-{number}"),
        "amount": amount, "currency": "EUR", "text": "", "booked_at": booked_at,
    });
    command("TransferMoney", number, data)
}

async fn the_accounts_are_used(instance: &Instance) {
    for commands in [
        vec![register(1)],
        vec![open(1, CURRENT, "current", 10_000), open(2, SAVINGS, "savings", 0)],
        vec![
            moved(3, "DepositMoney", 500, "2024-01-31T23:59:59Z"),
            moved(4, "WithdrawMoney", 200, "2024-02-01T00:00:00Z"),
            saved(5, 1_000, "2024-02-01T12:00:00Z"),
            moved(6, "DepositMoney", 70, "2024-03-01T12:00:00Z"),
            moved(7, "DepositMoney", 30, "2024-12-31T12:00:00Z"),
            moved(8, "DepositMoney", 5, "2025-01-01T12:00:00Z"),
        ],
    ] {
        instance.send(&commands).await;
        instance.settle().await;
    }
}

/// The rows of a view, in the order of the query.
async fn shows<T>(instance: &Instance, sql: &str, expected: &[T])
where
    T: PartialEq + Debug + Send + Unpin + for<'r> FromRow<'r, PgRow>,
{
    let rows = sqlx::query_as::<_, T>(AssertSqlSafe(sql)).fetch_all(&instance.read).await;
    assert_eq!(rows.unwrap_or_else(|error| panic!("{sql}: {error}")), expected, "{sql}");
}

type Entry = (String, String, i64, i64);

fn entry(account: &str, kind: &str, amount: i64, balance: i64) -> Entry {
    (account.to_owned(), kind.to_owned(), amount, balance)
}

async fn the_last_entries_come_first_and_spans_share_none(instance: &Instance) {
    let entries = |from: &str, to: &str| {
        format!(
            "SELECT account_id, kind, amount, balance FROM customer_transactions
             WHERE customer_id = '{}' AND booked_at >= '{from}' AND booked_at < '{to}'
             ORDER BY booked_at DESC, account_id DESC, entry DESC",
            customer(1)
        )
    };
    let february = [
        entry(SAVINGS, "transfer_received", 1_000, 1_000),
        entry(CURRENT, "transfer_sent", -1_000, 9_300),
        entry(CURRENT, "withdrawal", -200, 10_300),
    ];
    shows(instance, &entries("2024-02-01", "2024-03-01"), &february).await;
    let january = [entry(CURRENT, "deposit", 500, 10_500), entry(CURRENT, "deposit", 10_000, 10_000)];
    shows(instance, &entries("2024-01-01", "2024-02-01"), &january).await;
}

/// What came in by deposits on the current account, and how often.
async fn days_add_up_to_weeks_and_months(instance: &Instance) {
    let deposits = |view: &str, unit: &str| {
        format!(
            "SELECT {unit}::text, entries::bigint, amount_in::bigint FROM {view}
             WHERE account_id = '{CURRENT}' AND kind = 'deposit' ORDER BY {unit}"
        )
    };
    let row = |day: &str, entries: i64, amount: i64| (day.to_owned(), entries, amount);
    let days = [
        row("2024-01-01", 1, 10_000),
        row("2024-01-31", 1, 500),
        row("2024-03-01", 1, 70),
        row("2024-12-31", 1, 30),
        row("2025-01-01", 1, 5),
    ];
    shows(instance, &deposits("account_analytics", "day"), &days).await;
    let weeks = [
        row("2024-01-01", 1, 10_000),
        row("2024-01-29", 1, 500),
        row("2024-02-26", 1, 70),
        row("2024-12-30", 2, 35),
    ];
    shows(instance, &deposits("account_analytics_weekly", "week"), &weeks).await;
    let months = [
        row("2024-01-01", 2, 10_500),
        row("2024-03-01", 1, 70),
        row("2024-12-01", 1, 30),
        row("2025-01-01", 1, 5),
    ];
    shows(instance, &deposits("account_analytics_monthly", "month"), &months).await;
}

/// 2024 is a leap year: the 365 days that end with its last day begin on the second of January, those that end a day later
/// on the third.
async fn spans_end_with_each_day(instance: &Instance) {
    let sql = format!(
        "SELECT day::text, amount_in_30::bigint, amount_in_90::bigint, amount_in_365::bigint
         FROM account_analytics_rolling WHERE account_id = '{CURRENT}' AND kind = 'deposit' ORDER BY day"
    );
    let row = |day: &str, in_30: i64, in_90: i64, in_365: i64| (day.to_owned(), in_30, in_90, in_365);
    let spans = [
        row("2024-01-01", 10_000, 10_000, 10_000),
        // The thirtieth day after the first is the first that no longer sees it.
        row("2024-01-31", 500, 10_500, 10_500),
        row("2024-03-01", 70, 10_570, 10_570),
        row("2024-12-31", 30, 30, 600),
        row("2025-01-01", 35, 35, 605),
    ];
    shows(instance, &sql, &spans).await;
}

async fn what_is_held_is_there_and_not_available(instance: &Instance) {
    let hold = json!({"account_id": CURRENT, "hold_id": "hotel", "amount": 9_000, "reason": "a deposit"});
    let too_much = moved(10, "WithdrawMoney", 406, "2025-01-02T00:00:00Z");
    instance.send(&[command("HoldMoney", 9, hold), too_much]).await;
    instance.settle().await;
    refused(instance, "funds-insufficient").await;
    let figures =
        "SELECT account_id, kind, balance, held, available FROM customer_accounts ORDER BY account_id";
    let row = |account: &str, kind: &str, balance: i64, held: i64| {
        (account.to_owned(), kind.to_owned(), balance, held, balance - held)
    };
    shows(instance, figures, &[row(CURRENT, "current", 9_405, 9_000), row(SAVINGS, "savings", 1_000, 0)])
        .await;
    let release = command("ReleaseHold", 11, json!({"account_id": CURRENT, "hold_id": "hotel"}));
    instance.send(&[release]).await;
    becomes(&instance.read, "SELECT count(*) FROM customer_accounts WHERE held = 0", 2).await;
    becomes(&instance.read, "SELECT count(*) FROM customers WHERE accounts = 2", 1).await;
    let total = r#"SELECT count(*) FROM customers WHERE balance @> '[{"currency": "EUR", "amount": 10405}]'"#;
    becomes(&instance.read, total, 1).await;
}

async fn a_frozen_account_stands_still_and_an_empty_one_is_closed(instance: &Instance) {
    let about = |number, name: &str, data: Value| {
        let mut all = json!({"account_id": CURRENT});
        all.as_object_mut().expect("an object").extend(data.as_object().expect("an object").clone());
        command(name, number, all)
    };
    let freeze = about(12, "FreezeAccount", json!({"reason": "a lost card"}));
    instance.send(&[freeze, moved(13, "DepositMoney", 1, "2025-01-03T00:00:00Z")]).await;
    instance.settle().await;
    refused(instance, "account-frozen").await;
    let unfreeze = about(14, "UnfreezeAccount", json!({"reason": "a new card"}));
    let empty = moved(15, "WithdrawMoney", 9_405, "2025-01-04T00:00:00Z");
    let close = about(16, "CloseAccount", json!({"closed_at": "2025-01-04T00:00:00Z"}));
    instance.send(&[unfreeze, empty, close, moved(17, "DepositMoney", 1, "2025-01-05T00:00:00Z")]).await;
    instance.settle().await;
    refused(instance, "account-closed").await;
    let closed = format!("SELECT status, balance FROM customer_accounts WHERE account_id = '{CURRENT}'");
    shows(instance, &closed, &[("closed".to_owned(), 0_i64)]).await;
}

async fn a_wrong_balance_is_named_and_repaired_for_its_account(instance: &Instance) {
    let wrong = "UPDATE account_balances_g1 SET balance = balance + 1";
    sqlx::query(wrong).execute(&instance.read).await.expect("wrong balances");
    let told = instance.millrace(&["verify", "account_balances"]).await;
    told.expect_code(5).expect_told(CURRENT).expect_told(SAVINGS);
    let repair = ["verify", "account_balances", "--key", CURRENT, "--repair", "--why", "edited by hand"];
    instance.millrace(&repair).await.expect_success();
    let balances = "SELECT account_id, balance FROM account_balances ORDER BY account_id";
    shows(instance, balances, &[(CURRENT.to_owned(), 0_i64), (SAVINGS.to_owned(), 1_001)]).await;
    let rest = ["verify", "account_balances", "--repair", "--why", "edited by hand"];
    instance.millrace(&rest).await.expect_success();
}

async fn refused(instance: &Instance, code: &str) {
    let count = sqlx::query_scalar("SELECT count(*) FROM command WHERE code = $1").bind(code);
    let count: i64 = count.fetch_one(&instance.write).await.expect("a count");
    assert_eq!(count, 1, "{code}");
}
