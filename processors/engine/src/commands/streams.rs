//! The rows of streams: locked in a fixed order, loaded at the locked version, written once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use millrace_domain::{Context, Reference, References};
use millrace_store::stream;
use sqlx::PgConnection;

use super::Shared;
use super::arrived::Arrived;
use super::long;
use crate::error::WorkError;
use crate::metrics::timed;
use crate::reason::Reason;
use crate::release;

/// A locked stream and its state while a batch is decided.
pub(super) struct Locked<S> {
    /// The row's `ctid`, which does not change while the row is locked.
    pub(super) ctid: String,
    pub(super) version: i64,
    pub(super) state: Option<S>,
    pub(super) changed: bool,
}

/// The locked streams of a batch, by id.
pub(super) type Locks<S> = HashMap<String, Locked<S>>;

/// The state of a stream that was read or written. Cached after the commit: another command of the batch may still write a stream
/// that was read.
pub(super) struct Stored {
    pub(super) context: &'static str,
    pub(super) id: String,
    pub(super) version: i64,
    pub(super) state: Arc<str>,
}

/// Locks every stream that the commands name, then loads their states in a second statement: a statement that waits for a lock reads
/// its other rows in the snapshot from before the wait.
pub(super) async fn lock_and_load<C: Context>(
    connection: &mut PgConnection,
    shared: &Shared,
    commands: &[Arrived<'_, C>],
) -> Result<Locks<C::State>, WorkError> {
    let ids: BTreeSet<String> = commands.iter().flat_map(|arrived| C::streams(&arrived.command)).collect();
    let missing: Vec<&String> = ids.iter().filter(|id| shared.cache.version(C::NAME, id).is_none()).collect();
    timed("stream insert", stream::insert_missing(connection, C::NAME, C::STATE_VERSION, &missing)).await?;
    let locked =
        timed("stream lock", stream::lock(connection, C::NAME, C::STATE_VERSION, ids.iter().collect()))
            .await?;
    refuse_newer(connection, C::NAME, locked.iter().map(|(id, _, _, newer)| (id, *newer))).await?;
    let (mut states, mut load) = (HashMap::new(), Vec::new());
    for (id, version, ..) in &locked {
        match shared.cache.get(C::NAME, id, *version) {
            Some(state) => drop(states.insert(id.clone(), state.to_string())),
            None if *version > 0 => load.push(id.clone()),
            None => {}
        }
    }
    states.extend(read(connection, shared, C::NAME, C::STATE_VERSION, load).await?);
    locked
        .into_iter()
        .map(|(id, version, ctid, _)| Ok((id.clone(), parse::<C>(ctid, version, states.remove(&id))?)))
        .collect()
}

/// Loads streams as they are, without locking them, and inserts none.
pub(super) async fn load<C: Context>(
    connection: &mut PgConnection,
    shared: &Shared,
    ids: BTreeSet<String>,
) -> Result<Locks<C::State>, WorkError> {
    let rows = stream::states(connection, C::NAME, C::STATE_VERSION, ids.iter().cloned().collect()).await?;
    // A row without events has no state that could be out of date.
    let rows: Vec<_> = rows.into_iter().filter(|(_, version, ..)| *version > 0).collect();
    let versions: HashMap<String, i64> =
        rows.iter().map(|(id, version, ..)| (id.clone(), *version)).collect();
    let mut states = complete(connection, shared, C::NAME, rows).await?;
    let loaded = |id: String| {
        let version = versions.get(&id).copied().unwrap_or_default();
        let stream = parse::<C>(String::new(), version, states.remove(&id))?;
        Ok((id, stream))
    };
    ids.into_iter().map(loaded).collect()
}

/// `BuildTooOld` for a state of a later version if a later release is deployed: otherwise this build and the later one would fold the
/// whole stream again in turns. If none is deployed, the later release was rolled back, and the state is folded again.
async fn refuse_newer<'s>(
    connection: &mut PgConnection,
    context: &str,
    mut streams: impl Iterator<Item = (&'s String, bool)>,
) -> Result<(), WorkError> {
    match streams.find(|(_, newer)| *newer) {
        Some((id, _)) => {
            let what = format!("the state of the stream {context}/{id} is of a later version");
            release::refuse_if_later(connection, &what).await
        }
        None => Ok(()),
    }
}

fn parse<C: Context>(
    ctid: String,
    version: i64,
    state: Option<String>,
) -> Result<Locked<C::State>, WorkError> {
    let state = state.map(|json| serde_json::from_str::<Option<C::State>>(&json)).transpose();
    let state =
        state.map_err(|error| WorkError::Refused(Reason::because("a stored state cannot be read", error)))?;
    Ok(Locked { ctid, version, state: state.flatten(), changed: false })
}

/// Reads states; a state that is missing, or of an earlier version than this build's, is folded again from its events.
async fn read(
    connection: &mut PgConnection,
    shared: &Shared,
    context: &'static str,
    state_version: i32,
    ids: Vec<String>,
) -> Result<HashMap<String, String>, WorkError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = timed("stream states", stream::states(connection, context, state_version, ids)).await?;
    complete(connection, shared, context, rows).await
}

async fn complete(
    connection: &mut PgConnection,
    shared: &Shared,
    context: &'static str,
    rows: Vec<stream::State>,
) -> Result<HashMap<String, String>, WorkError> {
    refuse_newer(connection, context, rows.iter().map(|(id, _, _, newer)| (id, *newer))).await?;
    let (mut states, mut stale) = (HashMap::new(), Vec::new());
    for (id, version, state, _) in rows {
        match state {
            Some(state) => drop(states.insert(id, state)),
            None => stale.push((id, version)),
        }
    }
    if stale.is_empty() {
        return Ok(states);
    }
    tracing::info!(context, streams = stale.len(), "states folded again from their events");
    let (short, long): (Vec<_>, Vec<_>) =
        stale.into_iter().partition(|(_, version)| *version <= long::IN_BATCH_MAX);
    let short = short.into_iter().map(|(id, _)| id).collect();
    states.extend(shared.refolders.refold(connection, &shared.registry, context, short).await?);
    for (id, version) in long {
        states.extend(long::state(connection, shared, (context, id, version)).await?);
    }
    Ok(states)
}

/// The public states of the referenced streams of other contexts that exist, and the states that were read to make them.
pub(super) async fn references<C: Context>(
    connection: &mut PgConnection,
    shared: &Shared,
    commands: &[Arrived<'_, C>],
) -> Result<(References, Vec<Stored>), WorkError> {
    let of = |c: &Arrived<'_, C>| C::references(&c.command).into_iter().chain(C::advice(&c.command));
    let named: BTreeSet<Reference> = commands.iter().flat_map(of).collect();
    let mut by_context: HashMap<&'static str, Vec<String>> = HashMap::new();
    for Reference { context, id } in named {
        by_context.entry(context).or_default().push(id);
    }
    let (mut references, mut read) = (References::default(), Vec::new());
    for (context, ids) in by_context {
        for (id, state) in referenced(connection, shared, context, ids, &mut read).await? {
            references.insert(Reference { context, id }, state);
        }
    }
    Ok((references, read))
}

/// Reads referenced states without locking: only those that the cache does not have at their newest version.
async fn referenced(
    connection: &mut PgConnection,
    shared: &Shared,
    context: &'static str,
    ids: Vec<String>,
    stored: &mut Vec<Stored>,
) -> Result<Vec<(String, String)>, WorkError> {
    let known: Vec<i64> = ids.iter().map(|id| shared.cache.version(context, id).unwrap_or(-1)).collect();
    let version = shared.refolders.state_version(context);
    let rows =
        timed("stream referenced", stream::referenced(connection, context, version, (ids, known))).await?;
    let (mut states, mut read) = (Vec::new(), Vec::new());
    for (id, version, cached, state, newer) in rows {
        match shared.cache.get(context, &id, version).filter(|_| cached) {
            Some(state) => states.push((id, state.to_string())),
            None => read.push((id, version, state, newer)),
        }
    }
    let versions: HashMap<String, i64> =
        read.iter().map(|(id, version, ..)| (id.clone(), *version)).collect();
    for (id, state) in complete(connection, shared, context, read).await? {
        if let Some(version) = versions.get(&id) {
            stored.push(Stored {
                context,
                id: id.clone(),
                version: *version,
                state: Arc::from(state.as_str()),
            });
        }
        states.push((id, state));
    }
    Ok(states)
}

/// Writes the streams that have new events.
pub(super) async fn store<C: Context>(
    connection: &mut PgConnection,
    streams: Locks<C::State>,
) -> Result<Vec<Stored>, WorkError> {
    let (mut stored, mut ctids) = (Vec::new(), Vec::new());
    for (id, Locked { ctid, version, state, .. }) in streams.into_iter().filter(|(_, stream)| stream.changed)
    {
        let json = serde_json::to_string(&state);
        let json =
            json.map_err(|error| WorkError::Refused(Reason::because("a state cannot be written", error)))?;
        stored.push(Stored { context: C::NAME, id, version, state: Arc::from(json) });
        ctids.push(ctid);
    }
    if stored.is_empty() {
        return Ok(stored);
    }
    let changed: Vec<stream::Changed<'_>> = stored.iter().zip(&ctids).map(changed).collect();
    timed("stream update", stream::update(connection, C::STATE_VERSION, &changed)).await?;
    Ok(stored)
}

fn changed<'s>((stored, ctid): (&'s Stored, &'s String)) -> stream::Changed<'s> {
    stream::Changed { ctid, version: stored.version, state: &stored.state }
}
