//! Decisions about holds: money that stays on the account and cannot be taken out.

use millrace_schemas::accounts::{HoldMoney, HoldReleased, MoneyHeld, ReleaseHold};

use super::{Account, Decision, REASON, check_amount, check_funds, refusals};
use crate::{Rejection, emit, rules};

/// Open holds of an account, at most, so that its state stays small.
pub const HOLDS_MAX: usize = 100;

impl Account {
    pub(super) fn with_hold(mut self, event: &MoneyHeld) -> Self {
        self.holds.entry(event.hold_id.clone()).or_insert(event.amount);
        self
    }

    pub(super) fn without_hold(mut self, event: &HoldReleased) -> Self {
        self.holds.remove(&event.hold_id);
        self
    }
}

/// Sets money aside.
pub(super) fn hold(account: &Account, command: &HoldMoney) -> Decision {
    let HoldMoney { account_id, hold_id, amount, reason } = command.clone();
    rules::id("hold_id", &hold_id)?;
    check_amount("amount", rules::refusals::AMOUNT_INVALID, 1, amount)?;
    REASON.check(&reason)?;
    if account.holds.contains_key(&hold_id) {
        return Err(exists(&hold_id));
    }
    if account.holds.len() >= HOLDS_MAX {
        let message = format!("the account has {HOLDS_MAX} open holds: release one of them first");
        return Err(refusals::HOLDS_TOO_MANY.because(message));
    }
    check_funds(account, amount)?;
    let Account { customer_id, currency, .. } = account.clone();
    Ok(vec![emit(MoneyHeld { account_id, customer_id, hold_id, amount, currency, reason })])
}

/// Makes held money available again, all of it.
pub(super) fn release(account: &Account, command: &ReleaseHold) -> Decision {
    let ReleaseHold { account_id, hold_id } = command.clone();
    let amount = *account.holds.get(&hold_id).ok_or_else(|| unknown(&hold_id))?;
    let Account { customer_id, currency, .. } = account.clone();
    Ok(vec![emit(HoldReleased { account_id, customer_id, hold_id, amount, currency })])
}

fn exists(hold_id: &str) -> Rejection {
    let id = rules::quoted(hold_id);
    let way_out = "release it first, or take another id";
    refusals::HOLD_EXISTS.because(format!("hold_id {id} is an open hold already: {way_out}"))
}

fn unknown(hold_id: &str) -> Rejection {
    let id = rules::quoted(hold_id);
    let way_out = "send HoldMoney first, or correct the id";
    refusals::HOLD_UNKNOWN.because(format!("hold_id {id} is no open hold of the account: {way_out}"))
}
