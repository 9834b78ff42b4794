//! The ledger: double entry. Money that moves is debited to one ledger account and credited to another, so that each
//! event sums to zero. Accounts are what the bank owes their customers: their balance is credit − debit.

use serde::Serialize;

use super::account_entries::EntryKind;
use super::account_entries::{Entry, entry};
use crate::{Recorded, Tally};

/// The tally of postings.
#[derive(Debug)]
pub struct LedgerBalances;

/// What was paid in less what was paid out. Ids of accounts have no small letters, so none is called so.
pub const CASH: &str = "cash";
/// What was sent and not received: nothing, when both sides of every transfer are folded.
pub const TRANSIT: &str = "transit";

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LedgerKey {
    /// An account, or one of the bank's own: `cash` or `transit`.
    pub ledger_account: String,
    /// ISO 4217 code.
    pub currency: String,
}

/// The amounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Posted {
    /// What was debited, in minor units.
    pub debit: i64,
    /// What was credited, in minor units.
    pub credit: i64,
}

impl Tally for LedgerBalances {
    const NAME: &'static str = "ledger_balances";
    const CONTEXTS: &'static [&'static str] = &["accounts"];
    const KEYS: &'static [&'static str] = &["ledger_account", "currency"];
    const AMOUNTS: &'static [&'static str] = &["debit", "credit"];
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    type Key = LedgerKey;
    type Amounts = Posted;

    fn delta(recorded: &Recorded) -> Vec<(LedgerKey, Posted)> {
        entry(recorded).map(|entry| postings(&entry).into()).unwrap_or_default()
    }

    fn add(left: &Posted, right: &Posted) -> Option<Posted> {
        sum!(Posted { debit, credit }, left, right)
    }
}

/// Debit and credit of one entry.
fn postings(entry: &Entry<'_>) -> [(LedgerKey, Posted); 2] {
    let (debited, credited) = match entry.kind {
        EntryKind::Deposit => (CASH, entry.account_id),
        EntryKind::Withdrawal => (entry.account_id, CASH),
        EntryKind::TransferSent => (entry.account_id, TRANSIT),
        EntryKind::TransferReceived => (TRANSIT, entry.account_id),
    };
    let key = |ledger_account: &str| LedgerKey {
        ledger_account: ledger_account.to_owned(),
        currency: entry.currency.to_owned(),
    };
    let amount = entry.amount;
    [
        (key(debited), Posted { debit: amount, credit: 0 }),
        (key(credited), Posted { debit: 0, credit: amount }),
    ]
}

#[cfg(test)]
mod tests {
    use millrace_schemas::Event;

    use super::*;
    use crate::contexts::accounts::examples::{deposited, held, opened, received, sent, transfer, withdrawn};
    use crate::testing::{assert_same_sums_in_any_order, fold_tally, recorded};
    use crate::views::tests::{and_version, columns, fields};

    /// Debit and credit by ledger account.
    fn posted(events: &[Event]) -> Vec<(String, i64, i64)> {
        let row = |(key, sum): (LedgerKey, Posted)| (key.ledger_account, sum.debit, sum.credit);
        fold_tally::<LedgerBalances>(events).into_iter().map(row).collect()
    }

    fn row(ledger_account: &str, debit: i64, credit: i64) -> (String, i64, i64) {
        (ledger_account.into(), debit, credit)
    }

    #[test]
    fn the_table_has_the_keys_and_amounts_in_order() {
        let (key, amounts) = &LedgerBalances::delta(&recorded(&deposited("A1", 5, (5, 1), 0), 1))[0];
        let (key, amounts) = (fields(key), fields(amounts));
        assert_eq!(key, LedgerBalances::KEYS);
        assert_eq!(amounts, LedgerBalances::AMOUNTS);
        assert_eq!(columns(LedgerBalances::TABLE), and_version([key, amounts].concat()));
    }

    #[test]
    fn every_entry_is_debited_and_credited_alike() {
        for event in [
            deposited("A1", 500, (500, 1), 0),
            withdrawn("A1", 500, (0, 2), 0),
            sent("A1", "B2", 500, (-500, 3)),
            received("A1", "B2", 500, (0, 4)),
        ] {
            let postings = LedgerBalances::delta(&recorded(&event, 1));
            let sum: i64 = postings.iter().map(|(_, posted)| posted.debit - posted.credit).sum();
            assert_eq!((postings.len(), sum), (2, 0), "{event:?}");
        }
    }

    #[test]
    fn money_that_is_paid_in_is_in_cash_and_money_on_its_way_in_transit() {
        let events = [
            opened("A1"),
            deposited("A1", 500, (500, 1), 0),
            held("A1", "h1", 5),
            withdrawn("A1", 200, (300, 2), 0),
            sent("A1", "B2", 100, (200, 3)),
        ];
        let expected = [row("A1", 300, 500), row("cash", 500, 200), row("transit", 0, 100)];
        assert_eq!(posted(&events), expected);
        let arrived = [&events[..], &[received("B2", "A1", 100, (100, 1))]].concat();
        let expected =
            [row("A1", 300, 500), row("B2", 0, 100), row("cash", 500, 200), row("transit", 100, 100)];
        assert_eq!(posted(&arrived), expected);
    }

    #[test]
    fn the_sums_are_the_same_in_any_order() {
        assert_same_sums_in_any_order::<LedgerBalances>(&transfer());
    }

    #[test]
    fn a_sum_that_does_not_fit_is_none() {
        let most = Posted { debit: i64::MAX, credit: 0 };
        assert_eq!(LedgerBalances::add(&most, &Posted { debit: 1, credit: 0 }), None);
    }
}
