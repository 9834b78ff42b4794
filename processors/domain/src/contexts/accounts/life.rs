//! Decisions about an account as a whole: it is opened, frozen, unfrozen and closed.

use millrace_schemas::accounts::{
    AccountClosed, AccountFrozen, AccountOpened, AccountUnfrozen, CloseAccount, FreezeAccount,
    MoneyDeposited, OpenAccount, UnfreezeAccount,
};

use super::number::{account_number, check_id};
use super::{Account, Decision, REASON, Status, check_amount, known, refusals};
use crate::contexts::customers::{self, Customers};
use crate::rules::{self, Checked};
use crate::{Reference, References, Rejection, Streams, emit};

const KINDS: [&str; 2] = ["current", "savings"];
/// The transaction id of a first deposit.
const OPENING: &str = "opening";

/// The customer. A malformed command refers to nothing, since it is rejected anyway.
pub(super) fn references(command: &OpenAccount) -> Vec<Reference> {
    check(command).map_or_else(|_| Vec::new(), |()| vec![Reference::to::<Customers>(&command.customer_id)])
}

/// Opens an account; a first deposit is its first entry.
pub(super) fn open(streams: &Streams<Account>, references: &References, command: &OpenAccount) -> Decision {
    check(command)?;
    if streams.get(&command.account_id).is_some() {
        return Err(exists(&command.account_id));
    }
    references.check::<Customers>(
        customers::refusals::CUSTOMER_MISSING,
        "customer_id",
        &command.customer_id,
    )?;
    let deposit = (command.initial_balance > 0).then(|| emit(first_deposit(command)));
    let OpenAccount { account_id, customer_id, kind, currency, overdraft, opened_at, .. } = command.clone();
    let number = account_number(&account_id);
    let opened = AccountOpened { account_id, customer_id, number, kind, currency, overdraft, opened_at };
    Ok([emit(opened)].into_iter().chain(deposit).collect())
}

fn first_deposit(command: &OpenAccount) -> MoneyDeposited {
    let OpenAccount { account_id, customer_id, currency, initial_balance: amount, opened_at, .. } =
        command.clone();
    MoneyDeposited {
        account_id,
        customer_id,
        transaction_id: OPENING.to_owned(),
        amount,
        currency,
        balance: amount,
        entry: 1,
        text: String::new(),
        booked_at: opened_at,
    }
}

fn check(command: &OpenAccount) -> Checked {
    check_id("account_id", &command.account_id)?;
    rules::id("customer_id", &command.customer_id)?;
    check_kind(&command.kind)?;
    rules::currency(&command.currency)?;
    check_amount("initial_balance", refusals::INITIAL_BALANCE_INVALID, 0, command.initial_balance)?;
    check_amount("overdraft", refusals::OVERDRAFT_INVALID, 0, command.overdraft)?;
    rules::time("opened_at", command.opened_at)
}

fn check_kind(kind: &str) -> Checked {
    if KINDS.contains(&kind) {
        return Ok(());
    }
    let (kind, kinds) = (rules::quoted(kind), KINDS.join(" or "));
    Err(refusals::KIND_INVALID.because(format!("kind is {kind}: send {kinds}")))
}

/// Freezes an open account.
pub(super) fn freeze(account: &Account, command: &FreezeAccount) -> Decision {
    let FreezeAccount { account_id, reason } = command.clone();
    REASON.check(&reason)?;
    let customer_id = account.customer_id.clone();
    Ok(vec![emit(AccountFrozen { account_id, customer_id, reason })])
}

/// Unfreezes a frozen account.
pub(super) fn unfreeze(streams: &Streams<Account>, command: &UnfreezeAccount) -> Decision {
    let UnfreezeAccount { account_id, reason } = command.clone();
    let account = known(streams, "account_id", &account_id)?;
    if account.status != Status::Frozen {
        let id = rules::quoted(&account_id);
        let message = format!("account_id {id} is not frozen: only a frozen account can be unfrozen");
        return Err(refusals::ACCOUNT_NOT_FROZEN.because(message));
    }
    REASON.check(&reason)?;
    let customer_id = account.customer_id.clone();
    Ok(vec![emit(AccountUnfrozen { account_id, customer_id, reason })])
}

/// Closes an open account with balance 0 and without holds.
pub(super) fn close(account: &Account, command: &CloseAccount) -> Decision {
    let CloseAccount { account_id, closed_at } = command.clone();
    rules::time("closed_at", closed_at)?;
    if account.balance != 0 {
        let balance = account.balance;
        let message = format!("the balance is {balance}: withdraw, deposit or transfer until it is 0");
        return Err(refusals::BALANCE_NOT_ZERO.because(message));
    }
    if !account.holds.is_empty() {
        let count = account.holds.len();
        return Err(refusals::HOLDS_OPEN.because(format!("{count} holds are open: release them first")));
    }
    let customer_id = account.customer_id.clone();
    Ok(vec![emit(AccountClosed { account_id, customer_id, closed_at })])
}

fn exists(account_id: &str) -> Rejection {
    let id = rules::quoted(account_id);
    refusals::ACCOUNT_EXISTS.because(format!("account_id {id} was already opened: take another id"))
}
