//! The registry's schema ids of commands.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use millrace_schemas::{Definition, Kind};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::config::Config;
use crate::contract;
use crate::failure::Failure;
use crate::http::Http;

/// Concurrent requests to the registry.
const AT_ONCE: usize = 8;

/// The registry's schema ids of this build's commands, and their topics, by full name.
#[derive(Debug, Default)]
pub(super) struct SchemaIds {
    known: HashMap<&'static str, (u32, String)>,
}

impl SchemaIds {
    /// Asks the registry for the ids of all commands of the instance's contexts.
    pub(super) async fn load(config: &Config) -> Result<Self, Failure> {
        let registry = Http::registry(&config.registry)?;
        // A list: with the iterator's closure in its type, the future could not move between threads.
        let ids: Vec<_> = contract::commands(config).map(|definition| id_of(&registry, definition)).collect();
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
        self.known.insert(definition.full_name, (id, topic));
    }

    /// Schema id and topic of a command; `None` when its context is not one of the instance.
    pub(super) fn of(&self, definition: &Definition) -> Option<(u32, &str)> {
        self.known.get(definition.full_name).map(|(id, topic)| (*id, topic.as_str()))
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

#[cfg(test)]
impl SchemaIds {
    /// All commands, with one id and one topic.
    pub(super) fn all(id: u32, topic: &str) -> Self {
        let commands = millrace_schemas::DEFINITIONS.iter().filter(|d| d.kind == Kind::Command);
        Self { known: commands.map(|command| (command.full_name, (id, topic.to_owned()))).collect() }
    }
}
