//! A client of the schema registry, which is asked once for each schema.

use std::collections::{HashMap, HashSet};
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_schemas::{CodecError, DEFINITIONS, Definition, Kind, Registered, WriterSchema, unframe};
use quick_cache::sync::Cache;
use reqwest::Client;
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_referenced_schema, get_schema_by_id, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, RegisteredReference, SchemaType, SuppliedSchema,
};
use tokio::sync::RwLock;

use crate::access::{Access, AccessError, Renewed};
use crate::error::{Dependency, Fault, WorkError};
use crate::failpoints;
use crate::outbox::SchemaIds;
use crate::reason::Reason;

/// Cached answers, at most: records with made-up ids must not fill the memory.
const SCHEMAS_MAX: usize = 10_000;
/// References of a schema, at most; one with more is not read.
const REFERENCES_MAX: usize = 100;
/// How long an unknown id is not asked for again. A registry replica that lags has it soon.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

/// Why the registry gave no schema.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry has no such schema: the record's fault, unless the registry's replica lags.
    #[error("{0} is not in the registry")]
    Unknown(Arc<str>),
    /// The registry has the schema, but it cannot be read as Avro records.
    #[error("the schema {0} cannot be read as Avro records: {1}")]
    NotAvro(u32, Arc<str>),
    /// The registry refuses a schema, usually because it is not compatible with the registered version.
    #[error("the registry refuses the schema of `{0}`: {1}")]
    Incompatible(String, String),
    /// The registry does not answer, or its answer is not valid.
    #[error("{0}")]
    Outage(#[source] Reason),
}

/// A schema of the registry.
type Writers = Registered<Arc<WriterSchema>>;

/// The registry's answer about an id.
#[derive(Debug, Clone)]
enum Answer {
    Writers(Arc<Writers>),
    NotAvro(Arc<str>),
    Unknown(Arc<str>, Instant),
}

impl Answer {
    fn is_of_use(&self) -> bool {
        match self {
            Answer::Writers(_) | Answer::NotAvro(_) => true,
            Answer::Unknown(_, asked) => asked.elapsed() < UNKNOWN_FOR,
        }
    }
}

/// The registry's schemas by id, and the ids of this build's schemas.
#[derive(Debug)]
pub struct Registry {
    settings: Renewed<SrSettings>,
    answers: Cache<u32, Answer>,
    ids: RwLock<HashMap<&'static str, u32>>,
}

impl Registry {
    /// A client of the registry's Confluent API at `url`, which answers within `timeout`. It is made again when a file of `access`
    /// changes.
    ///
    /// # Errors
    /// When the URL or a file is not usable.
    pub fn new(url: &str, access: Access, timeout: Duration) -> Result<Self, AccessError> {
        let (url, files) = (url.trim_end_matches('/').to_owned(), access.files());
        let settings = Renewed::new(files, move || {
            let client = access.of_client(Client::builder())?;
            let settings = SrSettings::new_builder(url.clone()).set_timeout(timeout).build_with(client);
            settings.map_err(AccessError::client)
        })?;
        Ok(Self { settings, answers: Cache::new(SCHEMAS_MAX), ids: RwLock::default() })
    }

    /// The schema with this id.
    ///
    /// # Errors
    /// See [`RegistryError`].
    async fn writers(&self, id: u32) -> Result<Arc<Writers>, RegistryError> {
        let known = self.answers.get(&id).filter(Answer::is_of_use);
        let answer = match known {
            Some(known) => known,
            None => self.asked(id).await?,
        };
        match answer {
            Answer::Writers(writers) => Ok(writers),
            Answer::NotAvro(reason) => Err(RegistryError::NotAvro(id, reason)),
            Answer::Unknown(what, _) => Err(RegistryError::Unknown(what)),
        }
    }

    /// Concurrent requests for the same id wait for one answer.
    async fn asked(&self, id: u32) -> Result<Answer, RegistryError> {
        self.answers.remove_if(&id, |answer| !answer.is_of_use());
        self.answers.get_or_insert_async(&id, self.ask(id)).await
    }

    async fn ask(&self, id: u32) -> Result<Answer, RegistryError> {
        let found = match get_schema_by_id(id, &self.settings.get()).await {
            Ok(found) => found,
            Err(error) if is_unknown(&error) => return Ok(unknown(format!("the schema id {id}"))),
            Err(error) => return Err(outage(error)),
        };
        if found.schema_type != SchemaType::Avro {
            return Ok(Answer::NotAvro(format!("its type is {:?}", found.schema_type).into()));
        }
        let (mut references, mut met) = (Vec::new(), HashSet::new());
        if let Some(answer) = self.collect(found.references, &mut references, &mut met).await? {
            return Ok(answer);
        }
        let parse = |avsc: &str| WriterSchema::parse(avsc).map(Arc::new);
        Ok(match Registered::parse(&found.schema, &references, parse) {
            Ok(writers) => Answer::Writers(Arc::new(writers)),
            Err(error) => Answer::NotAvro(error.to_string().into()),
        })
    }

    /// The schemas to which one refers, each before those that refer to it; an answer when one of them is missing.
    async fn collect(
        &self,
        references: Vec<RegisteredReference>,
        found: &mut Vec<String>,
        met: &mut HashSet<(String, u32)>,
    ) -> Result<Option<Answer>, RegistryError> {
        for reference in references {
            let (subject, version) = (reference.subject.clone(), reference.version);
            if !met.insert((subject.clone(), version)) {
                continue;
            }
            if met.len() > REFERENCES_MAX {
                let why = format!("it refers to more than {REFERENCES_MAX} others");
                return Ok(Some(Answer::NotAvro(why.into())));
            }
            let schema = match get_referenced_schema(&self.settings.get(), &reference).await {
                Ok(schema) => schema,
                Err(error) if is_unknown(&error) => {
                    return Ok(Some(unknown(format!(
                        "version {version} of `{subject}`, to which a schema refers,"
                    ))));
                }
                Err(error) => return Err(outage(error)),
            };
            let inner = Box::pin(self.collect(schema.references, found, met)).await?;
            if inner.is_some() {
                return Ok(inner);
            }
            found.push(schema.schema);
        }
        Ok(None)
    }

    /// The id of this build's schema of a record type; registers it if it is not registered yet.
    ///
    /// # Errors
    /// [`RegistryError::Incompatible`] when the registry refuses it, [`RegistryError::Outage`].
    pub async fn id_of(&self, definition: &Definition) -> Result<u32, RegistryError> {
        if let Some(id) = self.ids.read().await.get(definition.full_name) {
            return Ok(*id);
        }
        let name = Some(definition.full_name.to_owned());
        let schema = SuppliedSchema::new(name, SchemaType::Avro, definition.avsc.to_owned());
        let registered = post_schema(&self.settings.get(), definition.full_name.to_owned(), schema).await;
        let id = registered.map(|schema| schema.id).map_err(|error| match api_error(&error) {
            Some(code) if code == 409 || code / 100 == 409 || code == 422 || code / 100 == 422 => {
                RegistryError::Incompatible(definition.full_name.to_owned(), error.to_string())
            }
            _ => outage(error),
        })?;
        self.ids.write().await.insert(definition.full_name, id);
        Ok(id)
    }

    /// The ids of this build's schemas of the record types that are `wanted`.
    pub(crate) async fn ids(&self, wanted: impl Fn(&Definition) -> bool) -> Result<SchemaIds, WorkError> {
        let mut ids = SchemaIds::new();
        for definition in DEFINITIONS.iter().filter(|definition| wanted(definition)) {
            let id = self.id_of(definition).await;
            let id = id.map_err(|error| WorkError::outage(Dependency::Registry, Reason::of(error)))?;
            ids.insert(definition.full_name, id);
        }
        Ok(ids)
    }

    /// The ids of this build's schemas of all commands of these contexts.
    pub(crate) async fn command_ids(&self, contexts: &[&str]) -> Result<SchemaIds, WorkError> {
        self.ids(|definition| definition.kind == Kind::Command && contexts.contains(&definition.context))
            .await
    }

    /// The writer's schema and the body of each framed value, or its fault. The fault of an unknown id is not hopeless.
    ///
    /// # Errors
    /// [`WorkError::Outage`].
    pub async fn open<'v>(
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
        match self.writers(id).await {
            Ok(writers) => {
                let opened =
                    writers.open(body).and_then(|(writer, body)| known(writer).map(|writer| (writer, body)));
                Ok(opened.map_err(Fault::from))
            }
            Err(RegistryError::Outage(reason)) => Err(WorkError::outage(Dependency::Registry, reason)),
            Err(error @ RegistryError::Unknown(_)) => {
                Ok(Err(Fault::new("unknown-schema", error.to_string())))
            }
            Err(error) => Ok(Err(Fault::hopeless("unknown-schema", error.to_string()))),
        }
    }
}

/// The schema; an error when a failpoint makes its type unknown.
fn known(writer: &Arc<WriterSchema>) -> Result<Arc<WriterSchema>, CodecError> {
    match failpoints::is_unknown(writer.full_name()) {
        true => Err(CodecError::UnknownType(writer.full_name().to_owned())),
        false => Ok(writer.clone()),
    }
}

fn unknown(what: String) -> Answer {
    Answer::Unknown(what.into(), Instant::now())
}

/// Whether the registry has answered that it has no such schema, subject or version (40403, 40401, 40402). Any other 404 is not the
/// registry's: something else answers at its address.
fn is_unknown(error: &SRCError) -> bool {
    api_error(error).is_some_and(|code| code / 100 == 404)
}

/// The registry's error code (such as 40403), if it answered.
fn api_error(error: &SRCError) -> Option<u32> {
    error.source().and_then(|source| source.downcast_ref::<RawError>()).map(|raw| raw.error_code)
}

/// An outage, with the status of the registry's answer, such as 401, if it answered.
fn outage(error: SRCError) -> RegistryError {
    let cause = error.cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default();
    let text = format!("{}{cause}", error.error);
    RegistryError::Outage(Reason::from(text).with_source(error))
}
