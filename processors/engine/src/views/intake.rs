//! From a batch of records to the events to fold: decoded, each exactly once, in order within each stream.
//!
//! The sequence check: a version up to the applied one is a duplicate; the next one applies, from whichever partition; a later one
//! waits until the gap before it is filled.

use std::collections::BTreeMap;

use millrace_domain::Recorded;
use millrace_store::Group;
use millrace_store::names::Namespace;
use millrace_store::progress::{self, Key, Row};
use sqlx::PgConnection;

use super::Shared;
use crate::envelope;
use crate::error::{Fault, WorkError};
use crate::failpoints::{broken, mechanism};
use crate::metrics::timed;
use crate::outcome::{Outcome, Stuck};
use crate::record::Record;
use crate::registry::Registry;
use crate::release;
use crate::sequence::{Decoded, Intake, Placed};

/// A batch that has passed the sequence check, before the progress of its streams is written.
pub(crate) struct Checked<'g> {
    group: &'g Group,
    progress: BTreeMap<Stream, Progress>,
    intake: Intake,
}

impl Checked<'_> {
    /// Whether every record applies, or had its effect before.
    pub(crate) fn is_plain(&self) -> bool {
        self.intake.outcomes.iter().all(Outcome::is_done)
    }

    pub(crate) fn into_intake(self) -> Intake {
        self.intake
    }
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

/// The decoded records of a batch; outcomes as of [`decode`].
pub(super) async fn decoded<'g>(
    shared: &Shared,
    group: &'g Group,
    batch: &[&Record],
) -> Result<Decoded<'g>, WorkError> {
    let (events, outcomes) = decode(&shared.registry, &shared.namespace, batch).await?;
    Ok(Decoded { group, events, outcomes })
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
    let decoded = decoded(shared, group, batch).await?;
    let mut checked = check(connection, vec![decoded]).await?;
    save(connection, &checked).await?;
    let intake = checked.pop().map(|checked| checked.intake);
    let intake = intake.ok_or_else(|| WorkError::Contended("no batch".into()))?;
    Ok(Intake { isolates: true, ..intake })
}

/// Applies the sequence check to batches of different groups; their progress is read at once.
pub(crate) async fn check<'g>(
    connection: &mut PgConnection,
    batches: Vec<Decoded<'g>>,
) -> Result<Vec<Checked<'g>>, WorkError> {
    let known = load(connection, &batches).await?;
    let checked =
        batches.into_iter().zip(known).map(|(Decoded { group, events, mut outcomes }, mut progress)| {
            let events = sort(events, &mut progress, &mut outcomes);
            progress.retain(|_, stream| stream.met);
            Checked { group, progress, intake: Intake { events, outcomes, isolates: false } }
        });
    Ok(checked.collect())
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

/// Loads the progress of the streams of each batch.
async fn load(
    connection: &mut PgConnection,
    batches: &[Decoded<'_>],
) -> Result<Vec<BTreeMap<Stream, Progress>>, WorkError> {
    let mut known: Vec<BTreeMap<Stream, Progress>> = batches.iter().map(streams).collect();
    let keys: Vec<Key<'_>> = batches
        .iter()
        .zip(&known)
        .flat_map(|(Decoded { group, .. }, streams)| streams.keys().map(|stream| key(group, stream)))
        .collect();
    let found = timed("progress load", progress::load(connection, &keys)).await?;
    for (stream, found) in known.iter_mut().flat_map(BTreeMap::values_mut).zip(found) {
        if let Some((version, row)) = found {
            *stream = Progress { version, row: Some(row), met: false };
        }
    }
    Ok(known)
}

/// The streams of a batch, none of which is known to have progress.
fn streams(Decoded { events, .. }: &Decoded<'_>) -> BTreeMap<Stream, Progress> {
    events.iter().map(|(_, event)| (stream_of(event), Progress::default())).collect()
}

fn key<'k>(group: &'k Group, (context, stream): &'k Stream) -> Key<'k> {
    Key { group: &group.id, generation: group.generation, context, stream }
}

/// Writes the progress of streams, also of those whose events only wait. When two batches have events of the same stream, because its
/// key has moved to another partition, the second one finds the row changed and is tried again. So no event is folded twice, and
/// none is parked because of an event that was being folded at that moment.
pub(crate) async fn save(connection: &mut PgConnection, batches: &[Checked<'_>]) -> Result<(), WorkError> {
    let (mut known, mut new) = (Vec::new(), Vec::new());
    for Checked { group, progress, .. } in batches {
        for (stream, Progress { version, row, .. }) in progress {
            match row {
                Some(row) => known.push((row, *version)),
                None => new.push((key(group, stream), *version)),
            }
        }
    }
    let streams = (known.len() + new.len()) as u64;
    let moved = timed("progress move on", progress::move_on(connection, &known)).await?;
    if moved + timed("progress begin", progress::begin(connection, &new)).await? == streams {
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
