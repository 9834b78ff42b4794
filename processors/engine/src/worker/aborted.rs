//! What follows when a batch was not committed.

use std::time::Duration;

use millrace_store::Group;

use crate::backoff::Backoff;
use crate::error::{Dependency, WorkError};
use crate::offsets::Claim;
use crate::{metrics, release};

use super::{Delays, Next, Publishing, Worker};

/// How often a worker checks whether its generation is still paused.
const LOOK_AGAIN_WHEN_PAUSED: Duration = Duration::from_millis(50);

/// The name in metrics and logs of waiting for a later build.
const TOO_OLD: &str = "build-too-old";

impl Worker {
    /// Decides what follows from the result of an attempt: the only place that tells apart why a batch was not committed.
    pub(super) async fn after_attempt(
        &mut self,
        outcome: Result<(), WorkError>,
        delays: &mut Delays,
    ) -> Next {
        let Err(error) = outcome else { return Next::Done };
        self.retries.role.forget();
        match error {
            WorkError::Contended(reason) => self.after_contention("contended", reason.text(), delays).await,
            WorkError::Overran(reason) => self.after_contention("overran", reason.text(), delays).await,
            WorkError::Outdated(reason) => self.after_contention("outdated", reason.text(), delays).await,
            WorkError::Fenced => {
                self.aborted("fenced", "another epoch has claimed the partition");
                self.claim_again(&mut delays.outage).await
            }
            WorkError::Paused(at) if at > self.claim.applied => {
                self.reach = at;
                Next::Again
            }
            WorkError::Paused(_) => {
                // The database has answered.
                delays.outage = Backoff::new();
                self.while_paused().await
            }
            outage @ WorkError::Outage { dependency, .. } => {
                self.wait_out(&mut delays.outage, dependency, &outage).await
            }
            WorkError::BuildTooOld(reason) => self.while_too_old(&reason, delays).await,
            WorkError::NotTaken(reason) => {
                self.aborted("refused", reason.text());
                self.wait(&mut delays.outage, "kafka").await
            }
            // The database refuses even the dead letter of the record. Waiting is better than losing it.
            refused @ (WorkError::Refused(_) | WorkError::Faulty(_)) => {
                self.aborted("refused", &refused.to_string());
                self.wait(&mut delays.outage, "postgres").await
            }
        }
    }

    /// Tries again after a short delay, never at once: two batches that conflict repeatedly would use all of the processor.
    async fn after_contention(&self, why: &str, reason: &str, delays: &mut Delays) -> Next {
        self.aborted(why, reason);
        if delays.contention.wait_unless(&self.stop).await { Next::Again } else { Next::GiveBack }
    }

    /// Waits while two generations are compared. The pause ends at `paused_until` in any case.
    async fn while_paused(&self) -> Next {
        tokio::select! {
            () = self.stop.cancelled() => Next::GiveBack,
            () = tokio::time::sleep(LOOK_AGAIN_WHEN_PAUSED) => Next::Again,
        }
    }

    /// Waits because the next record needs a later build, and leaves the group once a process of such a build is a member. If it
    /// stayed, it would keep the partition; if it left earlier, no process would work on the group's other partitions.
    pub(super) async fn while_too_old(&self, reason: &str, delays: &mut Delays) -> Next {
        self.aborted(TOO_OLD, reason);
        delays.too_old.get_or_insert_with(|| release::Waits::at(&self.claim, reason));
        if let Some(later) = (self.later_member)().await {
            self.watch.give_way(&format!("{reason}; this process leaves the group to release {later}"));
            return Next::GiveBack;
        }
        self.wait(&mut delays.outage, TOO_OLD).await
    }

    pub(super) async fn wait(&self, backoff: &mut Backoff, dependency: &str) -> Next {
        if backoff.wait_for(dependency, &self.stop).await { Next::Again } else { Next::GiveBack }
    }

    /// Waits after a batch that an outage has ended.
    async fn wait_out(&self, backoff: &mut Backoff, dependency: Dependency, error: &WorkError) -> Next {
        count(&self.claim.group, "outage");
        let what = self.claim.group.own_name();
        match backoff.wait_out(&dependency.to_string(), (&what, error), &self.stop).await {
            true => Next::Again,
            false => Next::GiveBack,
        }
    }

    /// After a fence: claims the partition again once Kafka confirms that this member is still in the group. A process that was
    /// frozen waits here until its partitions are revoked; the fence prevents its writes.
    pub(super) async fn claim_again(&mut self, backoff: &mut Backoff) -> Next {
        let (lost, place) = (self.claim.epoch, format!("{}[{}]", self.claim.topic, self.claim.partition));
        self.watch.is_fenced(&place);
        let next = self.try_claim(backoff).await;
        if self.claim.epoch != lost || matches!(next, Next::GiveBack) {
            self.watch.is_settled(&place);
        }
        next
    }

    async fn try_claim(&mut self, backoff: &mut Backoff) -> Next {
        if self.stop.is_cancelled() {
            return Next::GiveBack;
        }
        if !(self.still_ours)(self.claim.clone()).await {
            return self.wait(backoff, "kafka").await;
        }
        match self.claim.take_again(self.retries.role.database()).await {
            Ok(claim) if self.claim.is_lost_to(&claim) => {
                tracing::error!(
                    group = self.claim.group.id,
                    topic = claim.topic,
                    partition = claim.partition,
                    had = self.claim.applied,
                    has = claim.applied,
                    "Postgres has lost commits"
                );
                self.watch.leave().cancel();
                Next::GiveBack
            }
            Ok(claim) => {
                tracing::info!(
                    topic = claim.topic,
                    partition = claim.partition,
                    epoch = claim.epoch,
                    "claimed again"
                );
                self.set_claim(claim);
                Next::Again
            }
            Err(error) => self.wait_out(backoff, Dependency::Postgres, &error).await,
        }
    }

    fn set_claim(&mut self, claim: Claim) {
        if let Some(Publishing { publisher, mark }) = &self.publishing {
            mark.set_claim(claim.clone());
            publisher.claimed_again();
        }
        self.claim = claim;
    }

    /// Counts and logs a batch that was not committed.
    pub(super) fn aborted(&self, why: &str, reason: &str) {
        let Claim { group, topic, partition, .. } = &self.claim;
        count(group, why);
        tracing::warn!(group = %group.own_name(), topic, partition, why, reason, "batch aborted");
    }
}

/// Counts and logs a batch of the whole group that conflicted with another transaction or took too long: the next attempt need
/// not meet that. Any other reason is counted and logged by the attempts of its partitions, which meet it again.
pub(super) fn aborted_together(group: &Group, error: &WorkError) {
    let (why, reason) = match error {
        WorkError::Contended(reason) => ("contended", reason),
        WorkError::Overran(reason) => ("overran", reason),
        WorkError::Outdated(reason) => ("outdated", reason),
        other => return tracing::debug!(group = %group.own_name(), error = %other, "batch aborted"),
    };
    count(group, why);
    tracing::warn!(group = %group.own_name(), why, %reason, "batch aborted");
}

/// Counts that a group has left a joint batch, which was not committed with it or was slow because of it.
pub(super) fn left(group: &Group) {
    count(group, "joint");
    tracing::debug!(group = %group.own_name(), "left the joint batches for a while");
}

fn count(group: &Group, why: &str) {
    let labels = [group.id.as_str(), &group.generation.to_string(), why];
    metrics::BATCHES_ABORTED.with_label_values(&labels).inc();
}
