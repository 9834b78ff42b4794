//! Money between accounts: a transfer changes both or none, whatever crashes in between.

mod books;
mod readers;

use std::collections::BTreeMap;

use millrace_tests::load::{command, customer, register};
use millrace_tests::settle::Backlog;
use millrace_tests::{Instance, becomes};
use serde_json::json;

use self::books::{Books, Closing};
use crate::{beside_others, instance_with};

const CUSTOMERS: usize = 10;
const ACCOUNTS: usize = 50;
/// How many transfers, unless the environment says `STORY_TRANSFERS`.
const TRANSFERS: usize = 1_000;
/// So little that some transfers are refused; in minor units.
const INITIAL_BALANCE: i64 = 20_000;
const AMOUNT_MAX: i64 = 15_000;
const KILLS: usize = 8;
/// Failpoints at which a process is killed, and how often it passes them before, at most.
const MOMENTS: [(&str, u32); 3] = [("before-commit", 20), ("after-commit", 20), ("after-bulk", 6)];

/// Small batches, so that failpoints are passed often; a short session timeout, so that the next process soon gets the
/// partitions.
const SETTINGS: [(&str, &str); 7] = [
    ("contexts", r#"["accounts", "customers"]"#),
    ("topics.partitions", "4"),
    ("processing.commands_batch_max", "10"),
    ("processing.events_batch_max", "20"),
    ("kafka.session_timeout", "3s"),
    ("kafka.heartbeat_interval", "500ms"),
    ("postgres.transaction_timeout", "2s"),
];

#[tokio::test(flavor = "multi_thread")]
async fn however_often_the_process_dies_transfers_neither_make_nor_lose_money() {
    let _turn = beside_others().await;
    let mut random = random();
    let instance = instance_with("accounts", &SETTINGS).await;
    open_accounts(&instance).await;
    let transfers = transfers(&mut random);
    for slice in transfers.chunks(transfers.len().div_ceil(KILLS)) {
        instance.send(slice).await;
        die(&instance, slice.len(), &mut random).await;
        assert_ne!(instance.backlog().await, Backlog::default(), "it was killed in mid-load");
    }
    let _process = instance.start();
    instance.settle().await;
    assert_each_command_has_one_receipt(&instance, CUSTOMERS + ACCOUNTS + transfers.len()).await;
    let closing = Books::open(&instance.write).await.read();
    assert_transfers_were_made_and_refused(&instance, &closing, transfers.len()).await;
    assert_readers_see(&instance, &closing).await;
    instance.assert_topics_carry_the_outbox(false).await;
    instance.assert_both_read_models_agree().await;
    instance.millrace(&["verify"]).await.expect_success();
}

fn random() -> fastrand::Rng {
    let seed = std::env::var("STORY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("STORY_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

fn account(i: usize) -> String {
    format!("ACC{i:04}")
}

/// Every other account may be overdrawn.
async fn open_accounts(instance: &Instance) {
    let mut process = instance.start();
    instance.send(&(0..CUSTOMERS).map(register).collect::<Vec<_>>()).await;
    instance.settle().await;
    let open = |i: usize| {
        let data = json!({
            "account_id": account(i), "customer_id": customer(i % CUSTOMERS), "kind": "current", "currency": "EUR",
            "initial_balance": INITIAL_BALANCE, "overdraft": i % 2 * 5_000, "opened_at": "2024-01-01T00:00:00Z",
        });
        command("OpenAccount", i, data)
    };
    instance.send(&(0..ACCOUNTS).map(open).collect::<Vec<_>>()).await;
    instance.settle().await;
    process.stops().await;
}

fn transfers(random: &mut fastrand::Rng) -> Vec<String> {
    let count = std::env::var("STORY_TRANSFERS").ok().and_then(|count| count.parse().ok());
    (0..count.unwrap_or(TRANSFERS)).map(|i| transfer(i, random)).collect()
}

fn transfer(i: usize, random: &mut fastrand::Rng) -> String {
    let from = random.usize(..ACCOUNTS);
    let to = (from + random.usize(1..ACCOUNTS)) % ACCOUNTS;
    let data = json!({
        "from_account_id": account(from), "to_account_id": account(to), "transfer_id": format!("transfer-{i}"),
        "amount": random.i64(1..=AMOUNT_MAX), "currency": "EUR", "text": "", "booked_at": "2024-01-02T00:00:00Z",
    });
    command("TransferMoney", i, data)
}

/// A process runs until a failpoint kills it, or until it is killed after some more decisions.
async fn die(instance: &Instance, sent: usize, random: &mut fastrand::Rng) {
    if random.bool() {
        let (moment, times) = MOMENTS[random.usize(..MOMENTS.len())];
        let times = random.u32(1..=times);
        let mut process = instance.start_doomed(&format!("{moment}={times}*off->return"));
        return process.killed_by_failpoint(moment).await;
    }
    let before = instance.count("SELECT count(*) FROM command").await.expect("receipts");
    let more = random.usize(1..=sent.div_ceil(2));
    let mut process = instance.start();
    instance.decided(before + i64::try_from(more).expect("a few")).await;
    process.kill();
}

async fn assert_each_command_has_one_receipt(instance: &Instance, sent: usize) {
    let receipts = "SELECT count(*) FROM command";
    becomes(&instance.write, receipts, i64::try_from(sent).expect("a few")).await;
    let odd = "SELECT count(*) FROM command
               WHERE status = 'dead' OR status = 'rejected' AND code <> 'funds-insufficient'";
    assert_eq!(instance.count(odd).await, Ok(0), "a command is refused only for want of money");
}

async fn assert_transfers_were_made_and_refused(instance: &Instance, closing: &Closing, sent: usize) {
    let refused = instance.count("SELECT count(*) FROM command WHERE status = 'rejected'").await;
    let refused = usize::try_from(refused.expect("receipts")).expect("a number");
    assert!(refused > 0 && closing.transfers > 0, "{refused} refused, {} made", closing.transfers);
    assert_eq!(closing.transfers + refused, sent);
}

/// Balances, ledger and statements agree with the events.
async fn assert_readers_see(instance: &Instance, closing: &Closing) {
    let deposited = INITIAL_BALANCE * i64::try_from(ACCOUNTS).expect("a few");
    assert_eq!(closing.from_outside, deposited);
    let balances: Vec<(String, i64)> = sqlx::query_as("SELECT account_id, balance FROM account_balances")
        .fetch_all(&instance.read)
        .await
        .expect("balances");
    assert_eq!(balances.into_iter().collect::<BTreeMap<_, _>>(), closing.balances);
    let ledger: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT difference::bigint, transit::bigint, cash::bigint, accounts::bigint FROM ledger_trial_balance",
    )
    .fetch_all(&instance.read)
    .await
    .expect("the trial balance");
    assert_eq!(ledger, [(0, 0, deposited, deposited)]);
    for (wrong, what) in [(POSTED_OTHERWISE, "accounts in the ledger"), (BROKEN, "statements")] {
        let count: i64 = sqlx::query_scalar(wrong).fetch_one(&instance.read).await.expect("a count");
        assert_eq!(count, 0, "{what}");
    }
}

/// Accounts whose balance is not what was posted.
const POSTED_OTHERWISE: &str = "SELECT count(*) FROM account_balances AS a
    LEFT JOIN ledger_balances AS l ON l.ledger_account = a.account_id AND l.currency = a.currency
    WHERE a.balance IS DISTINCT FROM l.credit - l.debit";

/// Entries that do not carry the balance on from the one before.
const BROKEN: &str = "SELECT count(*) FROM (
        SELECT entry, row_number() OVER account AS number, balance - amount AS before,
               lag(balance, 1, 0::bigint) OVER account AS last
        FROM account_statement WINDOW account AS (PARTITION BY account_id ORDER BY entry)
    ) AS entries WHERE entry <> number OR before <> last";
