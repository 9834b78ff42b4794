//! Schemas of the registry, for reading values as JSON.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use millrace_schemas::json::JsonReader;
use millrace_schemas::{Registered, unframe};
use serde_json::Value;

use crate::config::Config;
use crate::failure::Failure;
use crate::http::Http;

/// References of a schema, at most.
const REFERENCES_MAX: usize = 100;

/// The text of a schema; `None` when the registry does not have it.
///
/// # Errors
/// When the registry does not answer, or refuses.
pub async fn text(registry: &Http, id: u32) -> Result<Option<String>, Failure> {
    let found = registry.find(&["schemas", "ids", &id.to_string()]).await?;
    Ok(found.as_ref().and_then(|found| found.get("schema")).and_then(Value::as_str).map(str::to_owned))
}

/// Reads framed values as JSON, each with its writer's schema.
pub struct Decoder {
    registry: Http,
    readers: HashMap<u32, Result<Registered<JsonReader>, String>>,
}

impl Decoder {
    /// A decoder that asks the registry when it meets a schema for the first time.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        Ok(Self { registry: Http::registry(&config.registry)?, readers: HashMap::new() })
    }

    /// The value as JSON, or why it cannot be read.
    ///
    /// # Errors
    /// When the registry does not answer, or refuses.
    pub async fn json(&mut self, value: &[u8]) -> Result<Result<Value, String>, Failure> {
        let (id, body) = match unframe(value) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error.to_string())),
        };
        Ok(match self.reader(id).await? {
            Ok(readers) => readers
                .open(body)
                .and_then(|(reader, body)| reader.read(body))
                .map_err(|error| error.to_string()),
            Err(reason) => Err(reason.clone()),
        })
    }

    async fn reader(&mut self, id: u32) -> Result<&Result<Registered<JsonReader>, String>, Failure> {
        match self.readers.entry(id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(vacant) => Ok(vacant.insert(readers(&self.registry, id).await?)),
        }
    }
}

async fn readers(registry: &Http, id: u32) -> Result<Result<Registered<JsonReader>, String>, Failure> {
    let Some(found) = registry.find(&["schemas", "ids", &id.to_string()]).await? else {
        return Ok(Err(format!("the schema id {id} is not in the registry")));
    };
    let (mut references, mut met) = (Vec::new(), HashSet::new());
    collect(registry, &found, &mut references, &mut met).await?;
    let avsc = found.get("schema").and_then(Value::as_str).unwrap_or_default();
    let readers = Registered::parse(avsc, &references, JsonReader::parse);
    Ok(readers.map_err(|error| format!("the schema {id} of the registry: {error}")))
}

/// The schemas to which one refers, each before those that refer to it. A missing one leads to an error when the schema is
/// parsed.
async fn collect(
    registry: &Http,
    schema: &Value,
    found: &mut Vec<String>,
    met: &mut HashSet<(String, u64)>,
) -> Result<(), Failure> {
    for reference in schema.get("references").and_then(Value::as_array).into_iter().flatten() {
        let subject = reference.get("subject").and_then(Value::as_str).unwrap_or_default();
        let version = reference.get("version").and_then(Value::as_u64).unwrap_or_default();
        if !met.insert((subject.to_owned(), version)) || met.len() > REFERENCES_MAX {
            continue;
        }
        let path = ["subjects", subject, "versions", &version.to_string()];
        if let Some(inner) = registry.find(&path).await? {
            Box::pin(collect(registry, &inner, found, met)).await?;
            found.extend(inner.get("schema").and_then(Value::as_str).map(str::to_owned));
        }
    }
    Ok(())
}
