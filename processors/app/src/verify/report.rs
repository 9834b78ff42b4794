//! What the auditor has looked at and found, for people.

use millrace_ops::verify::clocks::{Clock, Folded};
use millrace_ops::verify::finding::{Field, Finding};
use millrace_ops::verify::report::{Compared, Report};
use serde_json::Value;

use crate::output::Table;

/// Fields are shown up to this many characters.
const SHOWN_MAX: usize = 60;

/// How much was compared, what is wrong, and what was put right.
pub(super) fn text(report: &Report) -> String {
    let Report { compared, findings, more, repaired, refused, clocks, ledger_left_out, .. } = report;
    let more = if *more > 0 { format!("and {more} more\n") } else { String::new() };
    let end = match (findings.len(), repaired) {
        (0, _) => "all as the outbox has it\n".to_owned(),
        (_, 0) => String::new(),
        (_, repaired) => format!("repaired: {repaired}\n"),
    };
    let findings = if findings.is_empty() { String::new() } else { table(findings) };
    let refused: String = refused.iter().map(|refused| format!("not repaired: {refused}\n")).collect();
    let clocks = clocks.as_deref().map_or_else(String::new, of_streams);
    let left_out = ledger_left_out.map_or_else(String::new, left_out_of_the_ledger);
    format!("{}{left_out}{clocks}{findings}{more}{end}{refused}", counts(compared))
}

/// Nothing when every account was compared.
fn left_out_of_the_ledger(accounts: i64) -> String {
    match accounts {
        0 => String::new(),
        _ => format!(
            "accounts not compared with the ledger, as a view is behind or they are too many: {accounts}\n"
        ),
    }
}

/// The number of streams, and a line for each view that lacks events of one.
fn of_streams(clocks: &[Clock]) -> String {
    let mut table = Table::new(&["behind", "stream", "written", "folded", "lacks", "applied"]);
    for Clock { context, stream, written, folded } in clocks {
        for Folded { view, version, behind, applied_at } in folded.iter().filter(|one| one.behind > 0) {
            let applied = applied_at.map_or_else(String::new, |at| at.to_rfc3339());
            let numbers = [written, version, behind].map(i64::to_string);
            table.row(
                [view.clone(), format!("{context}/{stream}")].into_iter().chain(numbers).chain([applied]),
            );
        }
    }
    if table.is_empty() {
        return format!("{} streams, which every view has folded as far as they are written\n", clocks.len());
    }
    format!("{} streams\n{}", clocks.len(), table.render())
}

fn counts(compared: &[Compared]) -> String {
    let mut table = Table::new(&["compared", "events", "rows", "documents"]);
    let shown = |number: Option<i64>| number.map_or(String::new(), |number| number.to_string());
    for Compared { name, events, rows, documents } in compared {
        table.row([name.clone(), events.to_string(), shown(*rows), shown(*documents)]);
    }
    table.render()
}

/// A line for each field.
fn table(findings: &[Finding]) -> String {
    let head = ["what", "of", "key", "field", "found", "expected", "difference", "versions"];
    let mut table = Table::new(&head);
    for Finding { what, name, key, versions, fields } in findings {
        let [found, expected] =
            versions.map(|version| version.map_or("-".to_owned(), |number| number.to_string()));
        for field in fields {
            let difference = field.difference.map_or(String::new(), |number| format!("{number:+}"));
            let versions = format!("{found} / {expected}");
            let Field { field, found, expected, .. } = field;
            let row =
                [what.as_str(), name, key, field, &shown(found), &shown(expected), &difference, &versions];
            table.row(row.map(str::to_owned));
        }
    }
    table.render()
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use millrace_ops::replay::compare::Counterparts;
    use millrace_ops::verify::what::What;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_finding_shows_both_values_the_difference_and_both_versions() {
        let row =
            |total: i64, version: i64| Some(json!({"order_id": "1", "total": total, "version": version}));
        let pair = Counterparts { key: "1".to_owned(), serving: row(150, 3), building: row(100, 3) };
        let finding = Finding::of(What::Row, "orders", pair);
        assert_eq!(finding.versions, [Some(3), Some(3)]);
        let text = table(&[finding]);
        let line: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line, ["row", "orders", "1", "total", "150", "100", "+50", "3", "/", "3"]);
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(shown(&json!("é".repeat(100))).chars().count(), SHOWN_MAX + 1);
    }
}
