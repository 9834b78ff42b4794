//! The fenced offsets of a group. They are in the database that the group writes, so that offsets and rows commit together.

use std::fmt;

use millrace_store::consumer_offset::{self, Claimed, Claiming, Partition};
use millrace_store::{Group, Place, blocked_key, dead_letter, parked};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::Pool;
use crate::error::{Dependency, WorkError};
use crate::failpoints::{broken, mechanism};
use crate::metrics::timed;

/// More records than a partition ever has.
const OFFSETS: i64 = 1 << 40;

/// The stamp of a mirrored offset, in the metadata of the committed offset in Kafka: `millrace g=1 e=17 o=42`, with the topic's id
/// if it is known (` t=…`). No other tool writes it. An offset that another tool has set while keeping the metadata is recognised
/// by the different offset in the stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The generation of the group.
    pub generation: i32,
    /// The epoch of the claim.
    pub epoch: i64,
    /// The offset that was committed with it; older versions wrote none.
    pub offset: Option<i64>,
    /// The id of the topic that was claimed.
    pub topic_id: Option<Uuid>,
}

impl Stamp {
    /// Whether the claimed topic was another one of the same name. Without an id it counts as the same.
    pub fn is_of_another(&self, topic_id: Option<Uuid>) -> bool {
        self.topic_id.zip(topic_id).is_some_and(|(known, now)| known != now)
    }

    /// The stamp in an offset's metadata.
    pub fn read(metadata: &str) -> Option<Self> {
        let mut words = metadata.strip_prefix("millrace ")?.split(' ');
        let generation = words.next()?.strip_prefix("g=")?.parse().ok()?;
        let epoch = words.next()?.strip_prefix("e=")?.parse().ok()?;
        let mut stamp = Self { generation, epoch, offset: None, topic_id: None };
        for word in words {
            match word.split_once('=')? {
                ("o", offset) => stamp.offset = Some(offset.parse().ok()?),
                ("t", id) => stamp.topic_id = Some(id.parse().ok()?),
                _ => return None,
            }
        }
        Some(stamp)
    }

    /// The stamp of a committed offset; `None` when another tool has set the offset since.
    pub fn of(metadata: &str, offset: i64) -> Option<Self> {
        Self::read(metadata).filter(|stamp| stamp.offset.is_none_or(|stamped| stamped == offset))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "millrace g={} e={}", self.generation, self.epoch)?;
        self.offset.map_or(Ok(()), |offset| write!(f, " o={offset}"))?;
        self.topic_id.map_or(Ok(()), |id| write!(f, " t={id}"))
    }
}

/// The claim of a worker on a partition. A later claim has a higher epoch; then the next [`advance`](Claim::advance) of the earlier
/// claim matches no row.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The group.
    pub group: Group,
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// Counts claims of this partition.
    pub epoch: i64,
    /// The next offset to apply.
    pub applied: i64,
    /// The offset below which Elasticsearch has acknowledged every document.
    pub published: i64,
    /// The id of the topic to which the offsets refer (KIP-516); `None` while it is not known.
    pub topic_id: Option<Uuid>,
    /// After an operator's reset: the offset below which records were answered before and retention has removed ledger rows; else 0.
    pub answered_below: i64,
    /// Whether the partition is held: it was added to its topic, and nothing of it is applied yet.
    pub(crate) held: bool,
}

impl Claim {
    fn at(&self) -> Partition<'_> {
        Partition { group: &self.group, topic: &self.topic, partition: self.partition }
    }

    /// A place in the partition.
    pub(crate) fn place(&self, offset: i64) -> Place {
        Place { topic: self.topic.clone(), partition: self.partition, offset }
    }

    /// The offset at which reading begins: records that were applied but not published are read again.
    pub(crate) fn start(&self) -> i64 {
        self.applied.min(self.published)
    }

    /// Claims partitions of a group: waits for commits in flight, then fences the workers that made them.
    ///
    /// # Errors
    /// [`WorkError::Outage`]; none is claimed for sure then.
    pub async fn take(
        pool: &Pool,
        group: &Group,
        partitions: &[Claiming<'_>],
    ) -> Result<Vec<Self>, WorkError> {
        let claim = async { Ok(consumer_offset::claim(&**pool, group, partitions).await?) };
        let claimed = pool.in_time(claim).await?;
        Ok(claimed.into_iter().map(|claimed| Self::of(group.clone(), claimed)).collect())
    }

    fn of(group: Group, claimed: Claimed) -> Self {
        let Claimed { topic, partition, epoch, applied, published, topic_id, answered_below, held } = claimed;
        let answered_below = answered_below.unwrap_or_default();
        Self { group, topic, partition, epoch, applied, published, topic_id, answered_below, held }
    }

    /// Claims the same partition again.
    ///
    /// # Errors
    /// [`WorkError::Outage`].
    pub async fn take_again(&self, pool: &Pool) -> Result<Self, WorkError> {
        let Self { group, topic, partition, applied, .. } = self;
        let again = Claiming { topic, partition: *partition, first: *applied, topic_id: None };
        let claimed = Self::take(pool, group, &[again]).await?.pop();
        claimed.ok_or_else(|| WorkError::outage(Dependency::Postgres, "a claim returned no row"))
    }

    /// As [`Stamp::is_of_another`].
    pub(crate) fn is_of_another(&self, topic_id: Option<Uuid>) -> bool {
        self.stamp().is_of_another(topic_id)
    }

    /// Goes back to the first record. Nothing is applied twice: commands are in the ledger, and events are compared with
    /// `progress` (sequence check).
    ///
    /// # Errors
    /// [`WorkError::Fenced`] when another worker has claimed the partition, [`WorkError::Outage`].
    pub(crate) async fn begin_again(
        self,
        pool: &Pool,
        first: i64,
        topic_id: Option<Uuid>,
    ) -> Result<Self, WorkError> {
        let claim = &self;
        pool.in_time(async {
            let mut transaction = pool.begin().await?;
            let begun =
                consumer_offset::begin_again(&mut *transaction, claim.at(), claim.epoch, first, topic_id)
                    .await?;
            unless_fenced(begun)?;
            claim.shift_former(&mut transaction).await?;
            Ok(transaction.commit().await?)
        })
        .await?;
        Ok(Self { applied: first, published: first, topic_id, answered_below: 0, ..self })
    }

    /// Shifts the offsets of parked records of the former topic below zero, so that they keep their order and come before all
    /// records of the new topic.
    async fn shift_former(&self, connection: &mut PgConnection) -> Result<(), WorkError> {
        let by = shift(self.epoch);
        parked::forget_drained(connection, self.at()).await?;
        parked::shift_offsets(connection, self.at(), by).await?;
        blocked_key::shift_offsets(connection, self.at(), by).await?;
        dead_letter::shift_offsets(connection, self.at(), by).await?;
        Ok(())
    }

    /// Moves the offsets to `first`, the first existing offset: both, or only `published` when more than that was applied.
    ///
    /// # Errors
    /// As [`begin_again`](Self::begin_again).
    pub(crate) async fn go_on_at(self, pool: &Pool, first: i64) -> Result<Self, WorkError> {
        let go_on = async { Ok(consumer_offset::go_on_at(&**pool, self.at(), self.epoch, first).await?) };
        unless_fenced(pool.in_time(go_on).await?)?;
        let (applied, published) = (self.applied.max(first), self.published.max(first));
        Ok(Self { applied, published, ..self })
    }

    /// Whether Postgres has lost commits of this claim: a later claim has a higher epoch and otherwise never a lower offset.
    pub(crate) fn is_lost_to(&self, later: &Self) -> bool {
        !self.is_of_another(later.topic_id) && (later.epoch <= self.epoch || later.applied < self.applied)
    }

    /// Moves the applied offset from this claim's to `to`, and the published one to `published`; a group that publishes nothing
    /// has `None`.
    ///
    /// # Errors
    /// [`WorkError::Fenced`] when another worker has claimed the partition or has moved the offset, [`WorkError::Paused`] when the
    /// pause point is below `to`.
    pub async fn advance(
        &self,
        connection: &mut PgConnection,
        to: i64,
        published: Option<i64>,
    ) -> Result<(), WorkError> {
        advance(connection, &[Step { claim: self, to, published }]).await
    }

    /// The stamp of the mirrored offset.
    pub fn stamp(&self) -> Stamp {
        let Self { group, epoch, applied, topic_id, .. } = self;
        Stamp { generation: group.generation, epoch: *epoch, offset: Some(*applied), topic_id: *topic_id }
    }
}

/// How a batch moves the offsets of a claimed partition.
#[derive(Debug, Clone, Copy)]
pub struct Step<'c> {
    /// The claim, with the applied offset before the batch.
    pub claim: &'c Claim,
    /// The applied offset after the batch.
    pub to: i64,
    /// The offset below which every document is in Elasticsearch; `None` for a group that publishes nothing.
    pub published: Option<i64>,
}

impl<'c> Step<'c> {
    fn row(&self) -> consumer_offset::Step<'c> {
        let Self { claim, to, published } = *self;
        consumer_offset::Step { at: claim.at(), epoch: claim.epoch, from: claim.applied, to, published }
    }
}

/// Moves the offsets of partitions of one group. This is the fence, the first statement of every batch: it locks the rows, so that a
/// later claim waits until this transaction has ended.
///
/// # Errors
/// [`WorkError::Fenced`] when another worker has claimed one of them or has moved its offset, [`WorkError::Paused`] when `steps` has
/// one partition and its pause point is below `to`.
pub(crate) async fn advance(connection: &mut PgConnection, steps: &[Step<'_>]) -> Result<(), WorkError> {
    match (not_made(connection, steps).await?.as_slice(), steps) {
        ([], _) => Ok(()),
        (_, [Step { claim, .. }]) => {
            let at = claim.at();
            let paused = consumer_offset::pause_point(connection, at, claim.epoch, claim.applied).await?;
            Err(paused.map_or(WorkError::Fenced, WorkError::Paused))
        }
        _ => Err(WorkError::Fenced),
    }
}

/// As [`advance`], for partitions of several groups. Returns the places of the steps that could not be made; if there are any, the
/// transaction must be rolled back.
///
/// # Errors
/// [`WorkError`].
pub(crate) async fn not_made(
    connection: &mut PgConnection,
    steps: &[Step<'_>],
) -> Result<Vec<usize>, WorkError> {
    let rows: Vec<consumer_offset::Step<'_>> = steps.iter().map(Step::row).collect();
    let not_made = timed("offsets advance", consumer_offset::advance(connection, &rows)).await?;
    Ok(if broken(mechanism::FENCE) { Vec::new() } else { not_made })
}

/// An error when no row has the claim's epoch.
fn unless_fenced(was_there: bool) -> Result<(), WorkError> {
    if was_there { Ok(()) } else { Err(WorkError::Fenced) }
}

/// The number that is added to the offsets of parked records when the claim of this epoch finds that the topic was created again.
/// Shifted offsets are below 0, those of a later epoch come after those of an earlier one, and no two overlap.
fn shift(epoch: i64) -> i64 {
    (epoch % (1 << 21) - (1 << 21)) * OFFSETS
}

/// The original offset of a record in its topic, whether or not it was shifted.
pub fn own_offset(offset: i64) -> i64 {
    offset.rem_euclid(OFFSETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifted_offsets_keep_their_order_and_can_be_shifted_back() {
        let (earlier, later) = (42 + shift(7), 41 + shift(8));
        assert_eq!([earlier, later, 42].map(own_offset), [42, 41, 42]);
        assert!(earlier < later && later < 0, "{earlier} {later}");
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written_and_nothing_else_is_one() {
        let stamp = Stamp { generation: 2, epoch: 17, offset: None, topic_id: None };
        assert_eq!(stamp.to_string(), "millrace g=2 e=17");
        let (offset, topic_id) = (Some(42), Some(Uuid::from_u128(7)));
        for stamp in [
            stamp,
            Stamp { topic_id, ..stamp },
            Stamp { offset, ..stamp },
            Stamp { offset, topic_id, ..stamp },
        ] {
            assert_eq!(Stamp::read(&stamp.to_string()), Some(stamp));
        }
        for foreign in [
            "",
            "millrace",
            "millrace g=2",
            "millrace g=x e=1",
            "millrace g=2 e=1 t=x",
            "millrace g=2 e=1 x=1",
            "kafka",
        ] {
            assert_eq!(Stamp::read(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_stamp_beside_another_offset_was_only_kept() {
        assert!(Stamp::of("millrace g=1 e=4 o=10", 10).is_some());
        assert_eq!(Stamp::of("millrace g=1 e=4 o=10", 3), None);
        assert!(Stamp::of("millrace g=1 e=4", 3).is_some(), "of an older version");
    }
}
