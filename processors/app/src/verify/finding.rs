//! What the auditor finds: something that is stored, and what it should be.

use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::held::Strange;
use super::what::What;
use crate::output::Table;
use crate::replay::compare::{Difference, Twin, differences};

/// Fields are shown up to this many characters.
const SHOWN_MAX: usize = 60;
/// Ranges of missing versions are told up to this many.
const RANGES_SHOWN: usize = 20;

/// Something that is wrong: what, of which view or context, and its key.
pub(crate) type Sign = (What, String, String);

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Finding {
    pub(crate) what: What,
    /// The view, or the context of an event, rejection or command.
    pub(crate) name: String,
    /// The row's key, the document's id, the event's stream, the rejection's or command's id.
    pub(crate) key: String,
    /// Versions as found and as expected.
    pub(crate) versions: [Option<i64>; 2],
    pub(crate) fields: Vec<Field>,
}

/// A field of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Field {
    pub(crate) field: String,
    pub(crate) found: Value,
    pub(crate) expected: Value,
    /// Found less expected, of numbers.
    pub(crate) difference: Option<i64>,
}

impl Finding {
    /// What it is, without how it is.
    pub(crate) fn sign(&self) -> Sign {
        (self.what, self.name.clone(), self.key.clone())
    }

    /// A row or document (as `serving`) that is not what it should be (`building`).
    pub(crate) fn of(what: What, name: &str, twin: Twin) -> Self {
        let version = |row: &Option<Value>| row.as_ref()?.get("version")?.as_i64();
        let versions = [version(&twin.serving), version(&twin.building)];
        let key = twin.key.clone();
        let fields = differences(twin).into_iter().map(Field::from).collect();
        Self { what, name: name.to_owned(), key, versions, fields }
    }

    /// Versions of a stream that are not on its topic; `None` when there are none.
    pub(crate) fn missing(context: &str, stream: &str, ranges: &[(i64, i64)]) -> Option<Self> {
        let (held, last) = (ranges.first()?.0, ranges.last()?.1);
        let told = |(above, upto): &(i64, i64)| match upto - above {
            1 => upto.to_string(),
            _ => format!("{}-{upto}", above + 1),
        };
        let told: Vec<String> = ranges.iter().take(RANGES_SHOWN).map(told).collect();
        let field = Field {
            field: "(event)".to_owned(),
            found: json!("missing"),
            expected: json!(told),
            difference: None,
        };
        let (name, key) = (context.to_owned(), stream.to_owned());
        Some(Self { what: What::Event, name, key, versions: [Some(held), Some(last)], fields: vec![field] })
    }

    /// A record on the topic that has a version of a stream, but not the id and the payload that the outbox has there.
    pub(crate) fn strange(Strange { context, stream, version, id, .. }: &Strange, right: &str) -> Self {
        let found = if id == right { json!("another payload") } else { json!(id) };
        let field = Field { field: "(event)".to_owned(), found, expected: json!(right), difference: None };
        let (name, key, versions) = (context.clone(), stream.clone(), [Some(*version); 2]);
        Self { what: What::Event, name, key, versions, fields: vec![field] }
    }

    /// Events of a stream that are not folded into a view, and why.
    pub(crate) fn unfolded(
        view: &str,
        (context, stream): (&str, &str),
        why: &str,
        versions: [Option<i64>; 2],
    ) -> Self {
        let [folded, last] = versions;
        let field = Field {
            field: "(events)".to_owned(),
            found: json!(why),
            expected: json!("every event folds"),
            difference: folded.zip(last).map(|(folded, last)| folded - last),
        };
        let (name, key) = (view.to_owned(), format!("{context}/{stream}"));
        Self { what: What::Row, name, key, versions, fields: vec![field] }
    }

    /// A rejection or a command that is not on its topic.
    pub(crate) fn missing_unversioned(what: What, context: &str, stream: &str, id: Uuid) -> Self {
        let field = Field {
            field: format!("({})", what.as_str()),
            found: json!("missing"),
            expected: json!(stream),
            difference: None,
        };
        let (name, key) = (context.to_owned(), id.to_string());
        Self { what, name, key, versions: [None, None], fields: vec![field] }
    }
}

impl From<Difference> for Field {
    fn from(Difference { field, serving: found, building: expected, .. }: Difference) -> Self {
        let difference =
            found.as_i64().zip(expected.as_i64()).and_then(|(found, expected)| found.checked_sub(expected));
        Self { field, found, expected, difference }
    }
}

/// For people: a line for each field.
pub(crate) fn table(findings: &[Finding]) -> String {
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
    use super::*;

    #[test]
    fn a_finding_tells_both_values_the_difference_and_both_versions() {
        let row =
            |total: i64, version: i64| Some(json!({"order_id": "1", "total": total, "version": version}));
        let twin = Twin { key: "1".to_owned(), serving: row(150, 3), building: row(100, 3) };
        let finding = Finding::of(What::Row, "orders", twin);
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
