//! Decisions about a customer's risk.

use chrono::DateTime;
use millrace_schemas::customers::{AssessCustomerRisk, CustomerRiskAssessed};
use serde::{Deserialize, Serialize};

use super::{Customer, Decision, refusals};
use crate::rules::{self, Checked, Text};
use crate::{Rejection, emit};

const SCORE_MAX: i32 = 100;
const REASON: Text = Text::new("reason", rules::refusals::REASON_INVALID, 1, 500);

/// An assessment of a customer's risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    /// 0 (none) to 100.
    pub score: i32,
    /// When it was assessed, in microseconds since 1970 UTC.
    pub assessed_at: i64,
}

impl From<&CustomerRiskAssessed> for Risk {
    fn from(event: &CustomerRiskAssessed) -> Self {
        Self { score: event.score, assessed_at: event.assessed_at }
    }
}

/// Replaces an assessment that is not newer: assessors may be slow, and what they knew later counts.
pub(super) fn assess(customer: &Customer, command: &AssessCustomerRisk) -> Decision {
    let AssessCustomerRisk { customer_id, score, reason, assessed_at } = command.clone();
    check_score(score)?;
    REASON.check(&reason)?;
    rules::time("assessed_at", assessed_at)?;
    match customer.risk {
        Some(newest) if newest.assessed_at > assessed_at => Err(outdated(assessed_at, newest)),
        _ => Ok(vec![emit(CustomerRiskAssessed { customer_id, score, reason, assessed_at })]),
    }
}

fn check_score(score: i32) -> Checked {
    if (0..=SCORE_MAX).contains(&score) {
        return Ok(());
    }
    Err(refusals::RISK_SCORE_INVALID.because(format!("score is {score}: send 0 (no risk) to {SCORE_MAX}")))
}

fn outdated(assessed_at: i64, newest: Risk) -> Rejection {
    let time = |micros| DateTime::from_timestamp_micros(micros).unwrap_or_default();
    let (given, known) = (time(assessed_at), time(newest.assessed_at));
    refusals::RISK_ASSESSMENT_OUTDATED.because(format!(
        "assessed_at is {given}, but the newest assessment is of {known}: assess the customer again"
    ))
}
