//! Account analytics: number and amount of entries, by day and kind.

use chrono::NaiveDate;
use serde::Serialize;

use super::account_entries::EntryKind;
use super::account_entries::{Entry, entry};
use super::time;
use crate::{Recorded, Tally};

/// The tally of entries.
#[derive(Debug)]
pub struct AccountAnalytics;

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AnalyticsKey {
    /// Whose account it is.
    pub customer_id: String,
    /// The account.
    pub account_id: String,
    /// ISO 4217 code.
    pub currency: String,
    /// The day on which the money moved, UTC.
    pub day: NaiveDate,
    /// The kind of entry.
    pub kind: EntryKind,
}

/// The amounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// The number of entries.
    pub entries: i64,
    /// Credited money, in minor units.
    pub amount_in: i64,
    /// Debited money, in minor units.
    pub amount_out: i64,
}

impl Tally for AccountAnalytics {
    const NAME: &'static str = "account_analytics";
    const CONTEXTS: &'static [&'static str] = &["accounts"];
    const KEYS: &'static [&'static str] = &["customer_id", "account_id", "currency", "day", "kind"];
    const AMOUNTS: &'static [&'static str] = &["entries", "amount_in", "amount_out"];
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    type Key = AnalyticsKey;
    type Amounts = Flow;

    fn delta(recorded: &Recorded) -> Vec<(AnalyticsKey, Flow)> {
        entry(recorded).map(|entry| (key(&entry), flow(&entry))).into_iter().collect()
    }

    fn add(left: &Flow, right: &Flow) -> Option<Flow> {
        sum!(Flow { entries, amount_in, amount_out }, left, right)
    }
}

fn key(entry: &Entry<'_>) -> AnalyticsKey {
    AnalyticsKey {
        customer_id: entry.customer_id.to_owned(),
        account_id: entry.account_id.to_owned(),
        currency: entry.currency.to_owned(),
        day: time(entry.booked_at).date_naive(),
        kind: entry.kind,
    }
}

fn flow(entry: &Entry<'_>) -> Flow {
    let (amount_in, amount_out) = match entry.kind {
        EntryKind::Deposit | EntryKind::TransferReceived => (entry.amount, 0),
        EntryKind::Withdrawal | EntryKind::TransferSent => (0, entry.amount),
    };
    Flow { entries: 1, amount_in, amount_out }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::Event;

    use super::*;
    use crate::contexts::accounts::examples::{deposited, held, opened, received, sent, transfer, withdrawn};
    use crate::testing::{assert_same_sums_in_any_order, fold_tally, recorded};
    use crate::views::tests::{and_version, columns, fields};

    /// Account, day, kind; entries, what came and what went.
    fn flows(events: &[Event]) -> Vec<(String, String, EntryKind, [i64; 3])> {
        let row = |(key, flow): (AnalyticsKey, Flow)| {
            (key.account_id, key.day.to_string(), key.kind, [flow.entries, flow.amount_in, flow.amount_out])
        };
        fold_tally::<AccountAnalytics>(events).into_iter().map(row).collect()
    }

    fn row(
        account: &str,
        day: &str,
        kind: EntryKind,
        sums: [i64; 3],
    ) -> (String, String, EntryKind, [i64; 3]) {
        (account.into(), day.into(), kind, sums)
    }

    #[test]
    fn the_table_has_the_keys_and_amounts_in_order() {
        let delta = AccountAnalytics::delta(&recorded(&deposited("A1", 5, (5, 1), 0), 1));
        let (key, amounts) = (fields(&delta[0].0), fields(&delta[0].1));
        assert_eq!(key, AccountAnalytics::KEYS);
        assert_eq!(amounts, AccountAnalytics::AMOUNTS);
        assert_eq!(columns(AccountAnalytics::TABLE), and_version([key, amounts].concat()));
    }

    #[test]
    fn entries_are_added_by_the_day_they_were_booked_on_and_by_kind() {
        let events = [
            opened("A1"),
            deposited("A1", 500, (500, 1), 0),
            deposited("A1", 100, (600, 2), 0),
            held("A1", "h1", 5),
            withdrawn("A1", 200, (400, 3), 0),
            withdrawn("A1", 150, (250, 4), 1),
            sent("A1", "B2", 50, (200, 5)),
            received("B2", "A1", 50, (50, 1)),
        ];
        let expected = [
            row("A1", "2024-07-04", EntryKind::Deposit, [2, 600, 0]),
            row("A1", "2024-07-04", EntryKind::Withdrawal, [1, 0, 200]),
            row("A1", "2024-07-04", EntryKind::TransferSent, [1, 0, 50]),
            row("A1", "2024-07-05", EntryKind::Withdrawal, [1, 0, 150]),
            row("B2", "2024-07-04", EntryKind::TransferReceived, [1, 50, 0]),
        ];
        assert_eq!(flows(&events), expected);
    }

    #[test]
    fn the_sums_are_the_same_in_any_order() {
        assert_same_sums_in_any_order::<AccountAnalytics>(&transfer());
    }

    #[test]
    fn a_sum_that_does_not_fit_is_none() {
        let most = Flow { amount_in: i64::MAX, ..Flow::default() };
        assert_eq!(AccountAnalytics::add(&most, &Flow { amount_in: 1, ..most }), None);
    }
}
