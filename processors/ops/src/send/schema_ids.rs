//! The registry's schema ids of commands.

use std::collections::{BTreeSet, HashMap};

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
    /// Those that the registry does not have as this build has them.
    unregistered: BTreeSet<&'static str>,
}

impl SchemaIds {
    /// Asks the registry for the ids of all commands of the instance's contexts. A later build whose `setup` has not run yet can
    /// send the commands that have not changed.
    pub(super) async fn load(config: &Config) -> Result<Self, Failure> {
        let registry = Http::registry(&config.registry)?;
        // A list: with the iterator's closure in its type, the future could not move between threads.
        let ids: Vec<_> = contract::commands(config).map(|definition| id_of(&registry, definition)).collect();
        let mut ids = stream::iter(ids).buffer_unordered(AT_ONCE);
        let mut known = Self::default();
        while let Some((definition, id)) = ids.try_next().await? {
            match id {
                Some(id) => known.add(config, definition, id),
                None => drop(known.unregistered.insert(definition.full_name)),
            }
        }
        Ok(known)
    }

    /// Refuses ids of which one is missing: for a sender that keeps them.
    pub(super) fn complete(self) -> Result<Self, Failure> {
        match self.unregistered.first() {
            Some(name) => Err(Failure::refused(unregistered(name))),
            None => Ok(self),
        }
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

    /// Schema id and topic of a command.
    ///
    /// # Errors
    /// Why it has none, for people.
    pub(super) fn of(&self, definition: &Definition) -> Result<(u32, &str), String> {
        let known = self.known.get(definition.full_name).map(|(id, topic)| (*id, topic.as_str()));
        known.ok_or_else(|| match self.unregistered.get(definition.full_name) {
            Some(name) => unregistered(name),
            None => foreign(definition),
        })
    }
}

fn unregistered(name: &str) -> String {
    format!("this build's schema of `{name}` is not registered: run `millrace setup` first")
}

fn foreign(Definition { name, context, .. }: &Definition) -> String {
    format!("`{name}` is of `{context}`, which is not among the `contexts` of this instance")
}

/// The id of this build's schema, if the registry has it.
async fn id_of(
    registry: &Http,
    definition: &'static Definition,
) -> Result<(&'static Definition, Option<u32>), Failure> {
    let path = ["subjects", definition.full_name];
    let schema = json!({"schemaType": "AVRO", "schema": definition.avsc});
    let answer = registry.send(Method::POST, &path, Some(&schema)).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok((definition, None));
    }
    let found = answer.success()?;
    let id = found.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    Ok((definition, id))
}

#[cfg(test)]
impl SchemaIds {
    /// All commands, with one id and one topic.
    pub(super) fn all(id: u32, topic: &str) -> Self {
        let commands = millrace_schemas::DEFINITIONS.iter().filter(|d| d.kind == Kind::Command);
        let known = commands.map(|command| (command.full_name, (id, topic.to_owned()))).collect();
        Self { known, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_not_registered_is_refused_and_others_are_not() {
        let mut ids = SchemaIds::all(7, "t");
        let (place, cancel) =
            (contract::command("PlaceOrder").unwrap(), contract::command("CancelOrder").unwrap());
        ids.known.remove(place.full_name);
        assert!(ids.of(place).unwrap_err().contains("not among the `contexts`"));
        ids.unregistered.insert(place.full_name);
        assert!(ids.of(place).unwrap_err().contains("run `millrace setup` first"));
        assert_eq!(ids.of(cancel), Ok((7, "t")));
        assert!(ids.complete().is_err(), "a sender that keeps its ids needs all");
    }
}
