//! What the auditor has looked at and found.

use serde::Serialize;

use super::finding::Finding;
use super::index::Repaired;
use super::rows::Rows;

/// What was looked at, and what is wrong.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// How much was compared, of what.
    pub compared: Vec<Compared>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How many more things are wrong than are listed.
    pub more: i64,
    /// How many of them were put right.
    pub repaired: usize,
    /// What could not be put right, and why: Postgres or Elasticsearch does not take it.
    pub refused: Vec<String>,
}

/// How much was compared: of everything, or of one key.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// Of what: a view, or topics.
    pub name: String,
    /// Events, rejections and commands of the outbox that were looked for, or events that were folded.
    pub events: u64,
    /// Rows, of a view.
    pub rows: Option<i64>,
    /// Documents, of a view that is published.
    pub documents: Option<i64>,
}

impl Report {
    /// Adds what was found in a view.
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

    /// How many things are wrong and were not put right.
    pub fn left(&self) -> usize {
        self.findings
            .len()
            .saturating_add(usize::try_from(self.more).unwrap_or_default())
            .saturating_sub(self.repaired)
    }

    /// Whether there was anything to compare, of one key.
    pub fn is_of_nothing(&self) -> bool {
        let nothing =
            |one: &Compared| (one.events, one.rows, one.documents.unwrap_or_default()) == (0, Some(0), 0);
        self.findings.is_empty() && self.compared.iter().all(nothing)
    }
}
