//! Whether an operator has reset a group's offsets with Kafka's own tool while nobody was in it.
//!
//! Every offset that Millrace commits is stamped; `kafka-consumer-groups --reset-offsets` leaves no stamp. So a
//! committed offset without one that is not where Postgres stands is an operator's wish.

use std::collections::BTreeMap;

use futures::TryFutureExt as _;
use millrace_runtime::offsets::Stamp;
use uuid::Uuid;

use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{self, Committed};
use crate::postgres::Database;

type Partition = (String, i32);
/// Where a group stands in a partition: next offset, epoch of the last claim, the topic's id.
type Stand = (i64, i64, Option<Uuid>);

/// What the committed offsets of a group say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reset {
    /// Nobody touched them: go on from Postgres.
    None,
    /// Some were set back, and those partitions.
    Back(Vec<(Partition, i64)>),
    /// Some were set forward, none back.
    Forward,
    /// Nobody touched them, and what we ourselves have committed is not in Postgres: for people.
    Lost(String),
}

/// Looks at all topics of a group at once. Only meant for before this process joins it.
///
/// # Errors
/// [`Failure::Unreachable`].
pub(crate) async fn look(
    config: &Config,
    database: &Database,
    (group, generation): (&str, i32),
    topics: &[String],
) -> Result<Reset, Failure> {
    let stands = stands(database, (group, generation), topics).await?;
    if stands.is_empty() {
        return Ok(Reset::None);
    }
    let partitions: Vec<Partition> = stands.keys().cloned().collect();
    let committed = tokio::task::block_in_place(|| kafka::committed(config, group, &partitions))?;
    match judge(generation, &stands, &committed) {
        // Or others have worked on since we asked Postgres.
        Reset::Lost(_) => {
            let later = self::stands(database, (group, generation), topics).await?;
            Ok(judge(generation, &later, &committed))
        }
        reset => Ok(reset),
    }
}

async fn stands(
    database: &Database,
    (group, generation): (&str, i32),
    topics: &[String],
) -> Result<BTreeMap<Partition, Stand>, Failure> {
    let rows = sqlx::query_as::<_, (String, i32, i64, i64, Option<Uuid>)>(
        "SELECT topic, partition, applied, epoch, topic_id FROM consumer_offset
         WHERE grp = $1 AND generation = $2 AND topic = ANY($3)",
    )
    .bind(group)
    .bind(generation)
    .bind(topics)
    .fetch_all(&database.pool)
    .map_err(|error| database.failure(error));
    let rows = database.in_time(rows).await?;
    Ok(rows
        .into_iter()
        .map(|(topic, partition, applied, epoch, id)| ((topic, partition), (applied, epoch, id)))
        .collect())
}

fn judge(generation: i32, stands: &BTreeMap<Partition, Stand>, committed: &[Committed]) -> Reset {
    let stand = |committed: &Committed| stands.get(&(committed.topic.clone(), committed.partition)).copied();
    let lost = |committed: &&Committed| {
        let stamp = Stamp::read(&committed.metadata).filter(|stamp| stamp.generation == generation);
        stamp
            .zip(stand(committed))
            // What was committed of a topic that was made anew since says nothing.
            .filter(|(stamp, (_, _, id))| !stamp.is_of_another(*id))
            .is_some_and(|(stamp, (applied, epoch, _))| committed.offset > applied || stamp.epoch > epoch)
    };
    if let Some(lost) = committed.iter().find(lost) {
        return Reset::Lost(told_lost(lost, stand(lost).unwrap_or_default()));
    }
    let foreign = committed.iter().filter(|committed| Stamp::read(&committed.metadata).is_none());
    let moved = foreign.filter_map(|committed| {
        let (applied, ..) = stand(committed)?;
        let Committed { topic, partition, offset, .. } = committed;
        (applied != *offset).then_some(((topic.clone(), *partition), *offset, applied))
    });
    let moved: Vec<(Partition, i64, i64)> = moved.collect();
    if moved.is_empty() {
        return Reset::None;
    }
    let back = moved.into_iter().filter(|(_, offset, applied)| offset < applied);
    let back: Vec<(Partition, i64)> = back.map(|(place, offset, _)| (place, offset)).collect();
    if back.is_empty() { Reset::Forward } else { Reset::Back(back) }
}

fn told_lost(
    Committed { topic, partition, offset, metadata }: &Committed,
    (applied, epoch, _): Stand,
) -> String {
    format!(
        "Postgres has lost commits: it stands at offset {applied} of {topic}-{partition} (epoch {epoch}), and has been at \
         {offset} ({metadata}). It was restored from an older copy, or a replica took over that lacked the last commits. \
         Events that have gone out may be missing in the outbox"
    )
}

/// What was set back, for people.
pub(crate) fn told(back: &[(Partition, i64)]) -> String {
    let place = |((topic, partition), offset): &(Partition, i64)| format!("{topic}-{partition} to {offset}");
    format!("the group was reset: {}", back.iter().map(place).collect::<Vec<_>>().join(", "))
}

/// Lets a group without a read model read these places again: the offsets are Postgres's, so they are moved there.
///
/// # Errors
/// [`Failure::Unreachable`].
pub(crate) async fn rewind(
    database: &Database,
    group: &str,
    back: &[(Partition, i64)],
) -> Result<(), Failure> {
    let topics: Vec<&str> = back.iter().map(|((topic, _), _)| topic.as_str()).collect();
    let partitions: Vec<i32> = back.iter().map(|((_, partition), _)| *partition).collect();
    let offsets: Vec<i64> = back.iter().map(|(_, offset)| *offset).collect();
    sqlx::query(
        "UPDATE consumer_offset AS o SET applied = b.\"offset\", published = b.\"offset\", epoch = o.epoch + 1
         FROM UNNEST($2::text[], $3::int[], $4::bigint[]) AS b(topic, partition, \"offset\")
         WHERE o.grp = $1 AND o.topic = b.topic AND o.partition = b.partition AND o.applied > b.\"offset\"",
    )
    .bind(group)
    .bind(topics)
    .bind(partitions)
    .bind(offsets)
    .execute(&database.pool)
    .await
    .map(|_| ())
    .map_err(|error| database.failure(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(committed: &[(i32, i64, &str)]) -> Reset {
        let place = |partition| ("t".to_owned(), partition);
        let stands =
            BTreeMap::from([(place(0), (10, 4, Some(Uuid::from_u128(1)))), (place(1), (20, 1, None))]);
        let of = |(partition, offset, metadata): &(i32, i64, &str)| Committed {
            topic: "t".to_owned(),
            partition: *partition,
            offset: *offset,
            metadata: (*metadata).to_owned(),
        };
        judge(1, &stands, &committed.iter().map(of).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_missing_stamped_or_where_postgres_stands_is_no_reset() {
        assert_eq!(judged(&[]), Reset::None);
        assert_eq!(judged(&[(0, 3, "millrace g=1 e=4"), (1, 25, "millrace g=2 e=1")]), Reset::None);
        assert_eq!(judged(&[(0, 10, ""), (1, 20, "")]), Reset::None);
    }

    #[test]
    fn what_was_committed_of_another_topic_of_the_same_name_is_no_lost_commit() {
        let stamp = |id| format!("millrace g=1 e=4 t={}", Uuid::from_u128(id));
        assert!(matches!(judged(&[(0, 11, &stamp(1))]), Reset::Lost(_)));
        assert_eq!(judged(&[(0, 11, &stamp(2))]), Reset::None);
    }

    #[test]
    fn anything_else_is_the_operators_and_back_wins_over_forward() {
        assert_eq!(judged(&[(0, 0, ""), (1, 25, "")]), Reset::Back(vec![(("t".to_owned(), 0), 0)]));
        assert_eq!(judged(&[(0, 10, ""), (1, 25, "")]), Reset::Forward);
    }

    #[test]
    fn a_stamped_offset_or_epoch_that_postgres_does_not_know_is_a_lost_commit() {
        for (partition, offset, metadata) in [(0, 11, "millrace g=1 e=4"), (1, 20, "millrace g=1 e=2")] {
            let judged = judged(&[(partition, offset, metadata), (1 - partition, 0, "")]);
            assert!(matches!(&judged, Reset::Lost(text) if text.contains(metadata)), "{judged:?}");
        }
    }
}
