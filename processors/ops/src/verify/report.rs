//! The auditor's report.

use serde::Serialize;

use super::clocks::Clock;
use super::finding::Finding;
use super::index::Repaired;
use super::rows::Rows;

/// What was compared, and the findings.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// What was compared.
    pub compared: Vec<Compared>,
    /// The kind.
    pub findings: Vec<Finding>,
    /// The number of further findings that are not listed.
    pub more: i64,
    /// The number of repairs.
    pub repaired: usize,
    /// What could not be repaired, since Postgres or Elasticsearch refuses it, with the reason.
    pub refused: Vec<String>,
    /// How far the views are with the streams of the customer, when only one is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clocks: Option<Vec<Clock>>,
}

/// The numbers of what was compared.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// The view, or `topics`.
    pub name: String,
    /// Events, rejections and commands of the outbox that were searched for, or events that were folded.
    pub events: u64,
    /// Rows, of a view.
    pub rows: Option<i64>,
    /// Documents, of a view that is published.
    pub documents: Option<i64>,
}

impl Report {
    /// Adds the result of a view.
    pub(super) fn add(&mut self, name: &str, rows: Rows, documents: Option<i64>) {
        let Rows { count, events, more, findings, .. } = rows;
        self.compared.push(Compared { name: name.to_owned(), events, rows: Some(count), documents });
        self.more += more;
        self.findings.extend(findings);
    }

    /// Counts the outcome of a repair.
    pub(super) fn count_repair(&mut self, name: &str, key: &str, repaired: &Repaired) {
        match repaired {
            Repaired::Now => self.repaired += 1,
            Repaired::NotNow => {}
            Repaired::Refused(reason) => {
                tracing::warn!(name, key, reason, "it cannot be repaired");
                self.refused.push(format!("{name}/{key}: {reason}"));
            }
        }
    }

    /// The number of findings that were not repaired.
    pub fn left(&self) -> usize {
        self.findings
            .len()
            .saturating_add(usize::try_from(self.more).unwrap_or_default())
            .saturating_sub(self.repaired)
    }

    /// Whether nothing has the key.
    pub fn is_of_nothing(&self) -> bool {
        let nothing =
            |one: &Compared| (one.events, one.rows, one.documents.unwrap_or_default()) == (0, Some(0), 0);
        self.findings.is_empty() && self.compared.iter().all(nothing)
    }
}
