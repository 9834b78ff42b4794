//! One CloudEvent in JSON, to a framed Avro command.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use millrace_engine::commands::Identity;
use millrace_engine::envelope::CONVERSATION_BYTES_MAX;
use millrace_schemas::json::{JsonErrors, encode_json, key_of};
use millrace_schemas::{Definition, frame};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::schema_ids::SchemaIds;
use crate::contract;

/// A command as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    id: Option<String>,
    source: Option<String>,
    #[serde(rename = "type")]
    type_: String,
    time: Option<String>,
    traceparent: Option<String>,
    correlationid: Option<String>,
    #[serde(rename = "correlationId")]
    correlation_id: Option<String>,
    #[serde(rename = "specversion")]
    _specversion: Option<String>,
    #[serde(rename = "datacontenttype")]
    _datacontenttype: Option<String>,
    data: Value,
}

impl Command {
    /// A command of this type (short or full name), identity and fields.
    pub fn new(type_: &str, source: &str, id: &str, data: Value) -> Self {
        Self {
            id: Some(id.to_owned()),
            source: Some(source.to_owned()),
            type_: type_.to_owned(),
            time: None,
            traceparent: None,
            correlationid: None,
            correlation_id: None,
            _specversion: None,
            _datacontenttype: None,
            data,
        }
    }

    /// Reads one CloudEvent in JSON.
    ///
    /// # Errors
    /// [`Unfit::Syntax`].
    pub fn read(text: &[u8]) -> Result<Self, Unfit> {
        serde_json::from_slice(text).map_err(|error| Unfit::Syntax(explained(&error)))
    }

    /// The short or full name of its type, as it was given.
    pub fn type_(&self) -> &str {
        &self.type_
    }

    /// Its `ce_source`, if it names one.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Its `ce_id`, if it names one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The same with this identity.
    #[must_use]
    pub fn identified(self, source: &str, id: &str) -> Self {
        Self { source: Some(source.to_owned()), id: Some(id.to_owned()), ..self }
    }

    /// The same within a trace, unless it names one, or the text is not a W3C trace context.
    #[must_use]
    pub fn traced(mut self, traceparent: Option<&str>) -> Self {
        let other = || traceparent.filter(|text| is_traceparent(text)).map(str::to_owned);
        self.traceparent = self.traceparent.or_else(other);
        self
    }
}

/// Why a command cannot be sent.
#[derive(Debug, PartialEq)]
pub enum Unfit {
    /// It is not a CloudEvent in JSON.
    Syntax(String),
    /// There is no such command, or the instance does not have its context.
    Type(String),
    /// An attribute, and what is wrong with it.
    Attribute(&'static str, String),
    /// The short name of its type, and what is wrong with its fields.
    Fields(&'static str, JsonErrors),
}

impl std::error::Error for Unfit {}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(problem) => write!(f, "is not a command: {problem}"),
            Self::Type(problem) => write!(f, "type: {problem}"),
            Self::Attribute(name, problem) => write!(f, "{name}: {problem}"),
            Self::Fields(name, errors) => {
                let errors: Vec<String> = errors.iter().map(|error| format!("data.{error}")).collect();
                write!(f, "{name}: {}", errors.join("; "))
            }
        }
    }
}

/// A command, ready for Kafka.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Its type.
    pub(super) definition: &'static Definition,
    /// Whether its id was generated.
    pub(super) is_id_made_up: bool,
    pub(super) topic: String,
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) id: String,
    pub(super) source: String,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// Reads a command.
pub(super) fn read(text: &RawValue, source: &str, schemas: &SchemaIds) -> Result<Outgoing, Unfit> {
    outgoing(Command::read(text.get().as_bytes())?, source, schemas)
}

/// Encodes a command; `source` is that of commands that name none.
pub(super) fn outgoing(command: Command, source: &str, schemas: &SchemaIds) -> Result<Outgoing, Unfit> {
    let definition = contract::command(&command.type_).map_err(Unfit::Type)?;
    let unfit = |errors| Unfit::Fields(definition.name, errors);
    let body = encode_json(definition, &command.data).map_err(unfit)?;
    let key = key_of(definition, &command.data).map_err(|error| unfit(error.into()))?;
    let (id, topic) = schemas.of(definition).map_err(Unfit::Type)?;
    let (key, value, topic) = (key.to_owned(), frame(id, &body), topic.to_owned());
    let is_id_made_up = command.id.is_none();
    let (id, source, headers) = attributes(command, definition, source)?;
    Ok(Outgoing { definition, is_id_made_up, topic, key, value, id, source, headers })
}

fn explained(error: &serde_json::Error) -> String {
    // The error's line number is relative to the command.
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

type Attributes = (String, String, Vec<(&'static str, String)>);

/// Identity and headers.
fn attributes(command: Command, definition: &Definition, source: &str) -> Result<Attributes, Unfit> {
    let id = command.id.unwrap_or_else(|| Uuid::now_v7().to_string());
    let id = fitting("id", id, Identity::BYTES_MAX)?;
    let source = command.source.unwrap_or_else(|| source.to_owned());
    let source = fitting("source", source, Identity::BYTES_MAX)?;
    let time = match command.time {
        Some(time) => time_of(&time)?,
        None => Utc::now(),
    };
    let correlation = command.correlationid.or(command.correlation_id);
    let correlation =
        correlation.map(|id| fitting("correlationid", id, CONVERSATION_BYTES_MAX)).transpose()?;
    let mut headers = vec![
        ("ce_id", id.clone()),
        ("ce_type", definition.full_name.to_owned()),
        ("ce_source", source.clone()),
        ("ce_specversion", "1.0".to_owned()),
        ("ce_time", time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        ("content-type", "application/avro".to_owned()),
        ("traceparent", traceparent(command.traceparent)?),
    ];
    headers.extend(correlation.map(|id| ("correlation-id", id)));
    Ok((id, source, headers))
}

/// The text of an attribute, unless a record with it would be a dead letter.
fn fitting(attribute: &'static str, text: String, most: usize) -> Result<String, Unfit> {
    let refuse = |problem: String| Err(Unfit::Attribute(attribute, problem));
    match text.len() {
        _ if text.contains('\0') => refuse("must not contain a NUL character".to_owned()),
        length if (1..=most).contains(&length) => Ok(text),
        length => refuse(format!("must have 1 to {most} bytes, and has {length}")),
    }
}

fn time_of(text: &str) -> Result<DateTime<Utc>, Unfit> {
    let time = DateTime::parse_from_rfc3339(text);
    let problem = |_| format!("`{}` is not RFC 3339, such as 1996-07-04T00:00:00Z", shortened(text));
    time.map(|time| time.to_utc()).map_err(|error| Unfit::Attribute("time", problem(error)))
}

/// A W3C trace context: the given one, else a new one.
fn traceparent(given: Option<String>) -> Result<String, Unfit> {
    let Some(given) = given else {
        let (trace, span) = (Uuid::now_v7().simple().to_string(), Uuid::now_v7().simple().to_string());
        // The last half of a UUIDv7 is random.
        return Ok(format!("00-{trace}-{}-01", span.get(16..).unwrap_or_default()));
    };
    if is_traceparent(&given) {
        return Ok(given);
    }
    let problem = format!(
        "`{}` is not a W3C trace context, such as 00-{}-{}-01",
        shortened(&given),
        "0af7651916cd43dd8448eb211c80319c",
        "b7ad6b7169203331"
    );
    Err(Unfit::Attribute("traceparent", problem))
}

fn is_traceparent(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([2, 32, 16, 2]) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(line: &str) -> Result<Outgoing, String> {
        let read = read(serde_json::from_str(line).unwrap(), "test", &SchemaIds::all(7, "t"));
        read.map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn a_cloud_event_becomes_a_command() {
        let line = r#"{"id": "1", "source": "s", "type": "ConfirmOrder", "time": "1996-07-04T00:00:00Z",
            "correlationid": "c", "data": {"order_id": "10248"}}"#;
        let outgoing = read_text(line).unwrap();
        assert_eq!((outgoing.key.as_str(), outgoing.topic.as_str()), ("10248", "t"));
        assert_eq!(outgoing.value, [&[0, 0, 0, 0, 7, 10][..], b"10248"].concat());
        let header =
            |name| outgoing.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        assert_eq!(header("ce_id"), Some("1"));
        assert_eq!(header("ce_type"), Some("millrace.orders.ConfirmOrder"));
        assert_eq!(header("ce_time"), Some("1996-07-04T00:00:00Z"));
        assert_eq!(header("correlation-id"), Some("c"));
        assert!(traceparent(header("traceparent").map(str::to_owned)).is_ok());
    }

    #[test]
    fn what_is_missing_is_filled_in() {
        let line = r#"{"type": "millrace.orders.ConfirmOrder", "data": {"order_id": "1"}}"#;
        let (one, two) = (read_text(line).unwrap(), read_text(line).unwrap());
        assert_eq!(
            (one.source.as_str(), one.definition.name, one.is_id_made_up),
            ("test", "ConfirmOrder", true)
        );
        assert_ne!(one.id, two.id);
    }

    #[test]
    fn attributes_may_be_as_long_as_deciding_takes_them_and_no_longer() {
        let of = |attribute: &str, bytes: usize| {
            let text = "x".repeat(bytes);
            read_text(&format!(
                r#"{{"type":"ConfirmOrder","data":{{"order_id":"1"}},"{attribute}":"{text}"}}"#
            ))
        };
        let limits = [
            ("id", Identity::BYTES_MAX),
            ("source", Identity::BYTES_MAX),
            ("correlationid", CONVERSATION_BYTES_MAX),
        ];
        for (attribute, most) in limits {
            assert!(of(attribute, most).is_ok(), "{attribute}");
            let expected = format!("{attribute}: must have 1 to {most} bytes, and has {}", most + 1);
            assert_eq!(of(attribute, most + 1).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_trace_goes_on_unless_it_is_none() {
        let traced = |given: &str| {
            let command = Command::new("ConfirmOrder", "s", "1", serde_json::json!({"order_id": "1"}));
            let outgoing = outgoing(command.traced(Some(given)), "test", &SchemaIds::all(7, "t")).unwrap();
            outgoing.headers.into_iter().find(|(name, _)| *name == "traceparent").unwrap().1
        };
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traced(given), given);
        assert!(is_traceparent(&traced("nonsense")));
    }

    #[test]
    fn a_command_of_a_context_that_the_instance_lacks_is_refused() {
        let line = r#"{"type":"ConfirmOrder","data":{"order_id":"1"}}"#;
        let refusal = read(serde_json::from_str(line).unwrap(), "test", &SchemaIds::default());
        let refusal = refusal.unwrap_err().to_string();
        assert!(
            refusal.contains("`ConfirmOrder` is of `orders`") && refusal.contains("`contexts`"),
            "{refusal}"
        );
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let refusal = |line: &str| read_text(line).unwrap_err();
        assert!(refusal("[]").starts_with("is not a command: "));
        assert!(refusal(r#"{"type":"ConfirmOrder"}"#).contains("missing field `data`"));
        let unknown = refusal(r#"{"type":"Confirm","data":{}}"#);
        assert_eq!(unknown, "type: there is no command `Confirm`: did you mean `ConfirmOrder`?");
        assert!(refusal(r#"{"type":"OrderPlaced","data":{}}"#).contains("is not a command"));
        let message = refusal(r#"{"type":"ConfirmOrder","data":{"order_id":1}}"#);
        assert_eq!(message, "ConfirmOrder: data.order_id: must be text, not 1");
        let both = refusal(r#"{"type":"CancelOrder","data":{"order_id":1,"colour":"red"}}"#);
        assert!(both.starts_with("CancelOrder: data.colour: is not a field"), "{both}");
        assert!(both.contains("; data.order_id: must be text, not 1; data.reason: is missing"), "{both}");
        assert!(
            refusal(r#"{"type":"ConfirmOrder","data":{"order_id":"1"},"time":"now"}"#)
                .starts_with("time: `now`")
        );
        assert!(
            refusal(r#"{"type":"ConfirmOrder","data":{"order_id":"1"},"id":""}"#)
                .starts_with("id: must have")
        );
        assert!(
            refusal(r#"{"type":"ConfirmOrder","data":{"order_id":"1"},"id":"\u0000"}"#)
                .starts_with("id: must not contain a NUL")
        );
        assert!(
            refusal(r#"{"type":"ConfirmOrder","data":{"order_id":"1"},"traceparent":"x"}"#).contains("W3C")
        );
        assert!(
            refusal(r#"{"type":"ConfirmOrder","data":{"order_id":"1"},"colour":"x"}"#)
                .contains("unknown field")
        );
    }
}
