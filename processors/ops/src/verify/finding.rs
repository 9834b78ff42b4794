//! A finding of the auditor: a difference between stored and expected data.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::expected::Unexpected;
use super::what::What;
use crate::replay::compare::{Counterparts, Difference, differences};

/// Ranges of missing versions are listed up to this many.
const RANGES_SHOWN: usize = 20;

/// What identifies a finding: kind, view or context, and key.
pub type Sign = (What, String, String);

/// A difference.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "VerifyFinding")]
pub struct Finding {
    /// The kind.
    pub what: What,
    /// The view, or the context of an event, rejection or command.
    pub name: String,
    /// The row's key, the document's id, the event's stream, the rejection's or command's id.
    pub key: String,
    /// Versions as found and as expected.
    pub versions: [Option<i64>; 2],
    /// What differs.
    pub fields: Vec<Field>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "VerifyField")]
pub struct Field {
    /// Its name; in parentheses when it is the whole row.
    pub field: String,
    /// The stored value.
    pub found: Value,
    /// The expected value.
    pub expected: Value,
    /// Found minus expected, for numbers.
    pub difference: Option<i64>,
}

impl Finding {
    /// What identifies the finding.
    pub fn sign(&self) -> Sign {
        (self.what, self.name.clone(), self.key.clone())
    }

    /// A row or document: `serving` has the stored values, `building` the expected ones.
    pub fn of(what: What, name: &str, pair: Counterparts) -> Self {
        let version = |row: &Option<Value>| row.as_ref()?.get("version")?.as_i64();
        let versions = [version(&pair.serving), version(&pair.building)];
        let key = pair.key.clone();
        let fields = differences(pair).into_iter().map(Field::from).collect();
        Self { what, name: name.to_owned(), key, versions, fields }
    }

    /// Versions of a stream that are not on its topic; `None` when there are none.
    pub(crate) fn missing(context: &str, stream: &str, ranges: &[(i64, i64)]) -> Option<Self> {
        let (before, last) = (ranges.first()?.0, ranges.last()?.1);
        let written = |(above, upto): &(i64, i64)| match upto - above {
            1 => upto.to_string(),
            _ => format!("{}-{upto}", above + 1),
        };
        let missing: Vec<String> = ranges.iter().take(RANGES_SHOWN).map(written).collect();
        let field = Field {
            field: "(event)".to_owned(),
            found: json!("missing"),
            expected: json!(missing),
            difference: None,
        };
        let (name, key) = (context.to_owned(), stream.to_owned());
        Some(Self { what: What::Event, name, key, versions: [Some(before), Some(last)], fields: vec![field] })
    }

    /// A record on the topic with a version of a stream, but with another id or payload than in the outbox.
    pub(crate) fn unexpected(
        Unexpected { context, stream, version, id, .. }: &Unexpected,
        right: &str,
    ) -> Self {
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

    /// A stream whose number of events differs from its version.
    pub(crate) fn miscounted((context, stream): (&str, &str), version: i64, events: i64) -> Self {
        let field = Field {
            field: "(events)".to_owned(),
            found: json!(events),
            expected: json!(version),
            difference: Some(events - version),
        };
        let (name, key, versions) = (context.to_owned(), stream.to_owned(), [Some(events), Some(version)]);
        Self { what: What::Event, name, key, versions, fields: vec![field] }
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
