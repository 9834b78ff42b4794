//! Entries of accounts, as the views of accounts read them.

use millrace_schemas::Event;
use millrace_schemas::accounts::Event as Accounts;
use serde::{Deserialize, Serialize};

use crate::Recorded;

/// The kind of an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Money that was paid in.
    #[default]
    Deposit,
    /// Money that was paid out.
    Withdrawal,
    /// To another account.
    TransferSent,
    /// From another account.
    TransferReceived,
}

/// One entry, whichever event it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'e> {
    pub(super) account_id: &'e str,
    pub(super) customer_id: &'e str,
    /// Its number among the account's entries.
    pub(super) number: i64,
    pub(super) kind: EntryKind,
    /// Minor units, more than 0 whether they came or went.
    pub(super) amount: i64,
    pub(super) currency: &'e str,
    /// The account's balance after it.
    pub(super) balance: i64,
    /// The other account of a transfer.
    pub(super) counterparty: Option<&'e str>,
    /// The transaction or the transfer.
    pub(super) reference: &'e str,
    pub(super) text: &'e str,
    /// Microseconds since 1970.
    pub(super) booked_at: i64,
}

impl Entry<'_> {
    /// What it adds to the account's balance. The context bounds amounts, so no sign is lost.
    pub(super) fn signed(&self) -> i64 {
        match self.kind {
            EntryKind::Deposit | EntryKind::TransferReceived => self.amount,
            EntryKind::Withdrawal | EntryKind::TransferSent => self.amount.wrapping_neg(),
        }
    }
}

/// The entry of an event: its four events spell most fields alike.
macro_rules! entry {
    ($event:ident, $kind:ident, $counterparty:expr, $reference:ident) => {
        Entry {
            account_id: &$event.account_id,
            customer_id: &$event.customer_id,
            number: $event.entry,
            kind: EntryKind::$kind,
            amount: $event.amount,
            currency: &$event.currency,
            balance: $event.balance,
            counterparty: $counterparty,
            reference: &$event.$reference,
            text: &$event.text,
            booked_at: $event.booked_at,
        }
    };
}

/// The entry that an event is, when money came or went.
pub(super) fn entry(recorded: &Recorded) -> Option<Entry<'_>> {
    match &recorded.event {
        Event::Accounts(event) => of_account(event),
        _ => None,
    }
}

pub(super) fn of_account(event: &Accounts) -> Option<Entry<'_>> {
    match event {
        Accounts::MoneyDeposited(event) => Some(entry!(event, Deposit, None, transaction_id)),
        Accounts::MoneyWithdrawn(event) => Some(entry!(event, Withdrawal, None, transaction_id)),
        Accounts::TransferSent(event) => {
            Some(entry!(event, TransferSent, Some(event.counterparty.as_str()), transfer_id))
        }
        Accounts::TransferReceived(event) => {
            Some(entry!(event, TransferReceived, Some(event.counterparty.as_str()), transfer_id))
        }
        Accounts::AccountClosed(_)
        | Accounts::AccountFrozen(_)
        | Accounts::AccountOpened(_)
        | Accounts::AccountUnfrozen(_)
        | Accounts::HoldReleased(_)
        | Accounts::MoneyHeld(_) => None,
    }
}
