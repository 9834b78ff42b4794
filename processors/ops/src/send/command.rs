//! One CloudEvent in JSON, to a framed Avro command.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use millrace_engine::commands::Identity;
use millrace_engine::envelope::CONVERSATION_BYTES_MAX;
use millrace_schemas::json::{encode_json, key_of};
use millrace_schemas::{Definition, Kind, frame};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::config::Config;
use crate::contract;
use crate::failure::Failure;
use crate::http::Http;

/// Concurrent requests to the registry.
const AT_ONCE: usize = 8;

/// The registry's schema ids of this build's commands, by full name.
#[derive(Debug, Default)]
pub(super) struct SchemaIds {
    ids: HashMap<&'static str, u32>,
    topics: HashMap<&'static str, String>,
}

impl SchemaIds {
    /// Asks the registry for the ids of all commands of the instance's contexts.
    pub(super) async fn load(config: &Config) -> Result<Self, Failure> {
        let registry = Http::registry(&config.registry)?;
        let ids = contract::commands(config).map(|definition| id_of(&registry, definition));
        let mut ids = stream::iter(ids).buffer_unordered(AT_ONCE);
        let mut known = Self::default();
        while let Some((definition, id)) = ids.try_next().await? {
            known.add(config, definition, id);
        }
        Ok(known)
    }

    /// No ids: for commands that are only checked.
    pub(super) fn none(config: &Config) -> Self {
        let mut known = Self::default();
        contract::commands(config).for_each(|definition| known.add(config, definition, 0));
        known
    }

    fn add(&mut self, config: &Config, definition: &Definition, id: u32) {
        let topic = config.namespace.topic(Kind::Command, definition.context);
        self.ids.insert(definition.full_name, id);
        self.topics.insert(definition.full_name, topic);
    }
}

async fn id_of(
    registry: &Http,
    definition: &'static Definition,
) -> Result<(&'static Definition, u32), Failure> {
    let path = ["subjects", definition.full_name];
    let schema = json!({"schemaType": "AVRO", "schema": definition.avsc});
    let answer = registry.send(Method::POST, &path, Some(&schema)).await?;
    let missing = || {
        let name = definition.full_name;
        Failure::refused(format!(
            "this build's schema of `{name}` is not registered: run `millrace setup` first"
        ))
    };
    if answer.status == StatusCode::NOT_FOUND {
        return Err(missing());
    }
    let found = answer.success()?;
    let id = found.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    Ok((definition, id.ok_or_else(missing)?))
}

/// A command as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
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

/// A command, ready for Kafka.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The short name of its type.
    pub(super) name: &'static str,
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
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn read(text: &RawValue, source: &str, schemas: &SchemaIds) -> Result<Outgoing, String> {
    let event: Event = serde_json::from_str(text.get()).map_err(|error| explained(&error))?;
    let definition = contract::command(&event.type_).map_err(|reason| format!("type: {reason}"))?;
    let body =
        encode_json(definition, &event.data).map_err(|error| format!("{}: data.{error}", definition.name))?;
    let key =
        key_of(definition, &event.data).map_err(|error| format!("{}: data.{error}", definition.name))?;
    let (id, topic) = schemas
        .ids
        .get(definition.full_name)
        .zip(schemas.topics.get(definition.full_name))
        .ok_or_else(|| foreign(definition))?;
    let (key, value, topic) = (key.to_owned(), frame(*id, &body), topic.clone());
    let (name, is_id_made_up) = (definition.name, event.id.is_none());
    let (id, source, headers) = attributes(event, definition, source)?;
    Ok(Outgoing { name, is_id_made_up, topic, key, value, id, source, headers })
}

fn foreign(Definition { name, context, .. }: &Definition) -> String {
    format!("type: `{name}` is of `{context}`, which is not among the `contexts` of this instance")
}

fn explained(error: &serde_json::Error) -> String {
    // The error's line number is relative to the command.
    let text = error.to_string();
    format!("is not a command: {}", text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason))
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

type Attributes = (String, String, Vec<(&'static str, String)>);

/// Identity and headers.
fn attributes(event: Event, definition: &Definition, source: &str) -> Result<Attributes, String> {
    let id = event.id.unwrap_or_else(|| Uuid::now_v7().to_string());
    let id = fitting("id", id, Identity::BYTES_MAX)?;
    let source = event.source.unwrap_or_else(|| source.to_owned());
    let source = fitting("source", source, Identity::BYTES_MAX)?;
    let time = match event.time {
        Some(time) => time_of(&time)?,
        None => Utc::now(),
    };
    let correlation = event.correlationid.or(event.correlation_id);
    let correlation =
        correlation.map(|id| fitting("correlationid", id, CONVERSATION_BYTES_MAX)).transpose()?;
    let mut headers = vec![
        ("ce_id", id.clone()),
        ("ce_type", definition.full_name.to_owned()),
        ("ce_source", source.clone()),
        ("ce_specversion", "1.0".to_owned()),
        ("ce_time", time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        ("content-type", "application/avro".to_owned()),
        ("traceparent", traceparent(event.traceparent)?),
    ];
    headers.extend(correlation.map(|id| ("correlation-id", id)));
    Ok((id, source, headers))
}

/// The text of an attribute, unless a record with it would be a dead letter.
fn fitting(attribute: &str, text: String, most: usize) -> Result<String, String> {
    match text.len() {
        _ if text.contains('\0') => Err(format!("{attribute}: must not contain a NUL character")),
        length if (1..=most).contains(&length) => Ok(text),
        length => Err(format!("{attribute}: must have 1 to {most} bytes, and has {length}")),
    }
}

fn time_of(text: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(text);
    let refuse = |_| format!("time: `{}` is not RFC 3339, such as 1996-07-04T00:00:00Z", shortened(text));
    time.map(|time| time.to_utc()).map_err(refuse)
}

/// A W3C trace context: the given one, else a new one.
fn traceparent(given: Option<String>) -> Result<String, String> {
    let Some(given) = given else {
        let (trace, span) = (Uuid::now_v7().simple().to_string(), Uuid::now_v7().simple().to_string());
        // The last half of a UUIDv7 is random.
        return Ok(format!("00-{trace}-{}-01", span.get(16..).unwrap_or_default()));
    };
    let lengths: Vec<usize> = given.split('-').map(str::len).collect();
    let hexadecimal = given.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    if lengths == [2, 32, 16, 2] && hexadecimal {
        return Ok(given);
    }
    Err(format!(
        "traceparent: `{}` is not a W3C trace context, such as 00-{}-{}-01",
        shortened(&given),
        "0af7651916cd43dd8448eb211c80319c",
        "b7ad6b7169203331"
    ))
}

#[cfg(test)]
mod tests {
    use millrace_schemas::DEFINITIONS;

    use super::*;

    fn schemas() -> SchemaIds {
        let names = || DEFINITIONS.iter().filter(|d| d.kind == Kind::Command).map(|d| d.full_name);
        SchemaIds {
            ids: names().map(|name| (name, 7)).collect(),
            topics: names().map(|n| (n, "t".to_owned())).collect(),
        }
    }

    fn read_text(line: &str) -> Result<Outgoing, String> {
        read(serde_json::from_str(line).unwrap(), "test", &schemas())
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
        assert_eq!((one.source.as_str(), one.name, one.is_id_made_up), ("test", "ConfirmOrder", true));
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
    fn a_command_of_a_context_that_the_instance_lacks_is_refused() {
        let line = r#"{"type":"ConfirmOrder","data":{"order_id":"1"}}"#;
        let refusal = read(serde_json::from_str(line).unwrap(), "test", &SchemaIds::default()).unwrap_err();
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
