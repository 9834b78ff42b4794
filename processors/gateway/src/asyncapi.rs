//! The AsyncAPI 3.0 document of an instance: its topics and the records on them, made from the Avro schemas.

use std::collections::BTreeMap;

use millrace_ops::config::Config;
use millrace_schemas::{DEFINITIONS, Definition, Kind};
use millrace_store::names::{COMMANDS, Namespace, dead_letter_topic};
use serde_json::{Map, Value as Json, json};

/// Where it is served.
pub(crate) const PATH: &str = "/v1/asyncapi.json";
/// The media type of values.
const CONTENT_TYPE: &str = "application/avro";
/// Headers of every record, and what each means.
const HEADERS: [(&str, &str); 8] = [
    ("ce_id", "The record's id. A command with the same source and id is executed once."),
    ("ce_source", "What has sent it: a producer, or the instance."),
    ("ce_type", "The full name of its type."),
    ("ce_specversion", "`1.0`, of CloudEvents."),
    ("ce_time", "When it happened, as RFC 3339 has it."),
    ("traceparent", "A W3C trace context."),
    ("correlation-id", "The id of the conversation."),
    ("content-type", "`application/avro`."),
];
/// Further headers of what follows from a command.
const OF_ANSWERS: [(&str, &str); 2] = [
    ("causation-id", "The id of the command that it follows from."),
    ("ce_sequence", "Of events: the version in its stream."),
];

/// The document of an instance.
pub(crate) fn document(config: &Config) -> Json {
    let channels = channels(config);
    let operations: Map<String, Json> = channels.iter().map(|(id, channel)| operation(id, channel)).collect();
    let letters = dead_letters(config, &channels);
    let shown = channels.into_iter().map(|(id, channel)| (id, channel.shown())).chain(letters);
    let messages = records(config).map(|(_, definition)| (definition.name.to_owned(), message(definition)));
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Millrace", "version": env!("CARGO_PKG_VERSION"),
            "description": "Topics of commands and of what follows from them. Keys are stream ids, partitioned by murmur2; a stream keeps its order.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": shown.collect::<Map<_, _>>(),
        "operations": operations,
        "components": {
            "messages": messages.collect::<Map<_, _>>(),
            "schemas": {"Command": headers(&HEADERS), "Answer": headers(&[&HEADERS[..], &OF_ANSWERS].concat())},
        },
    })
}

/// A topic.
struct Channel {
    address: String,
    kind: Kind,
    messages: Vec<&'static str>,
}

impl Channel {
    fn shown(self) -> Json {
        json!({"address": self.address, "messages": references(&self.messages)})
    }
}

fn references(messages: &[&str]) -> Json {
    let reference =
        |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/messages/{name}")}));
    messages.iter().map(reference).collect::<Map<_, _>>().into()
}

/// The types of the instance's records, each with the context whose topic it is on.
fn records(config: &Config) -> impl Iterator<Item = (&'static str, &'static Definition)> {
    let contexts = millrace_schemas::CONTEXTS.iter().copied().filter(|context| config.has(context));
    contexts.flat_map(move |context| {
        let on_topic = move |definition: &&Definition| {
            let is_written = config.topics.outcomes || definition.kind != Kind::Outcome;
            is_written && [context, ""].contains(&definition.context)
        };
        DEFINITIONS.iter().filter(on_topic).map(move |definition| (context, definition))
    })
}

/// The topics, by name without the namespace: `cmd.orders`.
fn channels(config: &Config) -> BTreeMap<String, Channel> {
    let mut channels = BTreeMap::new();
    for (context, definition) in records(config) {
        let (address, kind) = (config.namespace.topic(definition.kind, context), definition.kind);
        let id = id_of(&config.namespace, &address);
        let channel = channels.entry(id).or_insert_with(|| Channel { address, kind, messages: Vec::new() });
        channel.messages.push(definition.name);
    }
    channels
}

fn id_of(namespace: &Namespace, address: &str) -> String {
    let own = address.strip_prefix(&format!("{namespace}.")).unwrap_or(address);
    own.rsplit_once('.').map_or(own, |(id, _version)| id).to_owned()
}

/// The commands that could not be decided, as they were.
fn dead_letters(config: &Config, channels: &BTreeMap<String, Channel>) -> Vec<(String, Json)> {
    let group = config.namespace.group(COMMANDS);
    let commands = channels.iter().filter(|(_, channel)| channel.kind == Kind::Command);
    let letters = commands.map(|(id, Channel { address, messages, .. })| {
        let letters = json!({
            "address": dead_letter_topic(address, &group), "messages": references(messages),
            "description": "Bytes and headers as they were, and headers that begin with `x-`: where it was and why it is here.",
        });
        (format!("{id}.dlq"), letters)
    });
    letters.collect()
}

/// Commands are received, everything else is sent.
fn operation(id: &str, channel: &Channel) -> (String, Json) {
    let action = if channel.kind == Kind::Command { "receive" } else { "send" };
    (id.to_owned(), json!({"action": action, "channel": {"$ref": format!("#/channels/{id}")}}))
}

fn message(definition: &Definition) -> Json {
    let schema: Json = serde_json::from_str(definition.avsc).unwrap_or_default();
    let headers = if definition.kind == Kind::Command { "Command" } else { "Answer" };
    json!({
        "name": definition.full_name, "title": definition.name, "summary": schema.get("doc"), "contentType": CONTENT_TYPE,
        "headers": {"$ref": format!("#/components/schemas/{headers}")},
        "payload": {"schemaFormat": "application/vnd.apache.avro;version=1.9.0", "schema": schema},
        "bindings": {"kafka": {
            "key": {"type": "string", "description": format!("The field `{}`.", definition.key)},
            "schemaIdLocation": "payload", "schemaIdPayloadEncoding": "confluent", "schemaLookupStrategy": "RecordNameStrategy",
        }},
    })
}

fn headers(of: &[(&str, &str)]) -> Json {
    let header = |(name, meaning): &(&str, &str)| {
        ((*name).to_owned(), json!({"type": "string", "description": meaning}))
    };
    json!({"type": "object", "required": ["ce_id", "ce_source"], "properties": of.iter().map(header).collect::<Map<_, _>>()})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millrace_ops::contract;
    use millrace_ops::layout;

    use super::*;

    fn addresses(document: &Json) -> BTreeSet<String> {
        let channels = document["channels"].as_object().unwrap().values();
        channels.map(|channel| channel["address"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_topic_of_records_and_of_dead_commands_is_one_that_setup_makes() {
        let config = Config::default();
        let made: BTreeSet<String> = layout::topics(&config).into_iter().map(|topic| topic.name).collect();
        let shown = addresses(&document(&config));
        assert!(shown.is_subset(&made), "{:?}", shown.difference(&made).collect::<Vec<_>>());
        let group = config.namespace.group(COMMANDS);
        let is_shown = |topic: &&String| {
            config.namespace.carried_by(topic).is_some() || topic.ends_with(&format!("{group}.dlq"))
        };
        let expected: BTreeSet<String> = made.iter().filter(is_shown).cloned().collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn every_record_is_on_the_topics_of_its_kind_with_its_own_schema() {
        let config = Config::default();
        let document = document(&config);
        for command in contract::commands(&config) {
            let on = &document["channels"][format!("cmd.{}", command.context)]["messages"][command.name];
            assert_eq!(on["$ref"], format!("#/components/messages/{}", command.name));
            let schema = &document["components"]["messages"][command.name]["payload"]["schema"];
            assert_eq!(*schema, serde_json::from_str::<Json>(command.avsc).unwrap());
        }
        assert_eq!(document["operations"]["cmd.orders"]["action"], "receive");
        assert_eq!(document["operations"]["evt.orders"]["action"], "send");
    }

    #[test]
    fn an_instance_that_writes_no_outcomes_shows_none() {
        let mut config = Config::default();
        let outcomes =
            |config: &Config| addresses(&document(config)).iter().any(|topic| topic.contains(".out."));
        assert!(outcomes(&config));
        config.topics.outcomes = false;
        assert!(!outcomes(&config));
        assert!(document(&config)["components"]["messages"].get("CommandOutcome").is_none());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'d>(at: &'d Json, found: &mut Vec<&'d str>) {
            match at {
                Json::Object(members) => {
                    found.extend(members.get("$ref").and_then(Json::as_str));
                    members.values().for_each(|member| references(member, found));
                }
                Json::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let (document, mut found) = (document(&Config::default()), Vec::new());
        references(&document, &mut found);
        assert!(found.len() > 100, "{}", found.len());
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    #[test]
    fn an_instance_shows_its_own_contexts_and_namespace() {
        let namespace = Namespace::new("shop").unwrap();
        let config = Config { contexts: vec!["customers".to_owned()], namespace, ..Config::default() };
        let shown = addresses(&document(&config));
        assert!(
            shown.contains("shop.cmd.customers.v1")
                && shown.iter().all(|topic| topic.contains(".customers."))
        );
    }
}
