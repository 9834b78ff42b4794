//! Schemas of the registry, for reading values as JSON.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use millrace_schemas::json::JsonReader;
use millrace_schemas::unframe;
use serde_json::Value;

use crate::config::Config;
use crate::failure::Failure;
use crate::http::Http;

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
    readers: HashMap<u32, Result<JsonReader, String>>,
}

impl Decoder {
    /// A decoder that asks the registry when it meets a schema for the first time.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        Ok(Self { registry: Http::registry(config)?, readers: HashMap::new() })
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
            Ok(reader) => reader.read(body).map_err(|error| error.to_string()),
            Err(reason) => Err(reason.clone()),
        })
    }

    async fn reader(&mut self, id: u32) -> Result<&Result<JsonReader, String>, Failure> {
        match self.readers.entry(id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(vacant) => {
                let avsc = text(&self.registry, id).await?;
                let avsc = avsc.ok_or_else(|| format!("the schema id {id} is not in the registry"));
                Ok(vacant.insert(avsc.and_then(|avsc| {
                    JsonReader::parse(&avsc)
                        .map_err(|error| format!("the schema {id} of the registry: {error}"))
                })))
            }
        }
    }
}
