//! Claims on assigned partitions in Postgres, before their first record is fetched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use millrace_kafka::{Watermarks, topic_ids};
use millrace_store::consumer_offset::Claiming;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{GroupConsumer, Partition};
use crate::backoff::Backoff;
use crate::database::Pool;
use crate::error::{Dependency, WorkError};
use crate::metrics;
use crate::offsets::Claim;
use crate::reason::Reason;
use crate::retry::{Lane, Retries};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How often a member checks whether its topics were created again.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Claims partitions for a member; retries while Postgres or Kafka is away.
///
/// Guarantee: the applied offset of a claim refers to the existing topic. A topic that was deleted and created again, or that has
/// lost records, is read from its beginning.
pub(super) struct Claimant {
    pub(super) consumer: Arc<GroupConsumer>,
    pub(super) lanes: Arc<HashMap<String, (Lane, Retries)>>,
    pub(super) stop: CancellationToken,
}

impl Claimant {
    /// The claims of some partitions; `None` when stopped meanwhile.
    pub(super) async fn claim(self, partitions: Vec<Partition>) -> Option<Vec<Claim>> {
        let mut backoff = Backoff::new();
        loop {
            let tried = tokio::select! {
                () = self.stop.cancelled() => return None,
                tried = self.claim_all(&partitions) => tried,
            };
            let error = match tried {
                Ok(claims) => return Some(claims),
                Err(error) => error,
            };
            let logs = || tracing::warn!(?partitions, %error, "partitions are not claimed yet");
            if !backoff.wait_after(("claims of partitions", &error), &self.stop, logs).await {
                return None;
            }
        }
    }

    /// One statement claims all of them. The ids and the watermarks of their topics are asked for at every try.
    async fn claim_all(&self, partitions: &[Partition]) -> Result<Vec<Claim>, WorkError> {
        let topics: BTreeSet<&str> = partitions.iter().map(|(topic, _)| &**topic).collect();
        let ids = ids(&self.consumer, topics.iter().map(|topic| (*topic).to_owned()).collect()).await?;
        let marks = watermarks(&self.consumer, partitions).await?;
        let mut claiming = Vec::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            let (id, first) = (self.id_of(&ids, topic)?, marked(&marks, topic, *partition)?.0);
            claiming.push(Claiming { topic, partition: *partition, first, topic_id: id });
        }
        let Some((_, Retries { role, .. })) = self.lanes.values().next() else { return Ok(Vec::new()) };
        topics.iter().filter_map(|topic| self.lanes.get(*topic)).for_each(|(_, lane)| lane.role.forget());
        let (mut claims, pool) = (Vec::with_capacity(partitions.len()), role.database());
        for claim in Claim::take(pool, role.group(), &claiming).await? {
            let (id, mark) =
                (self.id_of(&ids, &claim.topic)?, marked(&marks, &claim.topic, claim.partition)?);
            claims.push(self.compared(pool, claim, id, mark).await?);
        }
        Ok(claims)
    }

    fn id_of(&self, ids: &Ids, topic: &str) -> Result<Option<Uuid>, WorkError> {
        ids.get(topic).copied().ok_or_else(|| unknown(topic))
    }

    /// Compares what a claim has applied with the topic as it is now.
    async fn compared(
        &self,
        pool: &Pool,
        claim: Claim,
        id: Option<Uuid>,
        (mut first, end): (i64, i64),
    ) -> Result<Claim, WorkError> {
        let (topic, partition, applied) = (claim.topic.clone(), claim.partition, claim.applied);
        let (lane, _) = self.lanes.get(&topic).ok_or_else(|| unknown(&topic))?;
        if claim.is_of_another(id) {
            tracing::error!(topic, partition, "the topic was created again and is read from its beginning");
            return claim.begin_again(pool, first, id).await;
        }
        if applied > end {
            // Asked again: another worker may have applied records since the first answer.
            let place = (topic.as_str().into(), partition);
            let marks = watermarks(&self.consumer, &[place]).await?;
            let (first_now, end) = marked(&marks, &topic, partition)?;
            if applied > end {
                tracing::error!(
                    topic,
                    partition,
                    end,
                    applied,
                    "the topic has lost records and is read from its beginning"
                );
                return claim.begin_again(pool, first_now, id).await;
            }
            first = first_now;
        }
        handle_lost(*lane, pool, claim, first).await
    }
}

fn unknown(topic: &str) -> WorkError {
    WorkError::outage(Dependency::Kafka, format!("it does not know the topic {topic}"))
}

/// First offset and end of a partition among watermarks.
pub(super) fn marked(marks: &Watermarks, topic: &str, partition: i32) -> Result<(i64, i64), WorkError> {
    marks.get(&(topic.to_owned(), partition)).copied().ok_or_else(|| unknown(topic))
}

/// The first offsets of partitions and those after their last records.
pub(super) async fn watermarks(
    consumer: &Arc<GroupConsumer>,
    partitions: &[Partition],
) -> Result<Watermarks, WorkError> {
    let partitions = partitions.to_vec();
    asked(consumer, move |consumer| millrace_kafka::watermarks(&**consumer, &partitions, ANSWER_WITHIN)).await
}

/// Handles records that were lost to retention. Lost wake-up copies are replaced by the sweep. Lost records that were applied but
/// not published are left to the auditor, which compares documents with rows. Any other lost record stops the partition: to skip
/// it is an operator's decision.
async fn handle_lost(lane: Lane, pool: &Pool, claim: Claim, first: i64) -> Result<Claim, WorkError> {
    let Claim { topic, partition, applied, published, epoch, .. } = &claim;
    if epoch == &1 && first > 0 && lane == Lane::Source {
        tracing::warn!(
            topic,
            partition,
            first,
            "the group begins at this offset: earlier records were deleted before its start"
        );
    }
    let (applied, published) = (*applied, *published);
    match lane {
        Lane::Retry if applied < first => {
            tracing::warn!(
                topic,
                partition,
                from = applied,
                to = first,
                "wake-up copies were deleted before they were read: their blocking records are copied again"
            );
            claim.go_on_at(pool, first).await
        }
        Lane::Source if applied >= first && published < first => {
            tracing::warn!(
                topic,
                partition,
                from = published,
                to = first,
                "records were deleted before their documents were published: the auditor compares these with their rows"
            );
            claim.go_on_at(pool, first).await
        }
        Lane::Source => {
            report_lost(&claim, first);
            Ok(claim)
        }
        Lane::Retry => Ok(claim),
    }
}

/// Logs an error once, and sets the metric.
fn report_lost(claim: &Claim, first: i64) {
    let Claim { group, topic, partition, applied, .. } = claim;
    if first <= *applied {
        return;
    }
    let (generation, number) = (group.generation.to_string(), partition.to_string());
    let gauge = metrics::RECORDS_LOST.with_label_values(&[&group.id, &generation, topic, &number]);
    if gauge.get() != first - applied {
        tracing::error!(
            group = %group.own_name(),
            topic,
            partition,
            from = applied,
            to = first,
            "RECORDS ARE LOST: they were deleted before they were read, and the partition makes no progress. To continue after them stop \
             `millrace run` and reset the group with kafka-consumer-groups --reset-offsets --to-earliest"
        );
    }
    gauge.set(first - applied);
}

/// Removes the metric of a partition that was given back.
pub(super) fn forget_lost(Claim { group, topic, partition, .. }: &Claim) {
    let (generation, number) = (group.generation.to_string(), partition.to_string());
    // Fails when the partition has no such series, as is usual.
    let _ = metrics::RECORDS_LOST.remove_label_values(&[&group.id, &generation, topic, &number]);
}

/// Checks the first offsets of partitions after the client has reported an offset out of range; retries while Kafka is away.
/// Reports each source partition that has lost records. True when a retry topic has lost records, which the group skips when it
/// joins again.
pub(super) async fn lost(consumer: Arc<GroupConsumer>, claims: Vec<(Lane, Claim)>) -> bool {
    let mut backoff = Backoff::new();
    loop {
        match look_at_firsts(&consumer, &claims).await {
            Ok(join_again) => return join_again,
            Err(error) => tracing::debug!(%error, "first offsets not read"),
        }
        backoff.wait().await;
    }
}

async fn look_at_firsts(consumer: &Arc<GroupConsumer>, claims: &[(Lane, Claim)]) -> Result<bool, WorkError> {
    let places: Vec<Partition> =
        claims.iter().map(|(_, claim)| (claim.topic.as_str().into(), claim.partition)).collect();
    let marks = watermarks(consumer, &places).await?;
    let mut join_again = false;
    for (lane, claim) in claims {
        let (first, _) = marked(&marks, &claim.topic, claim.partition)?;
        match lane {
            Lane::Source => report_lost(claim, first),
            Lane::Retry => join_again |= claim.applied < first,
        }
    }
    Ok(join_again)
}

/// The ids of the topics that Kafka knows.
pub(super) type Ids = BTreeMap<String, Option<Uuid>>;

/// The ids of topics after [`LOOK_EVERY`].
pub(super) async fn ids_later(consumer: Arc<GroupConsumer>, topics: Vec<String>) -> Ids {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match ids(&consumer, topics.clone()).await {
            Ok(ids) => return ids,
            Err(error) => tracing::debug!(%error, "ids of topics not read"),
        }
    }
}

async fn ids(consumer: &Arc<GroupConsumer>, topics: Vec<String>) -> Result<Ids, WorkError> {
    asked(consumer, move |consumer| topic_ids(consumer.client(), &topics, ANSWER_WITHIN)).await
}

/// Runs a request of the client, which blocks, on another thread.
async fn asked<T: Send + 'static>(
    consumer: &Arc<GroupConsumer>,
    ask: impl FnOnce(&GroupConsumer) -> KafkaResult<T> + Send + 'static,
) -> Result<T, WorkError> {
    let consumer = consumer.clone();
    let asked = tokio::task::spawn_blocking(move || ask(&consumer)).await;
    Ok(asked.map_err(|error| WorkError::outage(Dependency::Kafka, Reason::of(error)))??)
}
