//! The decision about a customer's date of birth.

use std::ops::RangeInclusive;

use chrono::{Datelike, NaiveDate};
use millrace_schemas::customers::{CustomerBirthDateSet, SetCustomerBirthDate};

use super::{Customer, Decision, refusals};
use crate::emit;
use crate::rules::{self, Checked, Text};

const REASON: Text = Text::new("reason", rules::refusals::REASON_INVALID, 1, 500);
/// Later ones are written with a sign, which Postgres does not read.
const YEARS: RangeInclusive<i32> = 1900..=9999;
const FORMAT: &str = "%Y-%m-%d";

/// Sets the date, or removes it. The same date again is accepted without an event, whatever it was asked for.
pub(super) fn set(customer: &Customer, command: &SetCustomerBirthDate) -> Decision {
    let SetCustomerBirthDate { customer_id, birth_date, reason } = command.clone();
    birth_date.as_deref().map_or(Ok(()), check)?;
    REASON.check(&reason)?;
    if customer.birth_date == birth_date {
        return Ok(Vec::new());
    }
    Ok(vec![emit(CustomerBirthDateSet { customer_id, birth_date, reason })])
}

/// Whether it has passed is not checked: a decision does not know today.
fn check(birth_date: &str) -> Checked {
    let date = NaiveDate::parse_from_str(birth_date, FORMAT).ok().filter(|date| YEARS.contains(&date.year()));
    // The parser takes shorter numbers and signs, too.
    if date.is_some_and(|date| date.format(FORMAT).to_string() == birth_date) {
        return Ok(());
    }
    let date = rules::quoted(birth_date);
    let way_out = format!("send a date since {} such as 1985-02-28, or null", YEARS.start());
    Err(refusals::BIRTH_DATE_INVALID.because(format!("birth_date is {date}: {way_out}")))
}
