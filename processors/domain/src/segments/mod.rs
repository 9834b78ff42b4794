//! Segments of customers: one rule tree with one meaning, judged in memory ([`holds`]) and compiled to SQL ([`audience`]).
//!
//! A comparison with a fact that is missing is false, in both; `not` turns that into true, in both.

mod evaluate;
mod parse;
mod rule;
mod sql;

pub use evaluate::{Facts, holds};
pub use parse::{RULES_BYTES_MAX, RuleError, parse};
pub use rule::{Compare, Country, Fact, Rule};
pub use sql::{Channel, Parameter, Query, Sql, audience, condition};

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;
