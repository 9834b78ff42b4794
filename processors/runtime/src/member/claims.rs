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
        let topics: BTreeSet<&str> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
        let ids = self.patiently(|| self.ids(&topics)).await?;
        let mut claims = Vec::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            let (_, Retries { role, .. }) = self.lanes.get(topic)?;
            let id = ids.get(topic).copied();
            claims.push(self.patiently(|| self.try_claim(role, topic, *partition, id)).await?);
        }
        Some(claims)
    }

    async fn patiently<T, F>(&self, attempt: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, WorkError>>,
    {
        let mut backoff = Backoff::new();
        loop {
            match attempt().await {
                Ok(done) => return Some(done),
                Err(error) => tracing::warn!(%error, "partitions not claimed yet"),
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = backoff.wait() => {}
            }
        }
    }

    async fn try_claim(
        &self,
        role: &Arc<dyn Role>,
        topic: &str,
        partition: i32,
        id: Option<Uuid>,
    ) -> Result<Claim, WorkError> {
        let (first, end) = self.watermarks(topic, partition).await?;
        role.forget();
        let claim = Claim::take(role.database(), role.group(), topic, partition, first).await?;
        if let (Some(known), Some(id)) = (claim.topic_id, id)
            && known != id
        {
            tracing::error!(topic, partition, "the topic was made anew and is read from its beginning");
            return claim.begin_again(role.database(), first, Some(id)).await;
        }
        let claim = claim.of_topic(role.database(), id).await?;
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
            "the topic has lost records that were applied and is read from its beginning"
        );
        claim.begin_again(role.database(), first, id).await
    }

    async fn ids(&self, topics: &BTreeSet<&str>) -> Result<BTreeMap<String, Uuid>, WorkError> {
        ids(self.consumer, topics.iter().map(|topic| (*topic).to_owned()).collect()).await
    }

    /// The first offset of a partition and the one after its last record.
    async fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), WorkError> {
        let topic = topic.to_owned();
        let ask = move |consumer: &GroupConsumer| consumer.fetch_watermarks(&topic, partition, ANSWER_WITHIN);
        asked(self.consumer, ask).await
    }
}

/// Waits until one of these topics is no longer the one that it was at first, and says which.
pub(super) async fn made_anew(consumer: Arc<GroupConsumer>, topics: Vec<String>) -> String {
    let mut known = BTreeMap::new();
    loop {
        match ids(&consumer, topics.clone()).await {
            Ok(now) => {
                let another =
                    now.iter().find(|(topic, id)| known.get(*topic).is_some_and(|known| known != *id));
                if let Some((topic, _)) = another {
                    return topic.clone();
                }
                known.extend(now);
            }
            Err(error) => tracing::debug!(%error, "topics not looked at"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn ids(
    consumer: &Arc<GroupConsumer>,
    topics: Vec<String>,
) -> Result<BTreeMap<String, Uuid>, WorkError> {
    let ask = move |consumer: &GroupConsumer| {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        topic_ids(consumer.client(), &topics, ANSWER_WITHIN)
    };
    asked(consumer, ask).await
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
