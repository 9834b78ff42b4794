//! What the auditor has looked at and found.

use serde::Serialize;

use super::finding::{self, Finding};
use super::index::Mended;
use crate::output;

/// What was looked at, and what is wrong.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// How much was compared, of what.
    pub(crate) compared: Vec<Compared>,
    pub(crate) findings: Vec<Finding>,
    /// How many more things are wrong than are listed.
    pub(crate) more: i64,
    /// How many of them were put right.
    pub(crate) repaired: usize,
    /// What could not be put right, and why: Postgres or Elasticsearch does not take it.
    pub(crate) refused: Vec<String>,
}

/// How much was compared: of everything, or of one key.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) name: String,
    /// Events, rejections and commands of the outbox that were looked for, or events that were folded.
    pub(crate) events: u64,
    /// Rows, of a view.
    pub(crate) rows: Option<i64>,
    /// Documents, of a view that is published.
    pub(crate) documents: Option<i64>,
}

impl Report {
    /// Something was to be put right.
    pub(super) fn mended(&mut self, name: &str, key: &str, mended: &Mended) {
        match mended {
            Mended::Now => self.repaired += 1,
            Mended::NotNow => {}
            Mended::Refused(reason) => {
                tracing::warn!(name, key, reason, "it cannot be repaired");
                self.refused.push(format!("{name}/{key}: {reason}"));
            }
        }
    }

    /// How many things are wrong and were not put right.
    pub(crate) fn left(&self) -> usize {
        self.findings
            .len()
            .saturating_add(usize::try_from(self.more).unwrap_or_default())
            .saturating_sub(self.repaired)
    }

    /// Whether there was anything to compare, of one key.
    pub(super) fn is_of_nothing(&self) -> bool {
        let nothing =
            |one: &Compared| (one.events, one.rows, one.documents.unwrap_or_default()) == (0, Some(0), 0);
        self.findings.is_empty() && self.compared.iter().all(nothing)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut table = output::Table::new(&["compared", "events", "rows", "documents"]);
        let told = |number: Option<i64>| number.map_or(String::new(), |number| number.to_string());
        for Compared { name, events, rows, documents } in &self.compared {
            table.row([name.clone(), events.to_string(), told(*rows), told(*documents)]);
        }
        let more = if self.more > 0 { format!("and {} more\n", self.more) } else { String::new() };
        let end = match (self.findings.len(), self.repaired) {
            (0, _) => "all as the outbox has it\n".to_owned(),
            (_, 0) => String::new(),
            (_, repaired) => format!("repaired: {repaired}\n"),
        };
        let findings = if self.findings.is_empty() { String::new() } else { finding::table(&self.findings) };
        let refused: String =
            self.refused.iter().map(|refused| format!("not repaired: {refused}\n")).collect();
        format!("{}{findings}{more}{end}{refused}", table.render())
    }
}
