//! From a batch of records to the events to fold: decoded, each exactly once, in order within each stream.
//!
//! The sequence check: a version up to the applied one is a duplicate; the next one applies, from whichever partition; a later one
//! waits until the gap before it is filled.

use std::collections::{BTreeMap, BTreeSet};

use millrace_domain::Recorded;
use millrace_store::Group;
use millrace_store::names::Namespace;
use millrace_store::progress::{self, Row};
use sqlx::PgConnection;

use super::Shared;
use crate::envelope;
use crate::error::{Fault, WorkError};
use crate::failpoints::{broken, mechanism};
use crate::metrics::timed;
use crate::record::Record;
use crate::registry::Registry;
use crate::release;
use crate::role::{Outcome, Stuck};

/// A decoded event and its place in the batch.
pub(crate) type Placed = (usize, Recorded);

/// The events of a batch to fold, and the outcome of each record.
pub(super) struct Intake {
    pub(super) events: Vec<Placed>,
    pub(super) outcomes: Vec<Outcome>,
}

/// A stream of a context.
pub(super) type Stream = (&'static str, String);

/// The applied version of a stream, and its row in `progress`.
#[derive(Default)]
struct Progress {
    version: i64,
    /// `None` for a stream that has no row yet.
    row: Option<Row>,
    /// Whether an event of the stream applies, or waits, in this batch.
    met: bool,
}

/// Decodes a batch. Records that are not events of their topic's context fail; later records of a key whose failed record may still
/// be decoded wait; the others count as applied.
pub(crate) async fn decode(
    registry: &Registry,
    namespace: &Namespace,
    batch: &[&Record],
) -> Result<(Vec<Placed>, Vec<Outcome>), WorkError> {
    let (mut events, mut outcomes) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    let mut stuck = Stuck::default();
    for (place, record) in batch.iter().enumerate() {
        outcomes.push(match decode_one(registry, namespace, record).await? {
            Ok(_) if stuck.contains(record) => Outcome::Waits,
            Ok(event) => {
                events.push((place, event));
                Outcome::Applied
            }
            Err(fault) => stuck.failed(record, fault),
        });
    }
    Ok((events, outcomes))
}

/// The events of an applied batch. A record that this build cannot decode was no event, unless a later build may have applied it.
pub(super) async fn decode_all(
    connection: &mut PgConnection,
    Shared { registry, namespace, .. }: &Shared,
    batch: &[&Record],
) -> Result<Vec<Placed>, WorkError> {
    let (decoded, outcomes) = decode(registry, namespace, batch).await?;
    release::refuse_unknown(connection, outcomes.iter().filter_map(Outcome::fault)).await?;
    Ok(decoded)
}

async fn decode_one(
    registry: &Registry,
    namespace: &Namespace,
    record: &Record,
) -> Result<Result<Recorded, Fault>, WorkError> {
    let opened = registry.open(record.value.as_deref()).await?;
    Ok(opened.and_then(|(writer, body)| envelope::event(namespace, record, &writer, body)))
}

/// Applies the sequence check to a batch and moves the progress of its streams. [`WorkError::Contended`] when another batch has
/// moved one of them meanwhile.
pub(super) async fn take(
    connection: &mut PgConnection,
    shared: &Shared,
    group: &Group,
    batch: &[&Record],
) -> Result<Intake, WorkError> {
    let (decoded, mut outcomes) = decode(&shared.registry, &shared.namespace, batch).await?;
    let mut progress = load(connection, group, &decoded).await?;
    let events = sort(decoded, &mut progress, &mut outcomes);
    progress.retain(|_, stream| stream.met);
    save(connection, group, progress).await?;
    Ok(Intake { events, outcomes })
}

fn sort(
    decoded: Vec<Placed>,
    progress: &mut BTreeMap<Stream, Progress>,
    outcomes: &mut [Outcome],
) -> Vec<Placed> {
    let mut next = Vec::with_capacity(decoded.len());
    for (place, event) in decoded {
        let Progress { version: applied, met, .. } = progress.entry(stream_of(&event)).or_default();
        let outcome = match event.version - *applied {
            ..=0 if !broken(mechanism::PROGRESS) => Outcome::Duplicate,
            2.. if !broken(mechanism::SEQUENCE_CHECK) => Outcome::Waits,
            _ => {
                *applied = event.version;
                next.push((place, event));
                Outcome::Applied
            }
        };
        *met |= outcome != Outcome::Duplicate;
        if let Some(known) = outcomes.get_mut(place) {
            *known = outcome;
        }
    }
    next
}

/// Moves a stream's progress beyond a discarded record, if it is the next version. A record that is not an event of the topic's
/// context has no version.
pub(super) async fn skip(
    connection: &mut PgConnection,
    Shared { registry, namespace, .. }: &Shared,
    group: &Group,
    record: &Record,
) -> Result<(), WorkError> {
    let (Some(context), Some(stream), Some(version)) =
        (namespace.event_context(&record.topic), record.key_text(), envelope::version(record))
    else {
        return Ok(());
    };
    let decoded = decode_one(registry, namespace, record).await?;
    if decoded.is_err_and(|fault| fault.code == Fault::UNKNOWN_TYPE) {
        return Ok(());
    }
    Ok(progress::skip(connection, group, (context, stream, version)).await?)
}

/// Sets the progress of streams back when events of theirs failed after all. There are few; each is updated by its key, since a join
/// would be planned with the outdated statistics of a growing table.
pub(super) async fn put_back(
    connection: &mut PgConnection,
    group: &Group,
    streams: &BTreeMap<Stream, i64>,
) -> Result<(), WorkError> {
    for ((context, stream), version) in streams {
        progress::put_back(connection, group, (context, stream, *version)).await?;
    }
    Ok(())
}

pub(super) fn stream_of(event: &Recorded) -> Stream {
    (event.event.context(), event.stream.clone())
}

/// Loads the progress of streams, each context in a separate query: a join over contexts and streams would be planned with the
/// outdated statistics of a growing table.
async fn load(
    connection: &mut PgConnection,
    group: &Group,
    decoded: &[Placed],
) -> Result<BTreeMap<Stream, Progress>, WorkError> {
    let mut contexts: BTreeMap<&'static str, BTreeSet<&str>> = BTreeMap::new();
    for (_, event) in decoded {
        contexts.entry(event.event.context()).or_default().insert(&event.stream);
    }
    let mut progress = BTreeMap::new();
    for (context, streams) in contexts {
        let rows =
            timed("progress load", progress::load(connection, group, context, streams.into_iter().collect()))
                .await?;
        let known =
            |(stream, version, row)| ((context, stream), Progress { version, row: Some(row), met: false });
        progress.extend(rows.into_iter().map(known));
    }
    Ok(progress)
}

/// Writes the progress of streams, also of those whose events only wait. When two batches have events of the same stream, because its
/// key has moved to another partition, the second one finds the row changed and is tried again. So no event is folded twice, and
/// none is parked because of an event that was being folded at that moment.
async fn save(
    connection: &mut PgConnection,
    group: &Group,
    progress: BTreeMap<Stream, Progress>,
) -> Result<(), WorkError> {
    let streams = progress.len() as u64;
    let (mut known, mut new) = (Vec::new(), Vec::new());
    for (stream, Progress { version, row, .. }) in progress {
        match row {
            Some(row) => known.push((row, version)),
            None => new.push((stream, version)),
        }
    }
    let new: Vec<(&str, &str, i64)> =
        new.iter().map(|((context, stream), version)| (*context, stream.as_str(), *version)).collect();
    let moved = timed("progress move on", progress::move_on(connection, &known)).await?;
    if moved + timed("progress begin", progress::begin(connection, group, &new)).await? == streams {
        return Ok(());
    }
    Err(WorkError::Contended("another batch has moved one of its streams".into()))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use millrace_schemas::Event;
    use millrace_schemas::catalog::ProductDiscontinued;

    use super::*;

    fn event(stream: &str, version: i64) -> Recorded {
        let product_id = stream.to_owned();
        Recorded {
            id: format!("{stream}-{version}"),
            stream: stream.to_owned(),
            version,
            occurred_at: DateTime::UNIX_EPOCH,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            event: Event::Catalog(ProductDiscontinued { product_id }.into()),
        }
    }

    fn outcomes(arrivals: &[(&str, i64)], applied: i64) -> (Vec<i64>, Vec<Outcome>) {
        let known = Progress { version: applied, ..Progress::default() };
        let mut progress = BTreeMap::from([(("catalog", "a".to_owned()), known)]);
        let placed =
            arrivals.iter().enumerate().map(|(place, (stream, version))| (place, event(stream, *version)));
        let mut outcomes = vec![Outcome::Applied; arrivals.len()];
        let next = sort(placed.collect(), &mut progress, &mut outcomes);
        (next.iter().map(|(_, event)| event.version).collect(), outcomes)
    }

    #[test]
    fn the_next_version_applies_an_applied_one_is_a_duplicate_and_one_ahead_of_a_gap_waits() {
        use Outcome::{Applied, Duplicate, Waits};
        assert_eq!(
            outcomes(&[("a", 3), ("a", 3), ("a", 2), ("a", 4), ("a", 6)], 2),
            (vec![3, 4], vec![Applied, Duplicate, Duplicate, Applied, Waits])
        );
    }

    #[test]
    fn streams_do_not_wait_for_each_other() {
        use Outcome::{Applied, Waits};
        assert_eq!(outcomes(&[("a", 9), ("b", 1), ("b", 2)], 2), (vec![1, 2], vec![Waits, Applied, Applied]));
    }
}
