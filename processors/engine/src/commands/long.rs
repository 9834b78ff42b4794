//! Streams that are too long to be folded again inside a batch: a task folds them in pages of events, each in a separate transaction
//! that stores the intermediate state. The batch waits until the task has finished, as in an outage.

use std::time::{Duration, Instant};

use millrace_store::outbox;
use millrace_store::refolded::{self, Of};
use sqlx::PgConnection;

use super::Shared;
use super::refold::{Events, Hindrance, Stream, opened};
use crate::error::{Dependency, WorkError};
use crate::registry::Registry;

/// Events that are folded again inside a batch, and events of a page, at most.
pub const IN_BATCH_MAX: i64 = 5_000;
/// The delay before a stream that could not be folded is tried again.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Events between two log lines about the progress.
const LOGGED_EVERY: i64 = 100_000;

/// The state of a long stream at a version.
///
/// # Errors
/// [`WorkError::Outage`] while it is still being folded; then the error because of which it cannot be folded, if any.
pub(super) async fn state(
    connection: &mut PgConnection,
    shared: &Shared,
    (context, id, version): (&'static str, String, i64),
) -> Result<Option<(String, String)>, WorkError> {
    let of = Of { context, id: &id, state_version: shared.refolders.state_version(context) };
    let (mut at, mut state) = refolded::load(connection, of, version).await?.unwrap_or_default();
    if version - at > IN_BATCH_MAX {
        return Err(begin(shared, (context, id), (at, version)));
    }
    while at < version {
        let (last, events) = events(connection, &shared.registry, of, (at, version)).await?;
        state = shared.refolders.fold(connection, (context, &id), state, &events).await?;
        // Events that the outbox lacks will not arrive later.
        at = if last == at { version } else { last };
    }
    Ok(state.map(|state| (id, state)))
}

/// Begins to fold a stream again unless a task does already; the error has the progress.
fn begin(shared: &Shared, stream: Stream, (at, version): (i64, i64)) -> WorkError {
    let (context, id) = &stream;
    let progress = format!("the state of {context}/{id} is folded again from its events: {at} of {version}");
    let mut streams = shared.refolders.refolding.streams();
    match streams.get(&stream) {
        Some(Some((since, hindrance))) if since.elapsed() < TRIED_AGAIN_AFTER => return hindrance.error(),
        Some(None) => {}
        _ if !shared.folds_long => {}
        _ => {
            streams.insert(stream.clone(), None);
            tokio::spawn(refold(shared.clone(), stream, version));
        }
    }
    WorkError::outage(Dependency::Postgres, progress)
}

/// Folds a stream up to a version and stores the state, before a command needs it: that command's batch then only folds the events
/// that came later.
///
/// # Errors
/// As of deciding; what was folded is stored, and the next call continues from there.
pub async fn fold_ahead(
    shared: &Shared,
    (context, id): (&'static str, &str),
    version: i64,
) -> Result<(), WorkError> {
    pages(shared, (context, id), version).await
}

/// Folds a stream up to a version.
async fn refold(shared: Shared, stream: Stream, version: i64) {
    let (context, id) = &stream;
    tracing::info!(context, id, version, "a long stream is folded again from its events, in pages");
    let ended = pages(&shared, (*context, id.as_str()), version).await;
    let mut streams = shared.refolders.refolding.streams();
    match ended.as_ref().err().and_then(Hindrance::of) {
        Some(hindrance) => {
            tracing::warn!(context, id, why = %hindrance.error(), "a long stream cannot be folded again");
            streams.insert(stream, Some((Instant::now(), hindrance)));
        }
        // The next batch that needs the stream continues from the stored state.
        None => drop(streams.remove(&stream)),
    }
}

async fn pages(shared: &Shared, (context, id): (&'static str, &str), version: i64) -> Result<(), WorkError> {
    let of = Of { context, id, state_version: shared.refolders.state_version(context) };
    let mut connection = shared.pool.acquire().await?;
    let (mut at, mut state) = refolded::load(&mut connection, of, version).await?.unwrap_or_default();
    while at < version {
        let (last, events) = events(&mut connection, &shared.registry, of, (at, version)).await?;
        // Such as those that were archived: a state without them would be wrong.
        if events.is_empty() || i64::try_from(events.len()) != Ok(last - at) {
            let missing = format!("stream {context}/{id}: the outbox lacks events behind version {at}");
            return Err(WorkError::Refused(missing.into()));
        }
        state = shared.refolders.fold(&mut connection, (context, id), state, &events).await?;
        refolded::put(&mut connection, of, last, state.as_deref()).await?;
        if last / LOGGED_EVERY > at / LOGGED_EVERY {
            tracing::info!(context, id, at = last, version, "folded again");
        }
        at = last;
    }
    Ok(())
}

/// The next events of a stream up to a version, each with its writer's schema and its body, and the version of the last one.
async fn events(
    connection: &mut PgConnection,
    registry: &Registry,
    Of { context, id, .. }: Of<'_>,
    (at, version): (i64, i64),
) -> Result<(i64, Events), WorkError> {
    let page = outbox::page(connection, (context, id), (at, version), IN_BATCH_MAX).await?;
    let (mut last, mut events) = (at, Events::with_capacity(page.len()));
    for (version, payload) in page {
        events.push(opened(connection, registry, &payload).await?);
        last = version;
    }
    Ok((last, events))
}
