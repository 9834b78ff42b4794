//! Folding the state of a stream again from its events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use millrace_domain::Context;
use millrace_schemas::Message as _;
use millrace_store::outbox;
use sqlx::PgConnection;

use crate::error::{Fault, WorkError};
use crate::registry::Registry;
use crate::release;

/// Context and id.
pub(super) type Stream = (&'static str, String);

/// The streams that are being folded again; for those that could not be, the time and the reason.
#[derive(Default)]
pub(super) struct Refolding(Mutex<HashMap<Stream, Option<(Instant, Hindrance)>>>);

impl Refolding {
    pub(super) fn streams(&self) -> MutexGuard<'_, HashMap<Stream, Option<(Instant, Hindrance)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a stream cannot be folded again, if an immediate retry would fail in the same way.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hindrance {
    /// Its data is refused.
    Refused(String),
    /// An event may be of a later release.
    TooOld(String),
}

impl Hindrance {
    /// `None` for an outage: the next attempt continues from the stored progress.
    pub(super) fn of(error: &WorkError) -> Option<Self> {
        match error {
            WorkError::BuildTooOld(why) => Some(Self::TooOld(why.clone())),
            other => other.fault().map(|fault| Self::Refused(fault.message)),
        }
    }

    /// The error for a batch that needs the stream.
    pub(super) fn error(&self) -> WorkError {
        match self {
            Self::Refused(why) => WorkError::Refused(why.as_str().into()),
            Self::TooOld(why) => WorkError::BuildTooOld(why.clone()),
        }
    }
}

/// An event's writer's schema and its body.
type StoredEvent = (Arc<millrace_schemas::WriterSchema>, Vec<u8>);
/// Events, in the order of their versions.
pub(super) type Events = Vec<StoredEvent>;
type RefoldFn = fn(Option<String>, &Events) -> Result<Option<String>, Fault>;

/// How to fold a stream of any context again from its events.
#[derive(Default)]
pub struct Refolders {
    contexts: HashMap<&'static str, (i32, RefoldFn)>,
    pub(super) refolding: Refolding,
}

impl Refolders {
    /// Adds a context.
    pub fn add<C: Context>(&mut self) {
        self.contexts.insert(C::NAME, (C::STATE_VERSION, fold_events::<C>));
    }

    /// Each context, with the version of the code that folds its states.
    pub fn versions(&self) -> impl Iterator<Item = (&'static str, i32)> + '_ {
        self.contexts.iter().map(|(context, (version, _))| (*context, *version))
    }

    pub(super) fn state_version(&self, context: &str) -> i32 {
        self.contexts.get(context).map_or(0, |(version, _)| *version)
    }

    /// The state of a stream after further events.
    pub(super) async fn fold(
        &self,
        connection: &mut PgConnection,
        (context, id): (&str, &str),
        state: Option<String>,
        events: &Events,
    ) -> Result<Option<String>, WorkError> {
        let Some((_, fold)) = self.contexts.get(context) else {
            return Err(WorkError::Refused(format!("no context `{context}` is registered").into()));
        };
        match fold(state, events) {
            Ok(state) => Ok(state),
            Err(fault) => {
                let message = format!("stream {context}/{id}: {}", fault.message);
                Err(release::of_stored(connection, &Fault { message, ..fault }).await)
            }
        }
    }

    pub(super) async fn refold(
        &self,
        connection: &mut PgConnection,
        registry: &Registry,
        context: &str,
        ids: Vec<String>,
    ) -> Result<HashMap<String, String>, WorkError> {
        let mut states = HashMap::new();
        if ids.is_empty() {
            return Ok(states);
        }
        for (id, events) in refold_events(connection, registry, context, ids).await? {
            let state = self.fold(connection, (context, &id), None, &events).await?;
            states.extend(state.map(|state| (id, state)));
        }
        Ok(states)
    }
}

fn fold_events<C: Context>(state: Option<String>, events: &Events) -> Result<Option<String>, Fault> {
    let state = state.map(|json| serde_json::from_str::<C::State>(&json)).transpose();
    let refused = |error: serde_json::Error| Fault::refused(error.to_string());
    let mut state = state.map_err(refused)?;
    for (writer, body) in events {
        let event = C::Event::decode(writer, body)?;
        state = C::evolve(state, &event);
    }
    state.map(|state| serde_json::to_string(&state).map_err(refused)).transpose()
}

/// The events of streams from the outbox, in order, each with its writer's schema and its body.
///
/// # Errors
/// [`WorkError`]; for an event that cannot be read `Refused`, or `BuildTooOld` if it may be of a later release.
async fn refold_events(
    connection: &mut PgConnection,
    registry: &Registry,
    context: &str,
    ids: Vec<String>,
) -> Result<HashMap<String, Events>, WorkError> {
    let rows = outbox::payloads(connection, context, ids).await?;
    let mut streams: HashMap<String, Events> = HashMap::new();
    for (id, payload) in rows {
        streams.entry(id).or_default().push(opened(connection, registry, &payload).await?);
    }
    Ok(streams)
}

/// The writer's schema and the body of an event of the outbox; errors as of the events of streams.
pub(super) async fn opened(
    connection: &mut PgConnection,
    registry: &Registry,
    payload: &[u8],
) -> Result<StoredEvent, WorkError> {
    match registry.open(Some(payload)).await? {
        Ok((writer, body)) => Ok((writer, body.to_vec())),
        Err(fault) => Err(release::of_stored(connection, &fault).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Dependency;

    #[test]
    fn a_stream_that_a_later_release_has_written_waits_for_it_as_anything_else_does() {
        let again = |error| Hindrance::of(&error).map(|hindrance| hindrance.error());
        let too_old = again(WorkError::BuildTooOld("release 3 is deployed".to_owned()));
        assert!(matches!(too_old, Some(WorkError::BuildTooOld(why)) if why == "release 3 is deployed"));
        let refused = again(WorkError::Refused("stream orders/1: no JSON".into()));
        assert!(matches!(refused, Some(WorkError::Refused(why)) if why.text() == "stream orders/1: no JSON"));
        assert!(again(WorkError::outage(Dependency::Postgres, "out of reach")).is_none());
    }
}
