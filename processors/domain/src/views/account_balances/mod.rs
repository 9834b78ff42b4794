//! Account balances: balance, holds and status of each account.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::accounts::{AccountOpened, Event as Accounts};
use serde::{Deserialize, Serialize};

use super::account_entries::of_account;
use super::time;
use crate::{Recorded, View};

/// The view of account balances.
#[derive(Debug)]
pub struct AccountBalanceView;

/// Where an account stands, as readers see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountStatus {
    /// Open.
    #[default]
    Open,
    /// Frozen: no command is accepted until it is unfrozen.
    Frozen,
    /// Closed.
    Closed,
}

/// One account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountBalanceRow {
    /// The account.
    pub account_id: String,
    /// The customer who owns it.
    pub customer_id: String,
    /// Its number, with check digits.
    pub number: String,
    /// `current` or `savings`.
    pub kind: String,
    /// ISO 4217 code.
    pub currency: String,
    /// The balance in minor units.
    pub balance: i64,
    /// The held part.
    pub held: i64,
    /// The part that is not held, without the overdraft.
    pub available: i64,
    /// How far below 0 the available money may go.
    pub overdraft: i64,
    /// Its status.
    pub status: AccountStatus,
    /// The number of entries.
    pub entries: i64,
    /// All that ever came, in minor units.
    pub amount_in: i64,
    /// All that ever went, in minor units.
    pub amount_out: i64,
    /// When money last moved on it.
    pub last_booked_at: Option<DateTime<Utc>>,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// When it was closed.
    pub closed_at: Option<DateTime<Utc>>,
}

impl View for AccountBalanceView {
    const NAME: &'static str = "account_balances";
    const CONTEXTS: &'static [&'static str] = &["accounts"];
    const KEY: &'static str = "account_id";
    const SHARED: bool = false;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = Some(include_str!("mapping.json"));
    const FOLD: u32 = 2;
    type Row = AccountBalanceRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        match &recorded.event {
            Event::Accounts(_) => vec![recorded.stream.clone()],
            _ => Vec::new(),
        }
    }

    fn evolve(row: AccountBalanceRow, key: &str, recorded: &Recorded) -> AccountBalanceRow {
        let row = AccountBalanceRow { account_id: key.to_owned(), ..row };
        match &recorded.event {
            Event::Accounts(event) => row.after(event).counted(),
            _ => row,
        }
    }
}

impl AccountBalanceRow {
    fn after(self, event: &Accounts) -> Self {
        match event {
            Accounts::AccountOpened(event) => self.opened(event.clone()),
            Accounts::MoneyDeposited(_)
            | Accounts::MoneyWithdrawn(_)
            | Accounts::TransferReceived(_)
            | Accounts::TransferSent(_) => self.moved(event),
            Accounts::MoneyHeld(event) => Self { held: self.held.wrapping_add(event.amount), ..self },
            Accounts::HoldReleased(event) => Self { held: self.held.wrapping_sub(event.amount), ..self },
            Accounts::AccountFrozen(_) => Self { status: AccountStatus::Frozen, ..self },
            Accounts::AccountUnfrozen(_) => Self { status: AccountStatus::Open, ..self },
            Accounts::AccountClosed(event) => {
                Self { status: AccountStatus::Closed, closed_at: Some(time(event.closed_at)), ..self }
            }
        }
    }

    fn opened(self, event: AccountOpened) -> Self {
        let AccountOpened { account_id: _, customer_id, number, kind, currency, overdraft, opened_at } =
            event;
        Self { customer_id, number, kind, currency, overdraft, opened_at: time(opened_at), ..self }
    }

    /// The sum of the amounts, not the balance that the event states: the two are compared. The context bounds both;
    /// wrapping only keeps this total.
    fn moved(self, event: &Accounts) -> Self {
        let Some(entry) = of_account(event) else { return self };
        let signed = entry.signed();
        Self {
            balance: self.balance.wrapping_add(signed),
            entries: self.entries.wrapping_add(1),
            amount_in: self.amount_in.wrapping_add(signed.max(0)),
            amount_out: self.amount_out.wrapping_sub(signed.min(0)),
            last_booked_at: self.last_booked_at.max(Some(time(entry.booked_at))),
            ..self
        }
    }

    fn counted(self) -> Self {
        Self { available: self.balance.wrapping_sub(self.held), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contexts::accounts::examples::{
        booked, closed, deposited, frozen, held, opened, received, released, sent, unfrozen, withdrawn,
    };
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, fold_view};
    use crate::views::tests::assert_table_and_mapping;

    fn row_after(events: &[Event]) -> AccountBalanceRow {
        fold_view::<AccountBalanceView>(events).remove("A1").expect("the account")
    }

    #[test]
    fn the_table_and_the_mapping_fit_the_row() {
        assert_table_and_mapping::<AccountBalanceView>(&AccountBalanceRow::default());
    }

    #[test]
    fn an_opened_account_shows_whose_it_is_and_what_was_agreed() {
        let row = row_after(&[opened("A1")]);
        assert_eq!(
            (row.customer_id.as_str(), row.kind.as_str(), row.currency.as_str()),
            ("ANA", "savings", "EUR")
        );
        assert_eq!((row.number.as_str(), row.overdraft, row.balance), ("A186", 100, 0));
        assert_eq!((row.status, row.opened_at, row.closed_at), (AccountStatus::Open, time(booked(0)), None));
    }

    #[test]
    fn the_balance_is_what_came_less_what_went() {
        let row = row_after(&[
            opened("A1"),
            deposited("A1", 500, (500, 1), 0),
            withdrawn("A1", 200, (300, 2), 0),
            sent("A1", "B2", 350, (-50, 3)),
            received("A1", "B2", 60, (10, 4)),
        ]);
        assert_eq!((row.balance, row.available, row.entries), (10, 10, 4));
        assert_eq!((row.amount_in, row.amount_out), (560, 550));
    }

    #[test]
    fn money_last_moved_on_the_latest_day_in_whatever_order_it_was_booked() {
        let last = |events: &[Event]| row_after(events).last_booked_at;
        let events = [opened("A1"), deposited("A1", 500, (500, 1), 3), withdrawn("A1", 200, (300, 2), 2)];
        assert_eq!(
            [1, 2, 3].map(|count| last(&events[..count])),
            [None, Some(time(booked(3))), Some(time(booked(3)))]
        );
    }

    #[test]
    fn held_money_is_on_the_account_and_not_available() {
        let mut events = vec![opened("A1"), deposited("A1", 500, (500, 1), 0), held("A1", "h1", 300)];
        events.push(held("A1", "h2", 250));
        let row = row_after(&events);
        assert_eq!((row.balance, row.held, row.available), (500, 550, -50));
        events.push(released("A1", "h1", 300));
        let row = row_after(&events);
        assert_eq!((row.balance, row.held, row.available), (500, 250, 250));
    }

    #[test]
    fn an_account_is_open_frozen_or_closed_and_shows_when_it_was_closed() {
        let events = [opened("A1"), frozen("A1"), unfrozen("A1"), closed("A1")];
        let status = |count: usize| row_after(&events[..count]).status;
        let expected =
            [AccountStatus::Open, AccountStatus::Frozen, AccountStatus::Open, AccountStatus::Closed];
        assert_eq!([1, 2, 3, 4].map(status), expected);
        assert_eq!(row_after(&events).closed_at, Some(time(booked(9))));
    }

    #[test]
    fn accounts_do_not_touch_each_other_though_they_pay_each_other() {
        let rows = assert_same_rows_in_any_order::<AccountBalanceView>(&[
            vec![opened("A1"), deposited("A1", 500, (500, 1), 0), sent("A1", "B2", 350, (150, 2))],
            vec![opened("B2"), received("B2", "A1", 350, (350, 1)), frozen("B2")],
        ]);
        let balances: Vec<i64> = rows.values().map(|row| row.balance).collect();
        assert_eq!(balances, [150, 350]);
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        assert_survives_storage(&row_after(&[opened("A1"), held("A1", "h1", 5), closed("A1")]));
    }
}
