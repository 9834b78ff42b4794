//! The schema registry, asked once for each schema.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use millrace_schemas::{DEFINITIONS, Definition, Kind, WriterSchema, unframe};
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_schema_by_id, post_schema};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SchemaType, SuppliedSchema};
use tokio::sync::RwLock;

use crate::error::{Dependency, Fault, WorkError};
use crate::outbox::SchemaIds;

/// More schemas than this are not remembered: hostile ids must not fill the memory.
const SCHEMAS_MAX: usize = 10_000;

/// Why the registry gave no schema.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry answered that it has no such schema: the record's fault.
    #[error("the schema id {0} is not in the registry")]
    UnknownId(u32),
    /// The registry has it, and it is not an Avro record.
    #[error("the schema {0} is not an Avro record: {1}")]
    NotAvro(u32, String),
    /// The registry refuses a schema, mostly because it is not compatible with what is there.
    #[error("the registry refuses the schema of `{0}`: {1}")]
    Incompatible(String, String),
    /// The registry does not answer.
    #[error("{0}")]
    Outage(String),
}

/// The registry's schemas by id, and the ids of this build's schemas.
#[derive(Debug)]
pub struct Registry {
    settings: SrSettings,
    writers: RwLock<HashMap<u32, Arc<WriterSchema>>>,
    ids: RwLock<HashMap<&'static str, u32>>,
}

impl Registry {
    /// A client of the registry's Confluent API at `url`, which answers within `timeout`.
    ///
    /// # Errors
    /// When the URL is not usable.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, RegistryError> {
        let settings = SrSettings::new_builder(url.trim_end_matches('/').to_owned())
            .set_timeout(timeout)
            .build()
            .map_err(|error| RegistryError::Outage(error.to_string()))?;
        Ok(Self { settings, writers: RwLock::default(), ids: RwLock::default() })
    }

    /// The schema with this id.
    ///
    /// # Errors
    /// See [`RegistryError`]; only an outage is worth another try.
    pub async fn writer(&self, id: u32) -> Result<Arc<WriterSchema>, RegistryError> {
        if let Some(known) = self.writers.read().await.get(&id) {
            return Ok(known.clone());
        }
        let found = get_schema_by_id(id, &self.settings).await.map_err(|error| match api_error(&error) {
            Some(code) if code / 100 == 404 || code == 404 => RegistryError::UnknownId(id),
            _ => RegistryError::Outage(error.to_string()),
        })?;
        let parsed =
            WriterSchema::parse(&found.schema).map_err(|e| RegistryError::NotAvro(id, e.to_string()))?;
        let writer = Arc::new(parsed);
        let mut writers = self.writers.write().await;
        if writers.len() < SCHEMAS_MAX {
            writers.insert(id, writer.clone());
        }
        Ok(writer)
    }

    /// The id of this build's schema of a record type; registers it when it is not there yet.
    ///
    /// # Errors
    /// [`RegistryError::Incompatible`] when the registry refuses it, [`RegistryError::Outage`].
    pub async fn id_of(&self, definition: &Definition) -> Result<u32, RegistryError> {
        if let Some(id) = self.ids.read().await.get(definition.full_name) {
            return Ok(*id);
        }
        let name = Some(definition.full_name.to_owned());
        let schema = SuppliedSchema::new(name, SchemaType::Avro, definition.avsc.to_owned());
        let registered = post_schema(&self.settings, definition.full_name.to_owned(), schema).await;
        let id = registered.map(|schema| schema.id).map_err(|error| match api_error(&error) {
            Some(code) if code == 409 || code / 100 == 409 || code == 422 || code / 100 == 422 => {
                RegistryError::Incompatible(definition.full_name.to_owned(), error.to_string())
            }
            _ => RegistryError::Outage(error.to_string()),
        })?;
        self.ids.write().await.insert(definition.full_name, id);
        Ok(id)
    }

    /// The ids of this build's schemas of the record types that are `wanted`.
    pub(crate) async fn ids(&self, wanted: impl Fn(&Definition) -> bool) -> Result<SchemaIds, WorkError> {
        let mut ids = SchemaIds::new();
        for definition in DEFINITIONS.iter().filter(|definition| wanted(definition)) {
            let id = self.id_of(definition).await;
            let id = id.map_err(|error| WorkError::outage(Dependency::Registry, error))?;
            ids.insert(definition.full_name, id);
        }
        Ok(ids)
    }

    /// The ids of this build's schemas of all commands of these contexts.
    pub(crate) async fn command_ids(&self, contexts: &[&str]) -> Result<SchemaIds, WorkError> {
        self.ids(|definition| definition.kind == Kind::Command && contexts.contains(&definition.context))
            .await
    }

    /// The writer's schema and the body of a framed value, for each value that has them.
    pub(crate) async fn open<'v>(
        &self,
        value: Option<&'v [u8]>,
    ) -> Result<Result<(Arc<WriterSchema>, &'v [u8]), Fault>, WorkError> {
        let Some(value) = value else {
            return Ok(Err(Fault::hopeless("undecodable", "the record has no value")));
        };
        let (id, body) = match unframe(value) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error.into())),
        };
        match self.writer(id).await {
            Ok(writer) => Ok(Ok((writer, body))),
            Err(RegistryError::Outage(reason)) => Err(WorkError::outage(Dependency::Registry, reason)),
            Err(error) => Ok(Err(Fault::hopeless("unknown-schema", error.to_string()))),
        }
    }
}

/// The registry's own error code (such as 40403), when it answered at all.
fn api_error(error: &SRCError) -> Option<u32> {
    error.source().and_then(|source| source.downcast_ref::<RawError>()).map(|raw| raw.error_code)
}
