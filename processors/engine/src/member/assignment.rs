//! Partitions that the group assigns to a member or revokes.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;

use super::mirror::mirror_list;
use super::{Assigned, Member, Partition, claims, held};
use crate::offsets::Claim;
use crate::publisher::Mark;
use crate::worker::{LaterMember, Publishing, StillOurs, Worker};
use crate::{metrics, release};

const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of a request to the group's coordinator for its members.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

impl Member {
    /// Starts fetching the claimed partitions from the offsets in Postgres; false when the client refuses.
    pub(super) fn fetch(&mut self, claims: Vec<Claim>) -> bool {
        let mut list = TopicPartitionList::new();
        for claim @ Claim { topic, partition, epoch, applied, .. } in &claims {
            if let Err(error) = list.add_partition_offset(topic, *partition, Offset::Offset(claim.start())) {
                tracing::error!(topic, partition, %error, "the partition cannot be fetched");
            }
            tracing::debug!(topic, partition, epoch, applied, "partition claimed");
        }
        tracing::info!(group = self.name(), partitions = claims.len(), "partitions claimed");
        let held: Vec<Partition> = claims.iter().filter(|claim| claim.held).map(held::place).collect();
        for claim in claims {
            self.start(claim);
        }
        // A partition that was paused when it was given back is paused still (librdkafka keeps the mark of the application).
        let assigned = self.consumer.incremental_assign(&list).and_then(|()| self.consumer.resume(&list));
        if let Err(error) = &assigned {
            tracing::error!(%error, "partitions not assigned");
        }
        self.hold(held);
        if self.paused {
            self.pause();
        }
        self.report_partitions();
        assigned.is_ok()
    }

    fn start(&mut self, claim: Claim) {
        let Some((lane, retries)) = self.lanes.get(&claim.topic).cloned() else { return };
        let (partition, sought) = (held::place(&claim), claim.start());
        let (position, watched) = watch::channel(claim.clone());
        let stop = self.watch.leave().child_token();
        let mark = self.publisher.as_ref().map(|_| Arc::new(Mark::new(claim.clone())));
        let publishing = self.publisher.clone().zip(mark.clone());
        let worker = Worker {
            retries,
            lane,
            claim,
            publishing: publishing.map(|(publisher, mark)| Publishing { publisher, mark }),
            still_ours: self.still_ours(),
            later_member: self.later_member(),
            position,
            stop: stop.clone(),
            watch: self.watch.clone(),
            limit: self.limit.clone(),
            reach: i64::MAX,
            permit: None,
        };
        let (worker, mirrored, next, shared) = (Some(worker), -1, sought, None);
        let assigned = Assigned { worker, mark, position: watched, mirrored, sought, next, shared, stop };
        self.assigned.insert(partition, assigned);
    }

    /// Asks the group's coordinator, which accepts a commit only from a member of the current generation.
    fn still_ours(&self) -> StillOurs {
        let consumer = Arc::downgrade(&self.consumer);
        Arc::new(move |claim| {
            let consumer = consumer.upgrade();
            Box::pin(async move {
                let Some(consumer) = consumer else { return false };
                let commit = move || consumer.commit(&mirror_list([&claim]), CommitMode::Sync).is_ok();
                tokio::task::spawn_blocking(commit).await.unwrap_or(false)
            })
        })
    }

    /// Asks the group's coordinator for the members. If it does not answer, it is asked again after the next delay.
    fn later_member(&self) -> LaterMember {
        let (consumer, group) =
            (Arc::downgrade(&self.consumer), self.config.get("group.id").map(str::to_owned));
        Arc::new(move || {
            let (consumer, group) = (consumer.upgrade(), group.clone());
            Box::pin(async move {
                let (consumer, group) = (consumer?, group?);
                let ask = move || {
                    let list = consumer.client().fetch_group_list(Some(&group), ASK_TIMEOUT);
                    list.ok().as_ref().and_then(release::later_member)
                };
                tokio::task::spawn_blocking(ask).await.ok().flatten()
            })
        })
    }

    /// Ends the tasks of revoked partitions, then gives the partitions back; false when the client refuses.
    pub(super) async fn revoke(&mut self, mut partitions: Vec<Partition>) -> bool {
        partitions.retain(|partition| self.assigned.contains_key(partition));
        for assigned in partitions.iter().filter_map(|partition| self.assigned.get(partition)) {
            assigned.stop.cancel();
        }
        self.rest(&partitions).await;
        if let Some(publisher) = self.publisher.as_ref().filter(|_| !partitions.is_empty()) {
            publisher.flush().await;
        }
        let mut list = TopicPartitionList::new();
        for (topic, partition) in &partitions {
            list.add_partition(topic, *partition);
        }
        partitions.iter().for_each(|partition| self.forget(partition));
        if !partitions.is_empty() {
            tracing::info!(group = self.name(), partitions = partitions.len(), "partitions given back");
        }
        let given_back = self.consumer.incremental_unassign(&list);
        if let Err(error) = &given_back {
            tracing::warn!(%error, "partitions not unassigned");
        }
        self.report_partitions();
        given_back.is_ok()
    }

    fn forget(&mut self, partition: &Partition) {
        self.held.remove(partition);
        self.arrivals_on(partition).forget(partition);
        let Some(assigned) = self.assigned.remove(partition) else { return };
        let claim = assigned.position.borrow();
        claims::forget_lost(&claim);
        let Claim { topic, partition, applied, .. } = &*claim;
        self.watch.is_settled(&format!("{topic}[{partition}]"));
        tracing::debug!(topic, partition, applied, "partition given back");
    }

    fn report_partitions(&self) {
        if let Some(group) = self.group() {
            metrics::of_group(&metrics::PARTITIONS, group).set(self.assigned.len() as i64);
        }
    }

    /// Ends all tasks and leaves the group.
    pub(super) async fn leave(mut self) {
        // A batch in flight is finished. After a panic the other tasks have not been cancelled yet.
        self.watch.leave().cancel();
        while let Some(ended) = self.batches.next().await {
            drop(ended);
        }
        if let Some(publisher) = &self.publisher {
            publisher.flush().await;
        }
        self.claims().for_each(|claim| claims::forget_lost(&claim));
        self.mirror(CommitMode::Sync);
        if let Some(group) = self.group() {
            let generation = group.generation.to_string();
            let labels = [("group", group.id.as_str()), ("generation", &generation)];
            metrics::drop_series(&metrics::PARTITIONS, &labels);
        }
        self.rebalances.close();
        let closed = self.consumer.closed();
        drop(self.consumer);
        // A client that does not close must not delay the process for ever.
        if tokio::time::timeout(CLOSE_TIMEOUT, closed.cancelled()).await.is_err() {
            tracing::warn!("the consumer did not close in time");
        }
    }
}
