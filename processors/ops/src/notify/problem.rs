//! What is wrong, from the metrics of the namespace.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_store::effect::GivenUp;

use crate::observed::Figure;

/// As the alert MillraceAuditBehind.
const AUDIT_BEHIND: TimeDelta = TimeDelta::hours(2);
/// The parts of the metrics whose failure is an outage of one component, and what that is called.
const COMPONENTS: [(&str, &str); 6] = [
    ("write", "the write database"),
    ("read", "the read database"),
    ("kafka", "Kafka"),
    ("connect", "Kafka Connect"),
    ("elasticsearch", "Elasticsearch"),
    ("registry", "the registry"),
];

/// The name of the outage of the write database.
pub(super) const WRITE_AWAY: &str = "outage: the write database";

/// Something that an operator should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The same as long as it lasts.
    pub(super) name: String,
    /// How many; 1 for what is or is not.
    pub(super) level: i64,
    pub(super) summary: String,
    /// The command that shows more.
    pub(super) command: String,
    /// Whether it is told only when it lasts.
    pub(super) is_outage: bool,
}

impl Problem {
    fn new(name: String, level: i64, summary: String, command: &str) -> Self {
        Self { name, level, summary, command: command.to_owned(), is_outage: false }
    }

    /// A component that does not answer.
    pub(super) fn outage(component: &str) -> Self {
        let summary = format!("{component} does not answer");
        Self { is_outage: true, ..Self::new(format!("outage: {component}"), 1, summary, "millrace status") }
    }
}

/// The problems that the metrics show.
pub(super) fn of(figures: &[Figure], now: DateTime<Utc>) -> Vec<Problem> {
    figures.iter().filter_map(|figure| of_figure(figure, now)).collect()
}

fn of_figure(Figure { family, labels, value }: &Figure, now: DateTime<Utc>) -> Option<Problem> {
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    match (family.name, labels.as_slice()) {
        ("millrace_open_dead_letters", [group, code]) if *value > 0.0 => {
            Some(letters(group, code, count(*value)))
        }
        ("millrace_sagas_stuck", [saga]) if *value > 0.0 => Some(stuck(saga, count(*value))),
        ("millrace_slot_wal_status", [status @ ("unreserved" | "lost" | "missing")]) if *value > 0.0 => {
            Some(slot(status))
        }
        ("millrace_connector_state", ["running"]) if *value == 0.0 => Some(connector()),
        ("millrace_audit_verified_timestamp_seconds", [what]) => unverified(what, *value, now),
        ("millrace_observed_success", [part]) if *value == 0.0 => {
            let (_, component) = COMPONENTS.iter().find(|(known, _)| known == part)?;
            Some(Problem::outage(component))
        }
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a count of rows")]
fn count(value: f64) -> i64 {
    value as i64
}

fn letters(group: &str, code: &str, count: i64) -> Problem {
    let name = format!("dead letters: {group} {code}");
    let summary = format!("{count} open dead letters of {group} ({code})");
    Problem::new(name, count, summary, &format!("millrace dlq list --group {group} --code {code}"))
}

fn stuck(saga: &str, count: i64) -> Problem {
    let summary = format!("{count} instances of the saga {saga} need an operator");
    Problem::new(format!("stuck sagas: {saga}"), count, summary, "millrace saga list --stuck")
}

fn slot(status: &str) -> Problem {
    let summary = match status {
        "unreserved" => "the WAL of the replication slot is about to be removed: start the connector",
        _ => "the replication slot is lost: `millrace setup`, then `millrace verify`",
    };
    Problem::new(format!("slot: {status}"), 1, summary.to_owned(), "millrace status")
}

fn connector() -> Problem {
    let summary = "the connector of the outbox does not run".to_owned();
    Problem { is_outage: true, ..Problem::new("connector".to_owned(), 1, summary, "millrace status") }
}

#[allow(clippy::cast_possible_truncation, reason = "seconds since 1970")]
fn unverified(what: &str, seconds: f64, now: DateTime<Utc>) -> Option<Problem> {
    let verified = DateTime::from_timestamp(seconds as i64, 0)?;
    let summary =
        format!("the auditor has not found {what} right since {}", crate::moment::written(verified));
    (now - verified > AUDIT_BEHIND)
        .then(|| Problem::new(format!("audit: {what}"), 1, summary, "millrace verify"))
}

/// Calls that were given up lately; the newest of an effect shows which.
pub(super) fn given_up(GivenUp { effect, count, context, stream }: &GivenUp) -> Problem {
    let summary =
        format!("{count} calls of {effect} were given up within a day, the last one for {context}/{stream}");
    let command = format!("millrace trace {context}/{stream}");
    Problem::new(format!("given up: {effect}"), *count, summary, &command)
}

/// Whether the metrics would show a problem, if there was one: unknown is not over.
pub(super) fn would_show(figures: &[Figure], name: &str) -> bool {
    let known: BTreeSet<&str> = figures
        .iter()
        .filter(|figure| figure.family.name == "millrace_observed_success" && figure.value > 0.0)
        .filter_map(|figure| figure.labels.first().map(String::as_str))
        .collect();
    let needed: &[&str] = match name.split(':').next() {
        Some("dead letters") => &["write", "read"],
        Some("stuck sagas" | "audit") => &["work"],
        Some("slot") => &["slot"],
        Some("connector") => &["connect"],
        _ => &[],
    };
    needed.iter().all(|part| known.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::ALL;

    fn figure(name: &str, labels: &[&str], value: f64) -> Figure {
        let family = ALL.iter().find(|family| family.name == name).expect(name);
        assert_eq!(family.labels.len(), labels.len(), "{name}");
        Figure { family, labels: labels.iter().map(ToString::to_string).collect(), value }
    }

    fn names(figures: &[Figure]) -> Vec<String> {
        of(figures, Utc::now()).into_iter().map(|problem| problem.name).collect()
    }

    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970")]
    fn hours_ago(hours: i64) -> f64 {
        (Utc::now() - TimeDelta::hours(hours)).timestamp() as f64
    }

    #[test]
    fn every_problem_is_found_in_the_metrics_that_show_it() {
        let verified = "millrace_audit_verified_timestamp_seconds";
        let wrong = [
            figure("millrace_open_dead_letters", &["shop.orders", "undecodable"], 2.0),
            figure("millrace_sagas_stuck", &["fulfilment"], 1.0),
            figure("millrace_slot_wal_status", &["lost"], 1.0),
            figure("millrace_connector_state", &["running"], 0.0),
            figure(verified, &["orders"], hours_ago(3)),
            figure("millrace_observed_success", &["kafka"], 0.0),
            figure("millrace_observed_success", &["elasticsearch"], 0.0),
        ];
        let found = [
            "dead letters: shop.orders undecodable",
            "stuck sagas: fulfilment",
            "slot: lost",
            "connector",
            "audit: orders",
            "outage: Kafka",
            "outage: Elasticsearch",
        ];
        assert_eq!(names(&wrong), found);
        let right = [
            figure("millrace_sagas_stuck", &["fulfilment"], 0.0),
            figure("millrace_slot_wal_status", &["reserved"], 1.0),
            figure("millrace_slot_wal_status", &["lost"], 0.0),
            figure("millrace_connector_state", &["running"], 1.0),
            figure("millrace_connector_state", &["paused"], 0.0),
            figure(verified, &["orders"], hours_ago(1)),
            figure("millrace_observed_success", &["kafka"], 1.0),
            // Its cause is told.
            figure("millrace_observed_success", &["outbox"], 0.0),
        ];
        assert_eq!(names(&right), [""; 0]);
    }

    #[test]
    fn what_cannot_be_queried_is_not_over() {
        let figures = [("write", 1.0), ("read", 0.0), ("slot", 1.0)]
            .map(|(part, value)| figure("millrace_observed_success", &[part], value));
        let over = |name: &str| would_show(&figures, name);
        assert!(over("slot: lost") && over("outage: Kafka") && over("given up: mail"));
        assert!(
            !over("dead letters: shop.orders undecodable") && !over("stuck sagas: x") && !over("connector")
        );
    }
}
