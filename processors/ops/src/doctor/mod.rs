//! Checks each component and setting that an instance depends on, and says what to do about each finding.

mod certificates;
mod connect;
mod elasticsearch;
mod instance;
mod kafka;
mod outbox;
mod postgres;
mod registry;

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(rename = "DoctorLevel")]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is as it should be.
    Fine,
    /// It works, but not well, or not for long.
    Advice,
    /// Data may be lost, or something does not work.
    Wrong,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "DoctorFinding")]
pub struct Finding {
    /// The component, such as `write database`.
    pub part: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to type or set, unless it is fine.
    pub mend: Option<String>,
}

impl Finding {
    fn fine(part: &'static str, what: impl Into<String>) -> Self {
        Self { part, level: Level::Fine, what: what.into(), mend: None }
    }

    fn advice(part: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { part, level: Level::Advice, what: what.into(), mend: Some(mend.into()) }
    }

    fn wrong(part: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { part, level: Level::Wrong, what: what.into(), mend: Some(mend.into()) }
    }
}

/// Checks everything and changes nothing; the worst findings first. A component that cannot be asked is a finding.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let (write, read) =
        tokio::join!(postgres::check(config, Side::Write), postgres::check(config, Side::Read));
    let (outbox, kafka, connect, registry) = tokio::join!(
        outbox::check(config),
        kafka::check(config),
        connect::check(config),
        registry::check(config)
    );
    let (elasticsearch, instance, certificates) =
        tokio::join!(elasticsearch::check(config), instance::check(config), certificates::check(config));
    let parts = [
        of(postgres::part(Side::Write), write),
        of(postgres::part(Side::Read), read),
        of(outbox::PART, outbox),
        of(kafka::PART, kafka),
        of(connect::PART, connect),
        of(registry::PART, registry),
        of(elasticsearch::PART, elasticsearch),
        of(instance::PART, instance),
        certificates,
    ];
    let mut found: Vec<Finding> = parts.into_iter().flatten().collect();
    found.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    found
}

fn of(part: &'static str, checked: Result<Vec<Finding>, Failure>) -> Vec<Finding> {
    checked.unwrap_or_else(|failure| {
        vec![Finding::wrong(part, failure.to_string(), "mend this first: nothing else of it was checked")]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_a_finding() {
        let found = of("kafka", Err(Failure::refused("no answer")));
        assert_eq!((found.len(), found[0].level), (1, Level::Wrong));
        assert!(found[0].what.contains("no answer"));
    }
}
