//! A stream's events and the state that they fold to, now, at a version or at a past time.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use millrace_domain::Context;
use millrace_domain::registry::{self, Visitor};
use millrace_schemas::json::JsonReader;
use millrace_schemas::{CodecError, Message as _, WriterSchema, unframe};
use millrace_store::timestamp::Nearest;
use millrace_store::{outbox, stream};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_with::serde_as;
use uuid::Uuid;

use crate::config::Config;
use crate::failure::Failure;
use crate::http::Http;
use crate::known;
use crate::layout::{self, Side};
use crate::moment::{self, Written};
use crate::postgres::Database;
use crate::schema;

/// The requested stream, and up to where.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `context/id`; or the id, if only one context has it or `context` is given.
    pub id: String,
    /// The context, if the id does not include it.
    pub context: Option<String>,
    /// Only the events up to this version.
    pub at_version: Option<i64>,
    /// Only the events up to this time.
    pub as_of: Option<DateTime<Utc>>,
}

/// A stream's events and its state.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StreamShown")]
pub struct Shown {
    /// Its context.
    pub context: String,
    /// Its id.
    pub id: String,
    /// The version of the last of these events.
    pub version: i64,
    /// In order.
    pub events: Vec<Event>,
    /// The state, folded by this build.
    pub state: Value,
}

/// An event.
#[serde_as]
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StreamEvent")]
pub struct Event {
    /// Its version, from 1.
    pub version: i64,
    /// The full name of its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Its `ce_id`.
    pub id: Uuid,
    /// The time of its command, which a producer may set.
    #[serde_as(as = "Written")]
    #[schemars(with = "Written")]
    #[serde(rename = "time")]
    pub occurred_at: DateTime<Utc>,
    /// The `ce_id` of the command that caused it.
    pub causation_id: Option<String>,
    /// Its fields.
    pub data: Value,
}

/// An event of the outbox.
#[derive(Debug)]
struct Stored {
    id: Uuid,
    type_: String,
    payload: Vec<u8>,
    version: i64,
    causation_id: Option<String>,
    occurred_at: DateTime<Utc>,
}

/// A stream's events and the state that they fold to.
///
/// # Errors
/// [`Failure::NotFound`] when the stream has no such events, [`Failure::Usage`] when several contexts have the id; when the
/// database or the registry does not answer.
pub async fn show(config: &Config, request: &Request) -> Result<Shown, Failure> {
    let write = Database::of(config, Side::Write)?;
    let (context, id) = identified(config, &write, request).await?;
    let stored = stored(&write, &context, &id, request).await?;
    let Some(version) = stored.last().map(|event| event.version) else {
        return Err(Failure::NotFound(format!("the stream `{context}/{id}` has no events{}", then(request))));
    };
    let schemas = Schemas::load(config, &stored).await?;
    let state = fold(&context, &stored, &schemas)?;
    let events: Result<Vec<Event>, Failure> = stored.into_iter().map(|event| schemas.event(event)).collect();
    Ok(Shown { context, id, version, events: events?, state })
}

fn then(request: &Request) -> String {
    request.as_of.map(|at| format!(" until {}", moment::written(at))).unwrap_or_default()
}

/// The stream's context and id: given, or found because only one context has the id.
async fn identified(
    config: &Config,
    write: &Database,
    request: &Request,
) -> Result<(String, String), Failure> {
    let contexts = layout::contexts(config);
    if let Some(context) = &request.context {
        known::among("context", context, &contexts)?;
        let id = request.id.strip_prefix(&format!("{context}/")).unwrap_or(&request.id);
        return Ok((context.clone(), id.to_owned()));
    }
    if let Some((context, id)) = request.id.split_once('/').filter(|(context, _)| contexts.contains(context))
    {
        return Ok((context.to_owned(), id.to_owned()));
    }
    let found = stream::contexts_of(&write.pool, &contexts, &request.id).await;
    let found = found.map_err(|error| write.failure(error))?;
    match found.as_slice() {
        [context] => Ok((context.clone(), request.id.clone())),
        [] => Err(Failure::NotFound(format!("no context has a stream `{}`", request.id))),
        several => Err(Failure::usage(format!(
            "`{}` is a stream of {}: add --context",
            request.id,
            several.join(" and of ")
        ))),
    }
}

async fn stored(
    write: &Database,
    context: &str,
    id: &str,
    request: &Request,
) -> Result<Vec<Stored>, Failure> {
    let rows = outbox::of_stream(&write.pool, (context, id), request.at_version, request.as_of).await;
    let rows = rows.map_err(|error| write.failure(error))?;
    let event = |(id, type_, payload, version, causation_id, Nearest(occurred_at))| Stored {
        id,
        type_,
        payload,
        version,
        causation_id,
        occurred_at,
    };
    Ok(rows.into_iter().map(event).collect())
}

/// The writer's schemas, by the registry's id.
struct Schemas(HashMap<u32, (WriterSchema, JsonReader)>);

impl Schemas {
    async fn load(config: &Config, events: &[Stored]) -> Result<Self, Failure> {
        let registry = Http::registry(&config.registry)?;
        let mut known = HashMap::new();
        for event in events {
            let (id, _) = unframe(&event.payload).map_err(|error| spoiled(event, error))?;
            if let std::collections::hash_map::Entry::Vacant(vacant) = known.entry(id) {
                let avsc = text_of(&registry, id).await?;
                let refuse =
                    |error| Failure::refused(format!("the schema {id} of the registry")).caused_by(error);
                let parsed =
                    (WriterSchema::parse(&avsc).map_err(refuse)?, JsonReader::parse(&avsc).map_err(refuse)?);
                vacant.insert(parsed);
            }
        }
        Ok(Self(known))
    }

    fn of<'p>(&self, event: &'p Stored) -> Result<(&WriterSchema, &JsonReader, &'p [u8]), Failure> {
        let (id, body) = unframe(&event.payload).map_err(|error| spoiled(event, error))?;
        let missing = || Failure::refused(format!("the schema {id} is not known"));
        self.0.get(&id).map(|(writer, reader)| (writer, reader, body)).ok_or_else(missing)
    }

    fn event(&self, stored: Stored) -> Result<Event, Failure> {
        let (_, reader, body) = self.of(&stored)?;
        let data = reader.read(body).map_err(|error| spoiled(&stored, error))?;
        let Stored { id, type_, version, causation_id, occurred_at, .. } = stored;
        Ok(Event { version, type_, id, occurred_at, causation_id, data })
    }
}

async fn text_of(registry: &Http, id: u32) -> Result<String, Failure> {
    schema::text(registry, id).await?.ok_or_else(|| {
        Failure::refused(format!("the schema {id} of an event is not in the registry any more"))
    })
}

fn spoiled(event: &Stored, error: CodecError) -> Failure {
    let Stored { id, version, .. } = event;
    Failure::refused(format!("the event {id} (version {version}) cannot be read")).caused_by(error)
}

/// The state, folded by this build.
fn fold(context: &str, events: &[Stored], schemas: &Schemas) -> Result<Value, Failure> {
    let mut folding = Folding { context, events, schemas, state: Ok(Value::Null) };
    registry::visit(&mut folding);
    folding.state
}

struct Folding<'f> {
    context: &'f str,
    events: &'f [Stored],
    schemas: &'f Schemas,
    state: Result<Value, Failure>,
}

impl Folding<'_> {
    fn of<C: Context>(&self) -> Result<Value, Failure> {
        let mut state: Option<C::State> = None;
        for event in self.events {
            let (writer, _, body) = self.schemas.of(event)?;
            let decoded = C::Event::decode(writer, body).map_err(|error| spoiled(event, error))?;
            state = C::evolve(state, &decoded);
        }
        serde_json::to_value(state)
            .map_err(|error| Failure::refused("the state is not JSON").caused_by(error))
    }
}

impl Visitor for Folding<'_> {
    fn context<C: Context>(&mut self) {
        if C::NAME == self.context {
            self.state = self.of::<C>();
        }
    }

    fn view<V: millrace_domain::View>(&mut self) {}

    fn tally<T: millrace_domain::Tally>(&mut self) {}

    fn log<L: millrace_domain::Log>(&mut self) {}

    fn saga<S: millrace_domain::Saga>(&mut self) {}

    fn effect<E: millrace_domain::Effect>(&mut self) {}
}
