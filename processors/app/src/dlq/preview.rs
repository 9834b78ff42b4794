//! What `millrace dlq redrive --dry-run` prints.

use millrace_ops::dead_letters::{Event, Preview};
use millrace_ops::failure::Failure;
use millrace_schemas::short_name;
use serde_json::Value;

use crate::output::Table;

/// A paragraph for each letter.
pub(super) fn text(previews: &[Preview]) -> String {
    previews.iter().map(paragraph).collect()
}

/// A letter that would fail or wait is a failure, and so is one that cannot be tried.
pub(super) fn verdict(previews: &[Preview]) -> Result<(), Failure> {
    match previews.iter().filter(|preview| !preview.outcome.settles()).count() {
        0 => Ok(()),
        count => {
            let all = previews.len();
            Err(Failure::refused(format!("{count} of {all} letters would not have their effect")))
        }
    }
}

fn paragraph(preview: &Preview) -> String {
    let mut table = Table::new(&[]);
    let reason = [preview.code.as_deref(), preview.message.as_deref()].into_iter().flatten();
    let reason = reason.collect::<Vec<_>>().join(": ");
    table.row([preview.id.to_string(), preview.outcome.as_str().to_owned(), reason]);
    let mut line = |name: &str, value: String| table.row([String::new(), name.to_owned(), value]);
    if let Some(receipt) = &preview.receipt {
        let text = |name: &str| receipt.get(name).filter(|value| !value.is_null()).map(Value::to_string);
        let shown = ["status", "code", "message", "versions"].into_iter().filter_map(text);
        line("receipt", shown.collect::<Vec<_>>().join(" "));
    }
    preview.events.iter().for_each(|one| line("event", event(one)));
    preview.rows.iter().for_each(|row| line("row", row.to_string()));
    table.render()
}

fn event(Event { context, stream, version, type_, data }: &Event) -> String {
    let version = version.map(|version| format!(" version {version}")).unwrap_or_default();
    format!("{context}/{stream}{version} {} {data}", short_name(type_))
}

#[cfg(test)]
mod tests {
    use millrace_ops::dead_letters::Outcome;
    use millrace_ops::examples;
    use serde_json::json;

    use super::*;

    fn preview(outcome: Outcome) -> Preview {
        let (code, message, receipt) = (None, None, None);
        Preview {
            id: examples::letter().id,
            outcome,
            code,
            message,
            receipt,
            events: Vec::new(),
            rows: Vec::new(),
        }
    }

    #[test]
    fn what_would_follow_is_shown_below_the_letter() {
        let event = Event {
            context: "orders".to_owned(),
            stream: "10248".to_owned(),
            version: Some(1),
            type_: "millrace.orders.OrderPlaced".to_owned(),
            data: json!({"total": 1}),
        };
        let preview = Preview {
            receipt: Some(json!({"status": "completed", "code": null, "versions": {"10248": 1}})),
            events: vec![event],
            rows: vec![json!({"order_id": "10248"})],
            ..preview(Outcome::Applied)
        };
        let expected = [
            "w12  applied",
            "     receipt  \"completed\" {\"10248\":1}",
            "     event    orders/10248 version 1 OrderPlaced {\"total\":1}",
            "     row      {\"order_id\":\"10248\"}",
        ];
        assert_eq!(text(&[preview]).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_failure_says_its_code_and_reason_and_is_one() {
        let (code, message) = (Some("too-large".to_owned()), Some("2 MB".to_owned()));
        let failing = Preview { code, message, ..preview(Outcome::Fails) };
        assert_eq!(paragraph(&failing).trim(), "w12  fails  too-large: 2 MB");
        assert!(verdict(&[preview(Outcome::Applied)]).is_ok());
        let message = verdict(&[preview(Outcome::Applied), failing]).unwrap_err().to_string();
        assert_eq!(message, "1 of 2 letters would not have their effect");
    }
}
