//! `millrace dlq show`.

use millrace_engine::Header;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::schema::Decoder;
use serde_json::{Value, json};

use super::copy::{Copies, Found};
use super::id::Id;
use super::letter::{Ledgers, Letter, hex, text};
use crate::output::{self, Format, Table};

/// Of a value that cannot be decoded, this much is shown.
const BYTES_SHOWN: usize = 1_024;

/// Shows a letter.
pub(super) async fn show(config: &Config, format: Format, id: Id) -> Result<(), Failure> {
    let letter = Ledgers::of(config)?.one(id).await?;
    let record = match Copies::new(config)?.of(&letter)? {
        Ok(found) => Ok(Shown::of(config, found).await?),
        Err(reason) => Err(reason),
    };
    output::print(format, &as_text(&letter, &record), &as_json(&letter, &record))
}

/// What the record and its copy say.
struct Shown {
    headers: Vec<Header>,
    ours: Vec<Header>,
    /// JSON, or why not and the bytes.
    value: Result<Value, (String, Option<String>)>,
}

impl Shown {
    async fn of(config: &Config, Found { original, ours }: Found) -> Result<Self, Failure> {
        let value = match original.value.as_deref() {
            None => Err(("the record has no value".to_owned(), None)),
            Some(value) => {
                let decoded = Decoder::new(config)?.json(value).await?;
                decoded.map_err(|reason| (reason, Some(hex(value, BYTES_SHOWN))))
            }
        };
        Ok(Self { headers: original.headers, ours, value })
    }
}

fn as_json(letter: &Letter, record: &Result<Shown, String>) -> Value {
    let mut json = json!({"letter": letter});
    let more = match record {
        Err(reason) => json!({"no_record": reason}),
        Ok(Shown { headers, ours, value }) => {
            let (headers, ours) = (headers_json(headers), headers_json(ours));
            match value {
                Ok(value) => json!({"headers": headers, "copy_headers": ours, "value": value}),
                Err((reason, bytes)) => json!({
                    "headers": headers, "copy_headers": ours, "value": null, "undecodable": reason, "bytes": bytes,
                }),
            }
        }
    };
    if let (Some(json), Value::Object(more)) = (json.as_object_mut(), more) {
        json.extend(more);
    }
    json
}

/// In order, since names may repeat.
fn headers_json(headers: &[Header]) -> Value {
    headers
        .iter()
        .map(|header| json!({"name": text(&header.name), "value": header.value.as_deref().map(text)}))
        .collect()
}

fn as_text(letter: &Letter, record: &Result<Shown, String>) -> String {
    let ledger = ledger(letter);
    match record {
        Err(reason) => format!("{ledger}\nno record: {reason}\n"),
        Ok(Shown { headers, ours, value }) => {
            let value = match value {
                Ok(value) => format!("value\n{value:#}"),
                Err((reason, bytes)) => {
                    format!("value, undecodable: {reason}\n{}", bytes.as_deref().unwrap_or_default())
                }
            };
            format!("{ledger}\nheaders\n{}\ncopy's headers\n{}\n{value}\n", lines(headers), lines(ours))
        }
    }
}

fn ledger(letter: &Letter) -> String {
    let mut table = Table::new(&[]);
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    let Letter { topic, partition, offset, code, message, .. } = letter;
    line("letter", letter.id.to_string());
    line("status", letter.status.clone());
    line("failed at", output::time(letter.failed_at));
    line("group", format!("{} generation {}", letter.group, letter.generation));
    line("place", format!("{topic} partition {partition} offset {offset}"));
    line("key", letter.key.clone().unwrap_or_default());
    line("type", letter.type_.clone().unwrap_or_default());
    line("reason", format!("{code}: {message}"));
    line("attempts", letter.attempts.to_string());
    table.render()
}

fn lines(headers: &[Header]) -> String {
    let mut table = Table::new(&[]);
    for Header { name, value } in headers {
        table.row([format!("  {}", text(name)), value.as_deref().map_or_else(|| "null".to_owned(), text)]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::letter::example;

    fn shown(value: Result<Value, (String, Option<String>)>) -> Result<Shown, String> {
        let headers = vec![
            Header::new("ce_id", "1"),
            Header { name: b"odd".to_vec(), value: None },
            Header::new(b"\xff", "no text"),
        ];
        Ok(Shown { headers, ours: vec![Header::new("x-attempts", "4")], value })
    }

    #[test]
    fn a_letter_is_shown_with_its_headers_and_value() {
        let record = shown(Ok(json!({"order_id": "10248"})));
        let text = as_text(&example(), &record);
        for part in [
            "reason     reference-not-found: no customer `ann`",
            "\nheaders\n  ce_id  1\n  odd    null\n  0xff   no text\n",
            "  x-attempts  4\n",
            "value\n{\n  \"order_id\": \"10248\"\n}",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let json = as_json(&example(), &record);
        assert_eq!((&json["letter"]["id"], &json["value"]["order_id"]), (&json!("w12"), &json!("10248")));
        let headers = [("ce_id", Some("1")), ("odd", None), ("0xff", Some("no text"))];
        assert_eq!(
            json["headers"],
            json!(headers.map(|(name, value)| json!({"name": name, "value": value})))
        );
    }

    #[test]
    fn what_cannot_be_read_is_shown_as_it_is() {
        let record = shown(Err(("cut off".to_owned(), Some("0x00".to_owned()))));
        assert!(as_text(&example(), &record).ends_with("value, undecodable: cut off\n0x00\n"));
        assert_eq!(as_json(&example(), &record)["bytes"], "0x00");
    }

    #[test]
    fn a_letter_without_record_says_why() {
        let record = Err("no record failed".to_owned());
        assert!(as_text(&example(), &record).ends_with("\nno record: no record failed\n"));
        assert_eq!(as_json(&example(), &record)["no_record"], "no record failed");
    }
}
