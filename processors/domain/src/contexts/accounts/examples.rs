//! What happens to accounts in tests: as an event of the context or of the whole contract, as the test needs it.

use millrace_schemas::accounts::{
    AccountClosed, AccountFrozen, AccountOpened, AccountUnfrozen, Event, HoldReleased, MoneyDeposited,
    MoneyHeld, MoneyWithdrawn, TransferReceived, TransferSent,
};

use super::account_number;

const JULY_4_2024: i64 = 1_720_051_200_000_000;
const CUSTOMER: &str = "ANA";

fn strings<const N: usize>(texts: [&str; N]) -> [String; N] {
    texts.map(str::to_owned)
}

/// An account of ANA in euros, with an overdraft of 1.00, opened at the beginning of 4 July 2024.
pub(crate) fn opened<E: From<Event>>(account_id: &str) -> E {
    let number = account_number(account_id);
    let [account_id, customer_id, kind, currency] = strings([account_id, CUSTOMER, "savings", "EUR"]);
    let opened_at = JULY_4_2024;
    let opened = AccountOpened { account_id, customer_id, number, kind, currency, overdraft: 100, opened_at };
    Event::from(opened).into()
}

/// `after` is the balance and the number of the entry, here and below; each is booked so many days after 4 July.
pub(crate) fn deposited<E: From<Event>>(account_id: &str, amount: i64, after: (i64, i64), days: i64) -> E {
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
    Event::from(deposited).into()
}

pub(crate) fn withdrawn<E: From<Event>>(account_id: &str, amount: i64, after: (i64, i64), days: i64) -> E {
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
    Event::from(withdrawn).into()
}

pub(crate) fn sent<E: From<Event>>(from: &str, to: &str, amount: i64, after: (i64, i64)) -> E {
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
    Event::from(sent).into()
}

pub(crate) fn received<E: From<Event>>(to: &str, from: &str, amount: i64, after: (i64, i64)) -> E {
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
    Event::from(received).into()
}

pub(crate) fn held<E: From<Event>>(account_id: &str, hold_id: &str, amount: i64) -> E {
    let [account_id, customer_id, hold_id, currency, reason] =
        strings([account_id, CUSTOMER, hold_id, "EUR", "hotel"]);
    Event::from(MoneyHeld { account_id, customer_id, hold_id, amount, currency, reason }).into()
}

pub(crate) fn released<E: From<Event>>(account_id: &str, hold_id: &str, amount: i64) -> E {
    let [account_id, customer_id, hold_id, currency] = strings([account_id, CUSTOMER, hold_id, "EUR"]);
    Event::from(HoldReleased { account_id, customer_id, hold_id, amount, currency }).into()
}

pub(crate) fn frozen<E: From<Event>>(account_id: &str) -> E {
    let [account_id, customer_id, reason] = strings([account_id, CUSTOMER, "court order"]);
    Event::from(AccountFrozen { account_id, customer_id, reason }).into()
}

pub(crate) fn unfrozen<E: From<Event>>(account_id: &str) -> E {
    let [account_id, customer_id, reason] = strings([account_id, CUSTOMER, "settled"]);
    Event::from(AccountUnfrozen { account_id, customer_id, reason }).into()
}

pub(crate) fn closed<E: From<Event>>(account_id: &str) -> E {
    let [account_id, customer_id] = strings([account_id, CUSTOMER]);
    Event::from(AccountClosed { account_id, customer_id, closed_at: booked(9) }).into()
}

/// The streams of two accounts of which one pays the other.
pub(crate) fn transfer<E: From<Event>>() -> [Vec<E>; 2] {
    [
        vec![opened("A1"), deposited("A1", 500, (500, 1), 0), sent("A1", "B2", 50, (450, 2))],
        vec![opened("B2"), received("B2", "A1", 50, (50, 1))],
    ]
}

/// Microseconds of so many days after 4 July 2024.
pub(crate) fn booked(days: i64) -> i64 {
    JULY_4_2024 + days * 86_400_000_000
}
