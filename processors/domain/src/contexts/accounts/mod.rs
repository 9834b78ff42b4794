//! Bank accounts: balances, holds, and transfers.
//!
//! available = balance − holds ≥ −overdraft, after every event. Nothing happens to a frozen account until it is unfrozen,
//! not even the release of a hold: a freeze keeps everything as it was found.

#[cfg(test)]
pub(crate) mod examples;
mod holds;
mod life;
mod money;
mod number;
mod refusals;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use millrace_schemas::Message;
use millrace_schemas::accounts::{AccountOpened, Command, Event, TransferMoney};
use serde::{Deserialize, Serialize};

use crate::rules::{self, Checked, Text};
use crate::{Context, Emitted, Reference, References, Refusal, Rejection, Streams};

pub use holds::HOLDS_MAX;
pub use number::account_number;

/// One entry may move this much, and an account may be overdrawn by this much, in minor units: sums over millions of
/// entries still fit 64 bits.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000;
/// An account may hold this much, for the same reason.
pub const BALANCE_MAX: i64 = 1_000_000_000_000_000;

const REASON: Text = Text::new("reason", rules::refusals::REASON_INVALID, 1, 500);

/// The context of bank accounts; a stream is one account.
#[derive(Debug)]
pub struct Accounts;

/// An account. Always balance − held ≥ −overdraft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its status.
    pub status: Status,
    /// The customer who owns it.
    pub customer_id: String,
    /// ISO 4217 code of its money.
    pub currency: String,
    /// How far below 0 it may go, in minor units.
    pub overdraft: i64,
    /// The balance, held money included, in minor units.
    pub balance: i64,
    /// The holds and their amounts.
    pub holds: BTreeMap<String, i64>,
    /// The number of entries.
    pub entries: i64,
}

/// The status of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Open.
    Open,
    /// Frozen: no command is accepted until it is unfrozen.
    Frozen,
    /// Closed.
    Closed,
}

type Decision = Result<Vec<Emitted<Event>>, Rejection>;

impl Context for Accounts {
    const NAME: &'static str = "accounts";
    const STATE_VERSION: i32 = 1;
    const REFUSALS: &[Refusal] = refusals::ALL;
    type State = Account;
    type Command = Command;
    type Event = Event;
    // No other context refers to an account.
    type Public = ();

    fn streams(command: &Command) -> Vec<String> {
        match command {
            Command::TransferMoney(TransferMoney { from_account_id, to_account_id, .. }) => {
                rules::streams([from_account_id.as_str(), to_account_id.as_str()])
            }
            Command::CloseAccount(_)
            | Command::DepositMoney(_)
            | Command::FreezeAccount(_)
            | Command::HoldMoney(_)
            | Command::OpenAccount(_)
            | Command::ReleaseHold(_)
            | Command::UnfreezeAccount(_)
            | Command::WithdrawMoney(_) => rules::streams([command.key()]),
        }
    }

    fn references(command: &Command) -> Vec<Reference> {
        match command {
            Command::OpenAccount(command) => life::references(command),
            Command::CloseAccount(_)
            | Command::DepositMoney(_)
            | Command::FreezeAccount(_)
            | Command::HoldMoney(_)
            | Command::ReleaseHold(_)
            | Command::TransferMoney(_)
            | Command::UnfreezeAccount(_)
            | Command::WithdrawMoney(_) => Vec::new(),
        }
    }

    fn decide(streams: &Streams<Account>, references: &References, command: &Command) -> Decision {
        let open = || open(streams, "account_id", command.key());
        match command {
            Command::OpenAccount(command) => life::open(streams, references, command),
            Command::DepositMoney(command) => money::deposit(open()?, command),
            Command::WithdrawMoney(command) => money::withdraw(open()?, command),
            Command::TransferMoney(command) => money::transfer(streams, command),
            Command::HoldMoney(command) => holds::hold(open()?, command),
            Command::ReleaseHold(command) => holds::release(open()?, command),
            Command::FreezeAccount(command) => life::freeze(open()?, command),
            Command::UnfreezeAccount(command) => life::unfreeze(streams, command),
            Command::CloseAccount(command) => life::close(open()?, command),
        }
    }

    fn evolve(state: Option<Account>, event: &Event) -> Option<Account> {
        match event {
            Event::AccountOpened(event) => state.or_else(|| Some(Account::opened(event))),
            event => state.map(|account| account.after(event)),
        }
    }

    fn public(_state: &Account) {}
}

impl Status {
    /// The whole life of an account.
    fn may_become(self, next: Self) -> bool {
        matches!((self, next), (Self::Open, Self::Frozen | Self::Closed) | (Self::Frozen, Self::Open))
    }
}

impl Account {
    /// The sum of the holds, in minor units.
    pub fn held(&self) -> i64 {
        self.holds.values().fold(0, |sum, amount| sum.saturating_add(*amount))
    }

    /// The available money in minor units: never below −overdraft.
    pub fn available(&self) -> i64 {
        self.balance.saturating_sub(self.held())
    }

    fn opened(event: &AccountOpened) -> Self {
        let AccountOpened { customer_id, currency, overdraft, .. } = event.clone();
        let (holds, status) = (BTreeMap::new(), Status::Open);
        Self { status, customer_id, currency, overdraft, balance: 0, holds, entries: 0 }
    }

    /// An event that is impossible in this state changes nothing.
    fn after(self, event: &Event) -> Self {
        match event {
            Event::AccountOpened(_) => self,
            Event::MoneyDeposited(event) => self.while_open(|account| account.moved(event.amount)),
            Event::MoneyWithdrawn(event) => {
                self.while_open(|account| account.moved(event.amount.saturating_neg()))
            }
            Event::TransferSent(event) => {
                self.while_open(|account| account.moved(event.amount.saturating_neg()))
            }
            Event::TransferReceived(event) => self.while_open(|account| account.moved(event.amount)),
            Event::MoneyHeld(event) => self.while_open(|account| account.with_hold(event)),
            Event::HoldReleased(event) => self.while_open(|account| account.without_hold(event)),
            Event::AccountFrozen(_) => self.moved_to(Status::Frozen),
            Event::AccountUnfrozen(_) => self.moved_to(Status::Open),
            Event::AccountClosed(_) => self.moved_to(Status::Closed),
        }
    }

    fn while_open(self, change: impl FnOnce(Self) -> Self) -> Self {
        if self.status == Status::Open { change(self) } else { self }
    }

    fn moved_to(self, next: Status) -> Self {
        if self.status.may_become(next) { Self { status: next, ..self } } else { self }
    }
}

/// An open account. `field` is the field that names it.
fn open<'a>(streams: &'a Streams<Account>, field: &str, account_id: &str) -> Result<&'a Account, Rejection> {
    let account = known(streams, field, account_id)?;
    let (refusal, way_out) = match account.status {
        Status::Open => return Ok(account),
        Status::Frozen => (refusals::ACCOUNT_FROZEN, "is frozen: send UnfreezeAccount first"),
        Status::Closed => (refusals::ACCOUNT_CLOSED, "was closed: take another account"),
    };
    Err(refusal.because(format!("{field} {} {way_out}", rules::quoted(account_id))))
}

fn known<'a>(streams: &'a Streams<Account>, field: &str, account_id: &str) -> Result<&'a Account, Rejection> {
    streams.get(account_id).ok_or_else(|| {
        let (id, way_out) = (rules::quoted(account_id), "send OpenAccount, or correct the id");
        refusals::ACCOUNT_UNKNOWN.because(format!("{field} {id} was never opened: {way_out}"))
    })
}

/// Minor units between `least` and [`AMOUNT_MAX`].
fn check_amount(field: &str, refusal: Refusal, least: i64, value: i64) -> Checked {
    if (least..=AMOUNT_MAX).contains(&value) {
        return Ok(());
    }
    let message = format!("{field} is {value}: send minor units (cents), {least} to {AMOUNT_MAX}");
    Err(refusal.because(message))
}

/// Money that is taken out or held must be available, the overdraft included.
fn check_funds(account: &Account, amount: i64) -> Checked {
    let most = account.available().saturating_add(account.overdraft);
    if amount <= most {
        return Ok(());
    }
    let Account { balance, overdraft, .. } = account;
    let (held, way_out) = (account.held(), "take at most that, or deposit money first");
    let message = format!(
        "amount is {amount}, but with a balance of {balance}, {held} held and an overdraft of {overdraft} only \
             {most} can be taken: {way_out}"
    );
    Err(refusals::FUNDS_INSUFFICIENT.because(message))
}
