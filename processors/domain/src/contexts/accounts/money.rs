//! Decisions about deposits, withdrawals and transfers. A transfer is one decision over two accounts: both sides or none.

use millrace_schemas::accounts::{
    DepositMoney, MoneyDeposited, MoneyWithdrawn, TransferMoney, TransferReceived, TransferSent,
    WithdrawMoney,
};

use super::{Account, BALANCE_MAX, Decision, check_amount, check_funds, open, refusals};
use crate::rules::{self, Checked, Text};
use crate::{Emitted, Streams, emit};

const TEXT: Text = Text::new("text", rules::refusals::TEXT_INVALID, 0, 140);

impl Account {
    /// The account after an entry; `amount` is negative for a withdrawal. Decisions bound it; saturating arithmetic only keeps
    /// the function total.
    pub(super) fn moved(self, amount: i64) -> Self {
        let (balance, entries) = (self.balance.saturating_add(amount), self.entries.saturating_add(1));
        Self { balance, entries, ..self }
    }
}

/// Puts money in.
pub(super) fn deposit(account: &Account, command: &DepositMoney) -> Decision {
    let DepositMoney { account_id, transaction_id, amount, currency, text, booked_at } = command.clone();
    rules::id("transaction_id", &transaction_id)?;
    check_movement(amount, &text, booked_at)?;
    check_currency("account_id", account, &currency)?;
    check_room("account_id", account, amount)?;
    let customer_id = account.customer_id.clone();
    let Account { balance, entries: entry, .. } = account.clone().moved(amount);
    Ok(vec![emit(MoneyDeposited {
        account_id,
        customer_id,
        transaction_id,
        amount,
        currency,
        balance,
        entry,
        text,
        booked_at,
    })])
}

/// Takes money out.
pub(super) fn withdraw(account: &Account, command: &WithdrawMoney) -> Decision {
    let WithdrawMoney { account_id, transaction_id, amount, currency, text, booked_at } = command.clone();
    rules::id("transaction_id", &transaction_id)?;
    check_movement(amount, &text, booked_at)?;
    check_currency("account_id", account, &currency)?;
    check_funds(account, amount)?;
    let Account { customer_id, balance, entries: entry, .. } = account.clone().moved(-amount);
    Ok(vec![emit(MoneyWithdrawn {
        account_id,
        customer_id,
        transaction_id,
        amount,
        currency,
        balance,
        entry,
        text,
        booked_at,
    })])
}

/// Moves money from one account to another of the same currency.
pub(super) fn transfer(streams: &Streams<Account>, command: &TransferMoney) -> Decision {
    let TransferMoney { from_account_id, to_account_id, transfer_id, amount, currency, text, booked_at } =
        command;
    let from = open(streams, "from_account_id", from_account_id)?;
    let to = open(streams, "to_account_id", to_account_id)?;
    if from_account_id == to_account_id {
        let message = "from_account_id and to_account_id are the same: name two accounts";
        return Err(refusals::ACCOUNTS_SAME.because(message));
    }
    rules::id("transfer_id", transfer_id)?;
    check_movement(*amount, text, *booked_at)?;
    check_currency("from_account_id", from, currency)?;
    check_currency("to_account_id", to, currency)?;
    check_funds(from, *amount)?;
    check_room("to_account_id", to, *amount)?;
    Ok(vec![sent(from, command), received(to, command)])
}

fn sent(from: &Account, command: &TransferMoney) -> Emitted<super::Event> {
    let TransferMoney { from_account_id, to_account_id, transfer_id, amount, currency, text, booked_at } =
        command.clone();
    let Account { customer_id, balance, entries: entry, .. } = from.clone().moved(-amount);
    emit(TransferSent {
        account_id: from_account_id,
        customer_id,
        transfer_id,
        counterparty: to_account_id,
        amount,
        currency,
        balance,
        entry,
        text,
        booked_at,
    })
}

fn received(to: &Account, command: &TransferMoney) -> Emitted<super::Event> {
    let TransferMoney { from_account_id, to_account_id, transfer_id, amount, currency, text, booked_at } =
        command.clone();
    let Account { customer_id, balance, entries: entry, .. } = to.clone().moved(amount);
    emit(TransferReceived {
        account_id: to_account_id,
        customer_id,
        transfer_id,
        counterparty: from_account_id,
        amount,
        currency,
        balance,
        entry,
        text,
        booked_at,
    })
}

fn check_movement(amount: i64, text: &str, booked_at: i64) -> Checked {
    check_amount("amount", rules::refusals::AMOUNT_INVALID, 1, amount)?;
    TEXT.check(text)?;
    rules::time("booked_at", booked_at)
}

/// Currencies are not exchanged. `field` is the field that names the account.
fn check_currency(field: &str, account: &Account, currency: &str) -> Checked {
    if currency == account.currency {
        return Ok(());
    }
    let (value, expected) = (rules::quoted(currency), &account.currency);
    let message = format!("currency is {value}, but that of {field} is {expected}: send that");
    Err(refusals::CURRENCY_DIFFERS.because(message))
}

fn check_room(field: &str, account: &Account, amount: i64) -> Checked {
    let room = BALANCE_MAX.saturating_sub(account.balance);
    if amount <= room {
        return Ok(());
    }
    let message = format!(
        "amount is {amount}, but {field} takes only {room} more: an account holds at most {BALANCE_MAX} minor units, \
         take another one"
    );
    Err(refusals::BALANCE_TOO_LARGE.because(message))
}
