//! What happens to accounts in the tests of their views.

use millrace_schemas::accounts::{
    AccountClosed, AccountFrozen, AccountOpened, AccountUnfrozen, HoldReleased, MoneyHeld,
};

use super::*;
use crate::contexts::accounts::account_number;

const JULY_4_2024: i64 = 1_720_051_200_000_000;
const CUSTOMER: &str = "ANA";

fn strings<const N: usize>(texts: [&str; N]) -> [String; N] {
    texts.map(str::to_owned)
}

/// An account of ANA in euros, with an overdraft of 1.00, opened at the beginning of 4 July 2024.
pub(in crate::views) fn opened(account_id: &str) -> Event {
    let number = account_number(account_id);
    let [account_id, customer_id, kind, currency] = strings([account_id, CUSTOMER, "savings", "EUR"]);
    let opened_at = JULY_4_2024;
    let opened = AccountOpened { account_id, customer_id, number, kind, currency, overdraft: 100, opened_at };
    Event::Accounts(opened.into())
}

/// `after` is the balance and the number of the entry, here and below; each is booked so many days after 4 July.
pub(in crate::views) fn deposited(account_id: &str, amount: i64, after: (i64, i64), days: i64) -> Event {
    let [account_id, customer_id, transaction_id, currency, text] =
        strings([account_id, CUSTOMER, "t1", "EUR", "salary"]);
    let ((balance, entry), booked_at) = (after, booked(days));
    let deposited = MoneyDeposited {
        account_id,
        customer_id,
        transaction_id,
        amount,
        currency,
        balance,
        entry,
        text,
        booked_at,
    };
    Event::Accounts(deposited.into())
}

pub(in crate::views) fn withdrawn(account_id: &str, amount: i64, after: (i64, i64), days: i64) -> Event {
    let [account_id, customer_id, transaction_id, currency, text] =
        strings([account_id, CUSTOMER, "t2", "EUR", "rent"]);
    let ((balance, entry), booked_at) = (after, booked(days));
    let withdrawn = MoneyWithdrawn {
        account_id,
        customer_id,
        transaction_id,
        amount,
        currency,
        balance,
        entry,
        text,
        booked_at,
    };
    Event::Accounts(withdrawn.into())
}

pub(in crate::views) fn sent(from: &str, to: &str, amount: i64, after: (i64, i64)) -> Event {
    let [account_id, counterparty, customer_id, transfer_id, currency, text] =
        strings([from, to, CUSTOMER, "x1", "EUR", "lunch"]);
    let ((balance, entry), booked_at) = (after, booked(0));
    let sent = TransferSent {
        account_id,
        customer_id,
        transfer_id,
        counterparty,
        amount,
        currency,
        balance,
        entry,
        text,
        booked_at,
    };
    Event::Accounts(sent.into())
}

pub(in crate::views) fn received(to: &str, from: &str, amount: i64, after: (i64, i64)) -> Event {
    let [account_id, counterparty, customer_id, transfer_id, currency, text] =
        strings([to, from, CUSTOMER, "x1", "EUR", "lunch"]);
    let ((balance, entry), booked_at) = (after, booked(0));
    let received = TransferReceived {
        account_id,
        customer_id,
        transfer_id,
        counterparty,
        amount,
        currency,
        balance,
        entry,
        text,
        booked_at,
    };
    Event::Accounts(received.into())
}

pub(in crate::views) fn held(account_id: &str, hold_id: &str, amount: i64) -> Event {
    let [account_id, customer_id, hold_id, currency, reason] =
        strings([account_id, CUSTOMER, hold_id, "EUR", "hotel"]);
    Event::Accounts(MoneyHeld { account_id, customer_id, hold_id, amount, currency, reason }.into())
}

pub(in crate::views) fn released(account_id: &str, hold_id: &str, amount: i64) -> Event {
    let [account_id, customer_id, hold_id, currency] = strings([account_id, CUSTOMER, hold_id, "EUR"]);
    Event::Accounts(HoldReleased { account_id, customer_id, hold_id, amount, currency }.into())
}

pub(in crate::views) fn frozen(account_id: &str) -> Event {
    let [account_id, customer_id, reason] = strings([account_id, CUSTOMER, "court order"]);
    Event::Accounts(AccountFrozen { account_id, customer_id, reason }.into())
}

pub(in crate::views) fn unfrozen(account_id: &str) -> Event {
    let [account_id, customer_id, reason] = strings([account_id, CUSTOMER, "settled"]);
    Event::Accounts(AccountUnfrozen { account_id, customer_id, reason }.into())
}

pub(in crate::views) fn closed(account_id: &str) -> Event {
    let [account_id, customer_id] = strings([account_id, CUSTOMER]);
    Event::Accounts(AccountClosed { account_id, customer_id, closed_at: booked(9) }.into())
}

/// Microseconds of so many days after 4 July 2024.
pub(in crate::views) fn booked(days: i64) -> i64 {
    JULY_4_2024 + days * 86_400_000_000
}
