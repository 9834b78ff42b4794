//! From a batch of records to the events that are to be folded: decoded, each exactly once, per stream in order.
//!
//! The version is the ticket: at most the applied version is a duplicate, the next one applies whoever brings it, a
//! later one is parked until the gap before it is filled.

use std::collections::{BTreeMap, BTreeSet};

use millrace_domain::Recorded;
use millrace_schemas::Event;
use sqlx::PgConnection;

use crate::error::{Fault, WorkError};
use crate::record::{Header, Record};
use crate::registry::Registry;
use crate::role::Group;
use crate::{envelope, metrics};

/// A decoded event and its place in the batch.
pub(super) type Placed = (usize, Recorded);

/// The events of a batch that are to be folded.
pub(super) struct Intake {
    pub(super) events: Vec<Recorded>,
    pub(super) faults: Vec<(usize, Fault)>,
}

/// A stream of a context.
type Stream = (&'static str, String);

/// Decodes a batch; records that are no events of the contract are faults.
pub(super) async fn decode(
    registry: &Registry,
    batch: &[Record],
) -> Result<(Vec<Placed>, Vec<(usize, Fault)>), WorkError> {
    let (mut events, mut faults) = (Vec::with_capacity(batch.len()), Vec::new());
    for (place, record) in batch.iter().enumerate() {
        match decode_one(registry, record).await? {
            Ok(event) => events.push((place, event)),
            Err(fault) => faults.push((place, fault)),
        }
    }
    Ok((events, faults))
}

async fn decode_one(registry: &Registry, record: &Record) -> Result<Result<Recorded, Fault>, WorkError> {
    let opened = registry.open(record.value.as_deref()).await?;
    let event = opened.and_then(|(writer, body)| Ok(Event::decode(&writer, body)?));
    Ok(event.and_then(|event| envelope::recorded(record, event)))
}

/// Takes a batch in: what is next applies, what came before is dropped, what is ahead of a gap is parked. Moves the
/// streams' progress.
pub(super) async fn take(
    connection: &mut PgConnection,
    registry: &Registry,
    group: &Group,
    batch: &[Record],
) -> Result<Intake, WorkError> {
    let (decoded, faults) = decode(registry, batch).await?;
    let mut progress = load(connection, group, &decoded).await?;
    let mut sorted = sort(decoded, &mut progress);
    metrics::DUPLICATES.with_label_values(&[group.id.as_str()]).inc_by(sorted.duplicates);
    park(connection, group, batch, &sorted.ahead).await?;
    drain(connection, registry, group, &mut progress, &mut sorted.next).await?;
    save(connection, group, &progress, &sorted.next).await?;
    Ok(Intake { events: sorted.next, faults })
}

struct Sorted {
    next: Vec<Recorded>,
    ahead: Vec<Placed>,
    duplicates: u64,
}

fn sort(decoded: Vec<Placed>, progress: &mut BTreeMap<Stream, i64>) -> Sorted {
    let mut sorted = Sorted { next: Vec::with_capacity(decoded.len()), ahead: Vec::new(), duplicates: 0 };
    for (place, event) in decoded {
        let applied = progress.entry(stream_of(&event)).or_insert(0);
        if event.version <= *applied {
            sorted.duplicates += 1;
        } else if event.version == *applied + 1 {
            *applied = event.version;
            sorted.next.push(event);
        } else {
            sorted.ahead.push((place, event));
        }
    }
    sorted
}

fn stream_of(event: &Recorded) -> Stream {
    (event.event.context(), event.stream.clone())
}

async fn load(
    connection: &mut PgConnection,
    group: &Group,
    decoded: &[Placed],
) -> Result<BTreeMap<Stream, i64>, WorkError> {
    let streams: BTreeSet<Stream> = decoded.iter().map(|(_, event)| stream_of(event)).collect();
    let Some((context, _)) = streams.first().cloned() else { return Ok(BTreeMap::new()) };
    let ids: Vec<&str> = streams.iter().map(|(_, id)| id.as_str()).collect();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT stream, version FROM progress
         WHERE grp = $1 AND generation = $2 AND context = $3 AND stream = ANY($4)",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(context)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(stream, version)| ((context, stream), version)).collect())
}

async fn save(
    connection: &mut PgConnection,
    group: &Group,
    progress: &BTreeMap<Stream, i64>,
    applied: &[Recorded],
) -> Result<(), WorkError> {
    let moved: BTreeSet<Stream> = applied.iter().map(stream_of).collect();
    let rows: Vec<(&Stream, &i64)> = progress.iter().filter(|(stream, _)| moved.contains(*stream)).collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO progress (grp, generation, context, stream, version)
         SELECT $1, $2, moved.context, moved.stream, moved.version
         FROM UNNEST($3::text[], $4::text[], $5::bigint[]) AS moved(context, stream, version)
         ON CONFLICT (grp, generation, context, stream) DO UPDATE SET version = excluded.version",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(rows.iter().map(|((context, _), _)| *context).collect::<Vec<_>>())
    .bind(rows.iter().map(|((_, stream), _)| stream.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, version)| **version).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps records that are ahead of a gap, bytes and headers, until the gap is filled.
async fn park(
    connection: &mut PgConnection,
    group: &Group,
    batch: &[Record],
    ahead: &[Placed],
) -> Result<(), WorkError> {
    if ahead.is_empty() {
        return Ok(());
    }
    let rows: Vec<(&Record, &Recorded)> =
        ahead.iter().filter_map(|(place, event)| Some((batch.get(*place)?, event))).collect();
    for (_, event) in &rows {
        tracing::error!(
            group = group.id,
            context = event.event.context(),
            stream = event.stream,
            version = event.version,
            "parked: an earlier version of the stream is missing"
        );
    }
    metrics::PARKED.with_label_values(&[group.id.as_str()]).inc_by(rows.len() as u64);
    insert_parked(connection, group, &rows).await
}

async fn insert_parked(
    connection: &mut PgConnection,
    group: &Group,
    rows: &[(&Record, &Recorded)],
) -> Result<(), WorkError> {
    sqlx::query(
        "INSERT INTO parked (grp, generation, context, stream, version,
                             topic, partition, \"offset\", timestamp, key, value, headers)
         SELECT $1, $2, * FROM UNNEST($3::text[], $4::text[], $5::bigint[], $6::text[], $7::int[], $8::bigint[],
                                      $9::bigint[], $10::bytea[], $11::bytea[], $12::jsonb[])
         ON CONFLICT DO NOTHING",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(rows.iter().map(|(_, event)| event.event.context()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, event)| event.stream.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, event)| event.version).collect::<Vec<_>>())
    .bind(rows.iter().map(|(record, _)| &*record.topic).collect::<Vec<_>>())
    .bind(rows.iter().map(|(record, _)| record.partition).collect::<Vec<_>>())
    .bind(rows.iter().map(|(record, _)| record.offset).collect::<Vec<_>>())
    .bind(rows.iter().map(|(record, _)| record.timestamp_ms).collect::<Vec<_>>())
    .bind(rows.iter().map(|(record, _)| record.key.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(record, _)| record.value.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(record, _)| sqlx::types::Json(&record.headers)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Applies what was parked behind events that have just been applied, as far as it is gapless.
async fn drain(
    connection: &mut PgConnection,
    registry: &Registry,
    group: &Group,
    progress: &mut BTreeMap<Stream, i64>,
    next: &mut Vec<Recorded>,
) -> Result<(), WorkError> {
    let moved: BTreeSet<Stream> = next.iter().map(stream_of).collect();
    let waiting = parked(connection, group, &moved).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    for record in waiting {
        let Ok(event) = decode_one(registry, &record).await? else { continue };
        let applied = progress.entry(stream_of(&event)).or_insert(0);
        if event.version == *applied + 1 {
            *applied = event.version;
            next.push(event);
        }
    }
    forget_parked(connection, group, &moved, progress).await
}

type ParkedRow =
    (String, i32, i64, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>, sqlx::types::Json<Vec<Header>>);

async fn parked(
    connection: &mut PgConnection,
    group: &Group,
    moved: &BTreeSet<Stream>,
) -> Result<Vec<Record>, WorkError> {
    let rows: Vec<ParkedRow> = sqlx::query_as(
        "SELECT topic, partition, \"offset\", timestamp, key, value, headers FROM parked
         WHERE grp = $1 AND generation = $2
           AND (context, stream) IN (SELECT * FROM UNNEST($3::text[], $4::text[]))
         ORDER BY context, stream, version",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(moved.iter().map(|(context, _)| *context).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, stream)| stream.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let record = |(topic, partition, offset, timestamp_ms, key, value, headers): ParkedRow| Record {
        topic: topic.into(),
        partition,
        offset,
        timestamp_ms,
        key,
        value,
        headers: headers.0,
        room: None,
    };
    Ok(rows.into_iter().map(record).collect())
}

async fn forget_parked(
    connection: &mut PgConnection,
    group: &Group,
    moved: &BTreeSet<Stream>,
    progress: &BTreeMap<Stream, i64>,
) -> Result<(), WorkError> {
    sqlx::query(
        "DELETE FROM parked USING UNNEST($3::text[], $4::text[], $5::bigint[]) AS moved(context, stream, version)
         WHERE grp = $1 AND generation = $2 AND parked.context = moved.context AND parked.stream = moved.stream
           AND parked.version <= moved.version",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(moved.iter().map(|(context, _)| *context).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, stream)| stream.as_str()).collect::<Vec<_>>())
    .bind(moved.iter().map(|stream| progress.get(stream).copied().unwrap_or(0)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
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

    fn versions(arrivals: &[(&str, i64)], applied: i64) -> (Vec<i64>, Vec<i64>, u64) {
        let mut progress = BTreeMap::from([(("catalog", "a".to_owned()), applied)]);
        let placed =
            arrivals.iter().enumerate().map(|(place, (stream, version))| (place, event(stream, *version)));
        let sorted = sort(placed.collect(), &mut progress);
        let next = sorted.next.iter().map(|event| event.version).collect();
        (next, sorted.ahead.iter().map(|(_, event)| event.version).collect(), sorted.duplicates)
    }

    #[test]
    fn the_next_version_applies_an_applied_one_is_a_duplicate_and_one_ahead_of_a_gap_waits() {
        assert_eq!(
            versions(&[("a", 3), ("a", 3), ("a", 2), ("a", 4), ("a", 6)], 2),
            (vec![3, 4], vec![6], 2)
        );
    }

    #[test]
    fn streams_do_not_wait_for_each_other() {
        assert_eq!(versions(&[("a", 9), ("b", 1), ("b", 2)], 2), (vec![1, 2], vec![9], 0));
    }
}
