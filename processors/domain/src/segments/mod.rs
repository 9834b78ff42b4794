//! Segments of customers: a rule tree, which is evaluated in memory ([`holds`]) and compiled to SQL ([`audience`]) with the same
//! meaning.
//!
//! In both, a comparison with a missing fact is false, and its negation is true.

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
