//! Events of accounts for tests, as events of the context or of the contract.

use millrace_schemas::accounts::{
    AccountClosed, AccountFrozen, AccountOpened, AccountUnfrozen, Event, HoldReleased, MoneyDeposited,
    MoneyHeld, MoneyWithdrawn, TransferReceived, TransferSent,
};

use super::account_number;
use crate::testing::strings;

const JULY_4_2024: i64 = 1_720_051_200_000_000;
const CUSTOMER: &str = "ANA";

/// An account of ANA in euros, with an overdraft of 1.00, opened at the beginning of 4 July 2024.
pub(crate) fn opened<E: From<Event>>(account_id: &str) -> E {
    let number = account_number(account_id);
    let [account_id, customer_id, kind, currency] = strings([account_id, CUSTOMER, "savings", "EUR"]);
    let opened_at = JULY_4_2024;
    let opened = AccountOpened { account_id, customer_id, number, kind, currency, overdraft: 100, opened_at };
    Event::from(opened).into()
}

/// An entry of an account of ANA in euros: its four events spell most fields alike.
macro_rules! entry {
    ($record:ident { $($own:ident: $value:expr),* }, $account_id:expr, $amount:expr, $after:expr, $days:expr, $text:literal) => {{
        let [account_id, customer_id, currency, text] = strings([$account_id, CUSTOMER, "EUR", $text]);
        let ((balance, entry), booked_at, amount) = ($after, booked($days), $amount);
        let entry = $record {
            account_id,
            customer_id,
            amount,
            currency,
            balance,
            entry,
            text,
            booked_at,
            $($own: $value.to_owned(),)*
        };
        Event::from(entry).into()
    }};
}

/// `after` is the balance and the number of the entry, here and below; each is booked so many days after 4 July.
pub(crate) fn deposited<E: From<Event>>(account_id: &str, amount: i64, after: (i64, i64), days: i64) -> E {
    entry!(MoneyDeposited { transaction_id: "t1" }, account_id, amount, after, days, "salary")
}

pub(crate) fn withdrawn<E: From<Event>>(account_id: &str, amount: i64, after: (i64, i64), days: i64) -> E {
    entry!(MoneyWithdrawn { transaction_id: "t2" }, account_id, amount, after, days, "rent")
}

pub(crate) fn sent<E: From<Event>>(from: &str, to: &str, amount: i64, after: (i64, i64)) -> E {
    entry!(TransferSent { transfer_id: "x1", counterparty: to }, from, amount, after, 0, "lunch")
}

pub(crate) fn received<E: From<Event>>(to: &str, from: &str, amount: i64, after: (i64, i64)) -> E {
    entry!(TransferReceived { transfer_id: "x1", counterparty: from }, to, amount, after, 0, "lunch")
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
