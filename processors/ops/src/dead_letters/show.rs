//! A dead letter with its record.

use millrace_engine::Header;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::copy::{Copies, Found};
use super::id::Id;
use super::letter::{Letter, hex, text};
use super::tables::Tables;
use crate::config::Config;
use crate::failure::Failure;
use crate::schema::Decoder;

/// Bytes that are shown of a value that cannot be decoded.
const BYTES_SHOWN: usize = 1_024;

/// A letter and its record.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterShown")]
pub struct Shown {
    /// Its row.
    pub letter: Letter,
    /// Its record, from its dead letter topic or its source.
    #[serde(flatten)]
    pub record: Record,
}

/// The record of a letter.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Record {
    /// It cannot be read.
    Missing {
        /// Why.
        no_record: String,
    },
    /// It was read.
    Found(Contents),
}

/// The contents of a record.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RecordContents")]
pub struct Contents {
    /// In their order, since names may repeat.
    pub headers: Vec<HeaderText>,
    /// The headers that Millrace wrote on the copy.
    pub copy_headers: Vec<HeaderText>,
    /// Decoded with its writer's schema; `None` when it cannot be.
    pub value: Option<Value>,
    /// Why there is no value.
    #[serde(flatten)]
    pub undecodable: Option<Undecodable>,
}

/// A value that cannot be decoded.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Undecodable {
    /// Why.
    #[serde(rename = "undecodable")]
    pub reason: String,
    /// Its first bytes in hexadecimal; `None` when it has none.
    pub bytes: Option<String>,
}

/// A header as text, or in hexadecimal if it is not UTF-8.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RecordHeader")]
pub struct HeaderText {
    /// Its name.
    pub name: String,
    /// Its value; `None` is null.
    pub value: Option<String>,
}

/// A letter with its record.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such letter; when a database, Kafka or the registry does not answer.
pub async fn show(config: &Config, id: Id) -> Result<Shown, Failure> {
    let letter = Tables::of(config)?.one(id).await?;
    let record = match Copies::new(config)?.of(&letter)? {
        Ok(found) => Record::Found(Contents::of(config, found).await?),
        Err(no_record) => Record::Missing { no_record },
    };
    Ok(Shown { letter, record })
}

impl Contents {
    async fn of(config: &Config, Found { original, ours }: Found) -> Result<Self, Failure> {
        let (value, undecodable) = match original.value.as_deref() {
            None => (None, Some(Undecodable { reason: "the record has no value".to_owned(), bytes: None })),
            Some(value) => match Decoder::new(config)?.json(value).await? {
                Ok(value) => (Some(value), None),
                Err(reason) => (None, Some(Undecodable { reason, bytes: Some(hex(value, BYTES_SHOWN)) })),
            },
        };
        let (headers, copy_headers) = (texts(&original.headers), texts(&ours));
        Ok(Self { headers, copy_headers, value, undecodable })
    }
}

fn texts(headers: &[Header]) -> Vec<HeaderText> {
    headers
        .iter()
        .map(|header| HeaderText { name: text(&header.name), value: header.value.as_deref().map(text) })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::examples;

    #[test]
    fn headers_are_text_or_hexadecimal_in_their_order() {
        let headers = [
            Header::new("ce_id", "1"),
            Header { name: b"odd".to_vec(), value: None },
            Header::new(b"\xff", "no text"),
        ];
        let expected = [("ce_id", Some("1")), ("odd", None), ("0xff", Some("no text"))];
        assert_eq!(
            json!(texts(&headers)),
            json!(expected.map(|(name, value)| json!({"name": name, "value": value})))
        );
    }

    #[test]
    fn programs_get_the_letter_beside_its_record_or_the_reason_why_there_is_none() {
        let undecodable = Undecodable { reason: "cut off".to_owned(), bytes: Some("0x00".to_owned()) };
        let (headers, copy_headers) = (Vec::new(), texts(&[Header::new("x-attempts", "4")]));
        let contents = Contents { headers, copy_headers, value: None, undecodable: Some(undecodable) };
        let json = json!(Shown { letter: examples::letter(), record: Record::Found(contents) });
        assert_eq!((&json["letter"]["id"], &json["value"]), (&json!("w12"), &Value::Null));
        assert_eq!((&json["undecodable"], &json["bytes"]), (&json!("cut off"), &json!("0x00")));
        assert_eq!(json["copy_headers"][0]["name"], "x-attempts");
        let no_record = "no record failed".to_owned();
        let json = json!(Shown { letter: examples::letter(), record: Record::Missing { no_record } });
        assert_eq!(json["no_record"], "no record failed");
    }
}
