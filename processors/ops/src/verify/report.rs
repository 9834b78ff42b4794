//! The auditor's report.

use schemars::JsonSchema;
use serde::Serialize;

use super::clocks::Clock;
use super::finding::Finding;
use super::index::Repaired;
use super::rows::Rows;
use super::what::What;

/// What was compared, and the findings.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "VerifyReport")]
pub struct Report {
    /// What was compared.
    pub compared: Vec<Compared>,
    /// The kind.
    pub findings: Vec<Finding>,
    /// The number of further findings that are not listed.
    pub more: i64,
    /// Those of them that are rows or documents.
    #[serde(skip)]
    pub more_of_views: i64,
    /// The number of repairs.
    pub repaired: usize,
    /// What could not be repaired, since Postgres or Elasticsearch refuses it, with the reason.
    pub refused: Vec<String>,
    /// How far the views are with the streams of the customer, when only one is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clocks: Option<Vec<Clock>>,
    /// Accounts of the customer that were not compared with the ledger: a view is behind with them, or there are more than 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger_left_out: Option<i64>,
}

/// The numbers of what was compared.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "VerifyCompared")]
pub struct Compared {
    /// The view, or `topics`.
    pub name: String,
    /// Events, rejections, outcomes and commands of the outbox that were searched for, or events that were folded.
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
        self.more_of_views += more;
        self.findings.extend(findings);
    }

    /// Adds what was compared with the books of others.
    pub(super) fn add_books(&mut self, (compared, findings): (Compared, Vec<Finding>)) {
        self.compared.push(compared);
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

    /// The rows and documents that are wrong, in percent of those that were compared; 0 when there are none.
    pub fn wrong_percent(&self) -> f64 {
        let numbers = |one: &Compared| [one.rows, one.documents].into_iter().flatten().sum::<i64>();
        let compared: i64 = self.compared.iter().map(numbers).sum();
        let of_views = |finding: &&Finding| matches!(finding.what, What::Row | What::Fold | What::Document);
        let listed = i64::try_from(self.findings.iter().filter(of_views).count()).unwrap_or(i64::MAX);
        percent(listed.saturating_add(self.more_of_views), compared)
    }

    /// Whether nothing has the key.
    pub fn is_of_nothing(&self) -> bool {
        let nothing =
            |one: &Compared| (one.events, one.rows, one.documents.unwrap_or_default()) == (0, Some(0), 0);
        self.findings.is_empty() && self.compared.iter().all(nothing)
    }
}

/// Exact to a hundredth.
fn percent(of: i64, all: i64) -> f64 {
    let hundredths = i128::from(of) * 10_000 / i128::from(all.max(1));
    f64::from(i32::try_from(hundredths.min(10_000)).unwrap_or_default()) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_a_part_of_the_rows_and_documents_that_were_compared() {
        let compared =
            |rows, documents| Compared { name: "orders".to_owned(), events: 9, rows: Some(rows), documents };
        let report =
            Report { compared: vec![compared(150, Some(150)), compared(100, None)], ..Report::default() };
        assert_eq!((report.wrong_percent(), Report::default().wrong_percent()), (0.0, 0.0));
        let of = |what| Finding {
            what,
            name: "orders".to_owned(),
            key: "1".to_owned(),
            versions: [None, None],
            fields: Vec::new(),
        };
        let findings = vec![of(What::Event), of(What::Row)];
        let report = Report { findings, more: 7, more_of_views: 4, ..report };
        assert_eq!(report.wrong_percent(), 1.25, "what topics lack is no row");
        assert_eq!((percent(1, 3), percent(7, 0)), (33.33, 100.0));
    }
}
