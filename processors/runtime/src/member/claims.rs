//! Claiming in Postgres what the group has assigned, before the first record is fetched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use millrace_kafka::topic_ids;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{GroupConsumer, Partition};
use crate::backoff::Backoff;
use crate::error::{Dependency, WorkError};
use crate::offsets::Claim;
use crate::retry::{Lane, Retries};
use crate::role::Role;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How often a member looks whether its topics are still the same.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Claims partitions for a member, however long Postgres or Kafka are away.
///
/// Guarantee: what a claim has applied was applied from the topic that is there now. A topic that was deleted and made
/// again, or that has lost records, is read from its beginning.
pub(super) struct Claimant<'m> {
    pub(super) consumer: &'m Arc<GroupConsumer>,
    pub(super) lanes: &'m HashMap<String, (Lane, Retries)>,
    pub(super) stop: &'m CancellationToken,
}

impl Claimant<'_> {
    /// The claims of some partitions; `None` when stopped meanwhile.
    pub(super) async fn claim(&self, partitions: &[Partition]) -> Option<Vec<Claim>> {
        let (mut claims, mut backoff) = (Vec::with_capacity(partitions.len()), Backoff::new());
        while let Some((topic, partition)) = partitions.get(claims.len()) {
            let tried = tokio::select! {
                () = self.stop.cancelled() => return None,
                tried = self.claim_more(partitions, &mut claims) => tried,
            };
            if let Err(error) = tried {
                tracing::warn!(topic, partition, %error, "partitions not claimed yet, this one and others");
                tokio::select! {
                    () = self.stop.cancelled() => return None,
                    () = backoff.wait() => {}
                }
            }
        }
        Some(claims)
    }

    /// Claims those that are not claimed yet. Their topics are asked for anew at every try.
    async fn claim_more(&self, partitions: &[Partition], claims: &mut Vec<Claim>) -> Result<(), WorkError> {
        let rest = partitions.get(claims.len()..).unwrap_or_default();
        let topics: BTreeSet<String> = rest.iter().map(|(topic, _)| topic.clone()).collect();
        let ids = ids(self.consumer, topics.into_iter().collect()).await?;
        for (topic, partition) in rest {
            let unknown =
                || WorkError::outage(Dependency::Kafka, format!("it does not know the topic {topic}"));
            let id = ids.get(topic).ok_or_else(unknown)?;
            let (_, Retries { role, .. }) = self.lanes.get(topic).ok_or_else(unknown)?;
            claims.push(self.claim_one(role, topic, *partition, *id).await?);
        }
        Ok(())
    }

    async fn claim_one(
        &self,
        role: &Arc<dyn Role>,
        topic: &str,
        partition: i32,
        id: Option<Uuid>,
    ) -> Result<Claim, WorkError> {
        let (first, end) = self.watermarks(topic, partition).await?;
        role.forget();
        let pool = role.database();
        let claim = Claim::take(pool, role.group(), topic, partition, first).await?;
        if claim.is_of_another(id) {
            tracing::error!(topic, partition, "the topic was made anew and is read from its beginning");
            return claim.begin_again(pool, first, id).await;
        }
        let claim = claim.of_topic(pool, id).await?;
        if claim.applied <= end {
            return Ok(claim);
        }
        // Or somebody has gone on since we asked.
        let (first, end) = self.watermarks(topic, partition).await?;
        if claim.applied <= end {
            return Ok(claim);
        }
        let applied = claim.applied;
        tracing::error!(
            topic,
            partition,
            end,
            applied,
            "the topic has lost records and is read from its beginning"
        );
        claim.begin_again(pool, first, id).await
    }

    /// The first offset of a partition and the one after its last record.
    async fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), WorkError> {
        let topic = topic.to_owned();
        let ask = move |consumer: &GroupConsumer| consumer.fetch_watermarks(&topic, partition, ANSWER_WITHIN);
        asked(self.consumer, ask).await
    }
}

/// The ids of the topics that Kafka knows.
pub(super) type Ids = BTreeMap<String, Option<Uuid>>;

/// The ids of topics, as they are in a while.
pub(super) async fn ids_later(consumer: Arc<GroupConsumer>, topics: Vec<String>) -> Ids {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match ids(&consumer, topics.clone()).await {
            Ok(ids) => return ids,
            Err(error) => tracing::debug!(%error, "topics not looked at"),
        }
    }
}

async fn ids(consumer: &Arc<GroupConsumer>, topics: Vec<String>) -> Result<Ids, WorkError> {
    asked(consumer, move |consumer| topic_ids(consumer.client(), &topics, ANSWER_WITHIN)).await
}

/// The client blocks while it waits for Kafka's answer.
async fn asked<T: Send + 'static>(
    consumer: &Arc<GroupConsumer>,
    ask: impl FnOnce(&GroupConsumer) -> KafkaResult<T> + Send + 'static,
) -> Result<T, WorkError> {
    let consumer = consumer.clone();
    let asked = tokio::task::spawn_blocking(move || ask(&consumer)).await;
    Ok(asked.map_err(|error| WorkError::outage(Dependency::Kafka, error))??)
}
