//! Account statements: every entry of every account in order, each with the balance after it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::account_entries::{Entry, entry};
use super::time;
use crate::{Recorded, View};

pub use super::account_entries::EntryKind;

/// The view of account statements.
#[derive(Debug)]
pub struct AccountStatementView;

/// One entry. It never changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountStatementRow {
    /// The account and the number of the entry, with a hyphen between them.
    pub entry_id: String,
    /// The account.
    pub account_id: String,
    /// Whose account it is.
    pub customer_id: String,
    /// The number among the account's entries: 1, 2, 3, …
    pub entry: i64,
    /// When the money moved.
    pub booked_at: DateTime<Utc>,
    /// The kind of entry.
    pub kind: EntryKind,
    /// Minor units; negative when they went.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// The account's balance after it, in minor units.
    pub balance: i64,
    /// The other account of a transfer.
    pub counterparty: Option<String>,
    /// The transaction or the transfer, as its sender calls it.
    pub reference: String,
    /// What it is for; may be empty.
    pub text: String,
}

impl View for AccountStatementView {
    const NAME: &'static str = "account_statement";
    const CONTEXTS: &'static [&'static str] = &["accounts"];
    const KEY: &'static str = "entry_id";
    const SHARED: bool = false;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = Some(include_str!("mapping.json"));
    const SEARCH: &'static [&'static str] = &["text"];
    const FOLD: u32 = 2;
    type Row = AccountStatementRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        entry(recorded).map(|entry| format!("{}-{}", entry.account_id, entry.number)).into_iter().collect()
    }

    fn evolve(row: AccountStatementRow, key: &str, recorded: &Recorded) -> AccountStatementRow {
        entry(recorded).map_or(row, |entry| AccountStatementRow::of(key, entry))
    }
}

impl AccountStatementRow {
    fn of(key: &str, entry: Entry<'_>) -> Self {
        Self {
            entry_id: key.to_owned(),
            account_id: entry.account_id.to_owned(),
            customer_id: entry.customer_id.to_owned(),
            entry: entry.number,
            booked_at: time(entry.booked_at),
            kind: entry.kind,
            amount: entry.signed(),
            currency: entry.currency.to_owned(),
            balance: entry.balance,
            counterparty: entry.counterparty.map(str::to_owned),
            reference: entry.reference.to_owned(),
            text: entry.text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contexts::accounts::examples::{
        booked, deposited, frozen, held, opened, received, sent, withdrawn,
    };
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, fold_view};
    use crate::views::tests::assert_table_and_mapping;

    #[test]
    fn the_table_and_the_mapping_fit_the_row() {
        assert_table_and_mapping::<AccountStatementView>(&AccountStatementRow::default());
    }

    #[test]
    fn entries_carry_the_balance_on_from_one_to_the_next() {
        let rows = assert_same_rows_in_any_order::<AccountStatementView>(&[
            vec![opened("A1"), deposited("A1", 500, (500, 1), 0), sent("A1", "B2", 550, (-50, 2))],
            vec![opened("B2"), received("B2", "A1", 550, (550, 1)), withdrawn("B2", 50, (500, 2), 3)],
        ]);
        let lines: Vec<(&str, i64, i64)> =
            rows.iter().map(|(key, row)| (key.as_str(), row.amount, row.balance)).collect();
        let expected = [("A1-1", 500, 500), ("A1-2", -550, -50), ("B2-1", 550, 550), ("B2-2", -50, 500)];
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_entry_shows_who_when_and_what_for() {
        let mut rows = fold_view::<AccountStatementView>(&[
            opened("A1"),
            deposited("A1", 500, (500, 1), 7),
            sent("A1", "B2", 550, (-50, 2)),
        ]);
        let row = rows.remove("A1-1").expect("the deposit");
        assert_eq!((row.booked_at, row.kind), (time(booked(7)), EntryKind::Deposit));
        assert_eq!((row.customer_id.as_str(), row.currency.as_str()), ("ANA", "EUR"));
        assert_eq!((row.text.as_str(), row.reference.as_str(), row.counterparty), ("salary", "t1", None));
        let row = rows.remove("A1-2").expect("the transfer");
        assert_eq!((row.reference.as_str(), row.counterparty.as_deref()), ("x1", Some("B2")));
    }

    #[test]
    fn only_money_that_moves_is_an_entry() {
        let events = [opened("A1"), held("A1", "h1", 5), frozen("A1")];
        assert!(fold_view::<AccountStatementView>(&events).is_empty());
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        let rows = fold_view::<AccountStatementView>(&[sent("A1", "B2", 50, (-50, 1))]);
        assert_survives_storage(&rows["A1-1"]);
    }
}
