//! Rules in memory.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::{Compare, Country, DAY, Fact, Rule};

/// The facts about a customer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The total of orders that were not cancelled, by currency, in minor units.
    pub spend: BTreeMap<String, i64>,
    /// Orders that were not cancelled.
    pub orders: i64,
    /// When the newest order was placed.
    pub last_order_at: Option<DateTime<Utc>>,
    /// The country.
    pub country: Option<String>,
    /// Tags.
    pub tags: BTreeSet<String>,
}

/// Whether a customer matches a rule, with days counted back from `as_of`.
pub fn holds(rule: &Rule, facts: &Facts, as_of: DateTime<Utc>) -> bool {
    match rule {
        Rule::All(rules) => rules.iter().all(|rule| holds(rule, facts, as_of)),
        Rule::Any(rules) => rules.iter().any(|rule| holds(rule, facts, as_of)),
        Rule::Not(rule) => !holds(rule, facts, as_of),
        Rule::Fact(fact) => is_so(fact, facts, as_of),
    }
}

/// Whether a fact holds; a missing one does not.
fn is_so(fact: &Fact, facts: &Facts, as_of: DateTime<Utc>) -> bool {
    match fact {
        Fact::Spend { currency, is, value } => {
            facts.spend.get(currency).is_some_and(|spend| compare(*spend, *is, *value))
        }
        Fact::Orders { is, value } => compare(facts.orders, *is, *value),
        Fact::DaysSinceLastOrder { is, value } => {
            facts.last_order_at.is_some_and(|last| compare(days(last, as_of), *is, *value))
        }
        Fact::Country(country) => facts.country.as_deref().is_some_and(|found| is_country(found, country)),
        Fact::Tag(tag) => facts.tags.contains(tag),
    }
}

fn compare(found: i64, is: Compare, value: i64) -> bool {
    match is {
        Compare::Equal => found == value,
        Compare::NotEqual => found != value,
        Compare::Less => found < value,
        Compare::AtMost => found <= value,
        Compare::Greater => found > value,
        Compare::AtLeast => found >= value,
    }
}

/// Whole days that have passed; negative before the order.
fn days(last: DateTime<Utc>, as_of: DateTime<Utc>) -> i64 {
    as_of.timestamp_micros().saturating_sub(last.timestamp_micros()).div_euclid(DAY)
}

fn is_country(found: &str, country: &Country) -> bool {
    match country {
        Country::Is(one) => found == one,
        Country::IsNot(one) => found != one,
        Country::In(several) => several.iter().any(|one| found == one),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::{Value, json};

    use super::*;
    use crate::segments::parse;

    fn as_of() -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_700_000_000_000_000).expect("a time")
    }

    fn ana() -> Facts {
        Facts {
            spend: BTreeMap::from([("EUR".to_owned(), 5_000)]),
            orders: 3,
            last_order_at: Some(as_of() - TimeDelta::days(10)),
            country: Some("Mexico".to_owned()),
            tags: BTreeSet::from(["vip".to_owned()]),
        }
    }

    fn takes(rules: Value, facts: &Facts) -> bool {
        holds(&parse(&rules.to_string()).expect("rules"), facts, as_of())
    }

    fn fact(name: &str, is: &str, value: impl Into<Value>) -> Value {
        json!({"fact": name, "is": is, "value": value.into()})
    }

    fn spend(currency: &str, is: &str, value: i64) -> Value {
        json!({"fact": "spend", "currency": currency, "is": is, "value": value})
    }

    #[test]
    fn numbers_are_compared_as_their_signs_say() {
        let holding =
            |value: i64| ["=", "!=", "<", "<=", ">", ">="].map(|is| takes(fact("orders", is, value), &ana()));
        assert_eq!(holding(2), [false, true, false, false, true, true]);
        assert_eq!(holding(3), [true, false, false, true, false, true]);
        assert_eq!(holding(4), [false, true, true, true, false, false]);
    }

    #[test]
    fn spend_is_compared_by_currency() {
        assert!(takes(spend("EUR", ">=", 5_000), &ana()));
        assert!(!takes(spend("EUR", ">", 5_000), &ana()));
        assert!(!takes(spend("USD", ">=", 0), &ana()));
    }

    #[test]
    fn only_whole_days_count() {
        let ordered = |ago| Facts { last_order_at: Some(as_of() - ago), ..ana() };
        let almost = ordered(TimeDelta::days(10) - TimeDelta::microseconds(1));
        assert!(takes(fact("days_since_last_order", "=", 10), &ana()));
        assert!(takes(fact("days_since_last_order", "=", 9), &almost));
        let later = ordered(-TimeDelta::microseconds(1));
        assert!(takes(fact("days_since_last_order", "<", 0), &later), "an order after that moment");
    }

    #[test]
    fn a_comparison_with_a_missing_fact_is_false_and_its_negation_true() {
        let unknown = Facts::default();
        let missing = [
            spend("EUR", "!=", 1),
            fact("days_since_last_order", ">=", 0),
            fact("country", "!=", "Mexico"),
            fact("country", "in", json!(["Mexico"])),
            fact("tags", "has", "vip"),
        ];
        for rule in missing {
            assert!(!takes(rule.clone(), &unknown), "{rule}");
            assert!(takes(json!({"not": rule}), &unknown), "{rule}");
        }
        assert!(takes(fact("orders", "=", 0), &unknown), "no orders are a number of orders");
    }

    #[test]
    fn all_any_and_not_are_what_they_are_called() {
        let (yes, no) = (fact("country", "=", "Mexico"), fact("tags", "has", "new"));
        let both = [yes.clone(), no.clone()];
        assert!(!takes(json!({"all": both.clone()}), &ana()));
        assert!(takes(json!({"any": both.clone()}), &ana()));
        assert!(takes(json!({"all": [yes, {"not": no}]}), &ana()));
        assert!(!takes(json!({"not": {"any": both}}), &ana()));
    }
}
