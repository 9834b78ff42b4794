//! `millrace stream show`: a stream's events and the state that they fold to, now or back then.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use millrace_domain::Context;
use millrace_domain::registry::{self, Visitor};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::http::Http;
use millrace_ops::known;
use millrace_ops::layout::{self, Side};
use millrace_ops::postgres::Database;
use millrace_ops::schema;
use millrace_schemas::json::JsonReader;
use millrace_schemas::{Message as _, WriterSchema, short_name, unframe};
use millrace_store::timestamp::Nearest;
use millrace_store::{outbox, stream};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::StreamShow;
use crate::output::{self, Format, Table};

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

/// Shows a stream.
///
/// # Errors
/// [`Failure::NotFound`] when the stream has no such events, [`Failure::Usage`] when it is not said which stream.
pub async fn show(config: &Config, format: Format, options: &StreamShow) -> Result<(), Failure> {
    let write = Database::of(config, Side::Write)?;
    let (context, id) = identified(config, &write, options).await?;
    let events = stored(&write, &context, &id, options).await?;
    if events.is_empty() {
        return Err(Failure::NotFound(format!("the stream `{context}/{id}` has no events{}", then(options))));
    }
    let schemas = Schemas::load(config, &events).await?;
    let data: Vec<Value> = events.iter().map(|event| schemas.json(event)).collect::<Result<_, _>>()?;
    let state = fold(&context, &events, &schemas)?;
    let shown = Shown { context, id, events, data, state };
    output::print(format, &shown.text(), &shown.json())
}

fn then(options: &StreamShow) -> String {
    options.as_of.map(|moment| format!(" until {}", output::time(moment))).unwrap_or_default()
}

/// The stream's context and id: said, or found because only one context has the id.
async fn identified(
    config: &Config,
    write: &Database,
    options: &StreamShow,
) -> Result<(String, String), Failure> {
    let contexts = layout::contexts(config);
    if let Some(context) = &options.context {
        known::among("context", context, &contexts)?;
        let id = options.id.strip_prefix(&format!("{context}/")).unwrap_or(&options.id);
        return Ok((context.clone(), id.to_owned()));
    }
    if let Some((context, id)) = options.id.split_once('/').filter(|(context, _)| contexts.contains(context))
    {
        return Ok((context.to_owned(), id.to_owned()));
    }
    let found = stream::contexts_of(&write.pool, &options.id).await;
    let found = found.map_err(|error| write.failure(error))?;
    match found.as_slice() {
        [context] => Ok((context.clone(), options.id.clone())),
        [] => Err(Failure::NotFound(format!("no context has a stream `{}`", options.id))),
        several => Err(Failure::usage(format!(
            "`{}` is a stream of {}: add --context",
            options.id,
            several.join(" and of ")
        ))),
    }
}

async fn stored(
    write: &Database,
    context: &str,
    id: &str,
    options: &StreamShow,
) -> Result<Vec<Stored>, Failure> {
    let rows = outbox::of_stream(&write.pool, (context, id), options.at_version, options.as_of).await;
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

/// The schemas that events were written with, by the registry's id.
struct Schemas(HashMap<u32, (WriterSchema, JsonReader)>);

impl Schemas {
    async fn load(config: &Config, events: &[Stored]) -> Result<Self, Failure> {
        let registry = Http::registry(&config.registry)?;
        let mut known = HashMap::new();
        for event in events {
            let (id, _) = unframe(&event.payload).map_err(|error| spoiled(event, &error))?;
            if let std::collections::hash_map::Entry::Vacant(vacant) = known.entry(id) {
                let avsc = text_of(&registry, id).await?;
                let refuse = |error| Failure::refused(format!("the schema {id} of the registry: {error}"));
                let parsed =
                    (WriterSchema::parse(&avsc).map_err(refuse)?, JsonReader::parse(&avsc).map_err(refuse)?);
                vacant.insert(parsed);
            }
        }
        Ok(Self(known))
    }

    fn of<'p>(&self, event: &'p Stored) -> Result<(&WriterSchema, &JsonReader, &'p [u8]), Failure> {
        let (id, body) = unframe(&event.payload).map_err(|error| spoiled(event, &error))?;
        let missing = || Failure::refused(format!("the schema {id} is not known"));
        self.0.get(&id).map(|(writer, reader)| (writer, reader, body)).ok_or_else(missing)
    }

    fn json(&self, event: &Stored) -> Result<Value, Failure> {
        let (_, reader, body) = self.of(event)?;
        reader.read(body).map_err(|error| spoiled(event, &error))
    }
}

async fn text_of(registry: &Http, id: u32) -> Result<String, Failure> {
    schema::text(registry, id).await?.ok_or_else(|| {
        Failure::refused(format!("the schema {id} of an event is not in the registry any more"))
    })
}

fn spoiled(event: &Stored, error: &millrace_schemas::CodecError) -> Failure {
    Failure::refused(format!("the event {} (version {}) cannot be read: {error}", event.id, event.version))
}

/// The state, folded with the code of today.
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
            let decoded = C::Event::decode(writer, body).map_err(|error| spoiled(event, &error))?;
            state = C::evolve(state, &decoded);
        }
        serde_json::to_value(state)
            .map_err(|error| Failure::refused(format!("the state is not JSON: {error}")))
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

/// What is printed.
struct Shown {
    context: String,
    id: String,
    events: Vec<Stored>,
    data: Vec<Value>,
    state: Value,
}

impl Shown {
    fn json(&self) -> Value {
        let event = |(event, data): (&Stored, &Value)| {
            json!({
                "version": event.version, "type": event.type_, "id": event.id,
                "time": output::time(event.occurred_at), "causation_id": event.causation_id, "data": data,
            })
        };
        let events: Vec<Value> = self.events.iter().zip(&self.data).map(event).collect();
        let version = self.events.last().map(|event| event.version);
        json!({"context": self.context, "id": self.id, "version": version, "events": events, "state": self.state})
    }

    fn text(&self) -> String {
        let mut table = Table::new(&["version", "time", "type", "data"]);
        for (event, data) in self.events.iter().zip(&self.data) {
            let name = short_name(&event.type_);
            table.row([
                event.version.to_string(),
                output::time(event.occurred_at),
                name.to_owned(),
                data.to_string(),
            ]);
        }
        let version = self.events.last().map(|event| event.version).unwrap_or_default();
        let state = &self.state;
        format!("{}/{}\n\n{}\nstate at version {version}\n{state:#}\n", self.context, self.id, table.render())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_shown_with_its_state() {
        let event = Stored {
            id: Uuid::nil(),
            type_: "millrace.orders.OrderConfirmed".to_owned(),
            payload: Vec::new(),
            version: 2,
            causation_id: None,
            occurred_at: DateTime::UNIX_EPOCH,
        };
        let shown = Shown {
            context: "orders".to_owned(),
            id: "1".to_owned(),
            events: vec![event],
            data: vec![json!({"order_id": "1"})],
            state: json!({"status": "confirmed"}),
        };
        let text = shown.text();
        assert!(
            text.contains("2        1970-01-01T00:00:00.000Z  OrderConfirmed  {\"order_id\":\"1\"}"),
            "{text}"
        );
        assert!(text.contains("state at version 2\n{\n  \"status\": \"confirmed\"\n}"), "{text}");
        assert_eq!(shown.json()["version"], 2);
    }
}
