//! What `millrace dlq show` prints.

use millrace_ops::dead_letters::{Contents, HeaderText, Letter, Record, Shown};
use millrace_ops::moment;

use crate::output::Table;

/// The row, the headers and the value, or why there is no record.
pub(super) fn text(Shown { letter, record }: &Shown) -> String {
    let row = row(letter);
    match record {
        Record::Missing { no_record } => format!("{row}\nno record: {no_record}\n"),
        Record::Found(contents) => {
            let (headers, copy_headers) = (lines(&contents.headers), lines(&contents.copy_headers));
            format!("{row}\nheaders\n{headers}\ncopy's headers\n{copy_headers}\n{}\n", value(contents))
        }
    }
}

fn value(Contents { value, undecodable, .. }: &Contents) -> String {
    match undecodable {
        None => format!("value\n{:#}", value.clone().unwrap_or_default()),
        Some(undecodable) => {
            let bytes = undecodable.bytes.as_deref().unwrap_or_default();
            format!("value, undecodable: {}\n{bytes}", undecodable.reason)
        }
    }
}

fn row(letter: &Letter) -> String {
    let mut table = Table::new(&[]);
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    let Letter { topic, partition, offset, code, message, .. } = letter;
    line("letter", letter.id.to_string());
    line("status", letter.status.clone());
    line("failed at", moment::written(letter.failed_at));
    line("group", format!("{} generation {}", letter.group, letter.generation));
    line("place", format!("{topic} partition {partition} offset {offset}"));
    line("key", letter.key.clone().unwrap_or_default());
    line("type", letter.type_.clone().unwrap_or_default());
    line("reason", format!("{code}: {message}"));
    line("attempts", letter.attempts.to_string());
    table.render()
}

fn lines(headers: &[HeaderText]) -> String {
    let mut table = Table::new(&[]);
    for HeaderText { name, value } in headers {
        table.row([format!("  {name}"), value.clone().unwrap_or_else(|| "null".to_owned())]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use millrace_ops::dead_letters::Undecodable;
    use millrace_ops::examples;
    use serde_json::{Value, json};

    use super::*;

    fn shown(value: Option<Value>, undecodable: Option<Undecodable>) -> Shown {
        let header = |name: &str, value: Option<&str>| HeaderText {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        let headers = vec![header("ce_id", Some("1")), header("odd", None), header("0xff", Some("no text"))];
        let copy_headers = vec![header("x-attempts", Some("4"))];
        let contents = Contents { headers, copy_headers, value, undecodable };
        Shown { letter: examples::letter(), record: Record::Found(contents) }
    }

    #[test]
    fn a_letter_is_shown_with_its_headers_and_value() {
        let text = text(&shown(Some(json!({"order_id": "10248"})), None));
        for part in [
            "reason     reference-not-found: no customer `ann`",
            "\nheaders\n  ce_id  1\n  odd    null\n  0xff   no text\n",
            "  x-attempts  4\n",
            "value\n{\n  \"order_id\": \"10248\"\n}",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_shown_in_bytes() {
        let undecodable = Undecodable { reason: "cut off".to_owned(), bytes: Some("0x00".to_owned()) };
        assert!(text(&shown(None, Some(undecodable))).ends_with("value, undecodable: cut off\n0x00\n"));
    }

    #[test]
    fn a_letter_without_record_says_why() {
        let no_record = "no record failed".to_owned();
        let shown = Shown { letter: examples::letter(), record: Record::Missing { no_record } };
        assert!(text(&shown).ends_with("\nno record: no record failed\n"));
    }
}
