//! Whether an operator has reset a group's offsets with Kafka's own tool while it had no members.
//!
//! Every offset that Millrace commits has a stamp that contains the offset. `kafka-consumer-groups --reset-offsets` leaves no
//! stamp, and other tools keep one that names another offset. So a committed offset without a valid stamp that differs from the
//! offset in Postgres is an operator's reset.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use futures::TryFutureExt as _;
use millrace_engine::offsets::Stamp;
use millrace_store::names::COMMANDS;
use millrace_store::{Group, consumer_offset, pruned};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::audit::Operator;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{Commits, Committed};
use crate::layout::Side;
use crate::postgres::Database;

type Partition = (String, i32);
/// A group's offset in a partition: next offset, epoch of the last claim, the topic's id.
type Stand = (i64, i64, Option<Uuid>);
/// The offsets below which retention has removed a group's ledger rows.
type Marks = BTreeMap<Partition, i64>;

/// What the committed offsets of a group show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reset {
    /// Millrace has committed them: continue from the offsets in Postgres.
    None,
    /// An operator has set some of them.
    Asked(Asked),
    /// Millrace has committed them, and the offsets in Postgres are lower: commits were lost. A text for people.
    Lost(String),
}

/// A reset by an operator, by what follows from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Partitions that are read again.
    pub back: Vec<Move>,
    /// Partitions whose next record was deleted: they continue at the first existing one. No existing record is skipped.
    pub past_deleted: Vec<Move>,
    /// Partitions whose records would be skipped: refused.
    pub skipping: Vec<Move>,
    /// Partitions that would be read again from before retention's mark, with the mark: refused.
    pub behind_pruned: Vec<(Move, i64)>,
}

/// A change of a partition's offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The next offset in Postgres.
    pub from: i64,
    /// The requested next offset.
    pub to: i64,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} from {} to {}", self.topic, self.partition, self.from, self.to)
    }
}

impl Asked {
    /// Sorts the changes by what follows from each, given the first existing offset of each partition.
    fn of(moves: Vec<(Move, i64)>, marks: &Marks) -> Self {
        let mut asked = Self::default();
        for (wish, first) in moves {
            let reached = Move { to: wish.to.max(first), ..wish.clone() };
            let mark = marks.get(&(wish.topic.clone(), wish.partition)).copied().unwrap_or_default();
            match wish {
                Move { from, to, .. } if from < first && to <= first => asked.past_deleted.push(reached),
                Move { from, to, .. } if to > from => asked.skipping.push(wish),
                Move { from, .. } if reached.to < from && reached.to < mark => {
                    asked.behind_pruned.push((reached, mark));
                }
                Move { from, .. } if reached.to < from => asked.back.push(reached),
                // Before the first existing offset: no effect.
                _ => {}
            }
        }
        asked
    }

    fn is_nothing(&self) -> bool {
        let none = self.back.is_empty() && self.past_deleted.is_empty() && self.skipping.is_empty();
        none && self.behind_pruned.is_empty()
    }

    /// What happens when the group's next member starts, as texts for people; and whether the request is refused.
    pub fn consequences(&self, side: Side) -> Vec<Consequence> {
        let again = match side {
            Side::Write => {
                "the records are read again, and the ledgers recognise each; commands whose receipts were removed are skipped"
            }
            Side::Read => "the view is rebuilt from its first event, whichever offsets are named",
        };
        let lines = [
            (&self.back, again),
            (
                &self.past_deleted,
                "that skips records that were deleted before they were read, and is accepted at the next start. \
                 `millrace verify --repair` writes the events again that a view or a saga has missed",
            ),
            (
                &self.skipping,
                "that would skip records that can be read, so it is refused: the group continues at the offset in Postgres. \
                 If records were deleted, --to-earliest continues after them",
            ),
        ];
        let consequences =
            lines.iter().filter(|(moves, _)| !moves.is_empty()).map(|(moves, what)| Consequence {
                what: format!("the group was reset, {}: {what}", listed(moves)),
                refused: **moves == self.skipping,
            });
        consequences.chain(self.behind_pruned()).collect()
    }

    fn behind_pruned(&self) -> Option<Consequence> {
        let place = |(one, mark): &(Move, i64)| format!("{one} (rows are kept from {mark} on)");
        let places: Vec<String> = self.behind_pruned.iter().map(place).collect();
        (!places.is_empty()).then(|| Consequence {
            what: format!(
                "the group was reset, {}: retention has removed ledger rows of these records, so an answered record cannot be \
                 distinguished from a new one. The reset is refused: the group continues at the offset in Postgres. To read later \
                 records again, reset it to the named offset (--to-offset) or a later one",
                places.join(", ")
            ),
            refused: true,
        })
    }
}

/// The consequence of a part of a reset.
pub struct Consequence {
    /// For people.
    pub what: String,
    /// Whether it is refused.
    pub refused: bool,
}

/// Offsets for people.
pub fn listed(moves: &[Move]) -> String {
    moves.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Checks all topics of a group. The result is only valid before a member of the group starts.
///
/// # Errors
/// [`Failure::Unreachable`].
pub async fn look(
    config: &Config,
    database: &Database,
    (group, generation): (&str, i32),
    topics: &[String],
) -> Result<Reset, Failure> {
    let stands = stands(database, (group, generation), topics).await?;
    let marks = marks(database, group).await?;
    let asked = {
        let (config, group, topics) = (config.clone(), group.to_owned(), topics.to_owned());
        tokio::task::spawn_blocking(move || ask(&config, &group, generation, &topics, (stands, marks))).await
    };
    let (reset, committed) = asked
        .map_err(|error| Failure::refused("the group was not asked for its offsets").caused_by(error))??;
    match reset {
        // Another process may have moved the offsets since Postgres was queried.
        Reset::Lost(_) => {
            let later = self::stands(database, (group, generation), topics).await?;
            Ok(lost(generation, &later, &committed).map_or(Reset::None, Reset::Lost))
        }
        reset => Ok(reset),
    }
}

/// Reads the committed offsets from Kafka.
fn ask(
    config: &Config,
    group: &str,
    generation: i32,
    topics: &[String],
    (mut stands, marks): (BTreeMap<Partition, Stand>, Marks),
) -> Result<(Reset, Vec<Committed>), Failure> {
    let commits = Commits::of(&config.kafka, group)?;
    let partitions = commits.partitions(topics)?;
    let committed = commits.committed(&partitions)?;
    if let Some(lost) = lost(generation, &stands, &committed) {
        return Ok((Reset::Lost(lost), committed));
    }
    for wish in committed.iter().filter(|one| is_foreign(one)) {
        // A partition that was never claimed begins at its first record.
        if let Entry::Vacant(unclaimed) = stands.entry((wish.topic.clone(), wish.partition)) {
            let first = commits.first(unclaimed.key())?;
            unclaimed.insert((first, 0, None));
        }
    }
    let moves = moves(&stands, &committed).into_iter().map(|wish| {
        let first = commits.first(&(wish.topic.clone(), wish.partition))?;
        Ok((wish, first))
    });
    let asked = Asked::of(moves.collect::<Result<_, Failure>>()?, &marks);
    Ok((if asked.is_nothing() { Reset::None } else { Reset::Asked(asked) }, committed))
}

async fn stands(
    database: &Database,
    (group, generation): (&str, i32),
    topics: &[String],
) -> Result<BTreeMap<Partition, Stand>, Failure> {
    let rows = consumer_offset::claims_in(&database.pool, (group, generation), topics)
        .map_err(|error| database.failure(error));
    let rows = database.in_time(rows).await?;
    Ok(rows
        .into_iter()
        .map(|(topic, partition, applied, epoch, id)| ((topic, partition), (applied, epoch, id)))
        .collect())
}

/// The marks of retention; none on the read side, which has no ledgers.
async fn marks(database: &Database, group: &str) -> Result<Marks, Failure> {
    if database.side == Side::Read {
        return Ok(Marks::new());
    }
    let rows = pruned::marks(&database.pool, group).map_err(|error| database.failure(error));
    Ok(database
        .in_time(rows)
        .await?
        .into_iter()
        .map(|(topic, number, below)| ((topic, number), below))
        .collect())
}

fn is_foreign(committed: &Committed) -> bool {
    Stamp::of(&committed.metadata, committed.offset).is_none()
}

/// Commits that Millrace has mirrored and Postgres no longer has.
fn lost(generation: i32, stands: &BTreeMap<Partition, Stand>, committed: &[Committed]) -> Option<String> {
    committed.iter().find_map(|one| {
        let stamp = Stamp::of(&one.metadata, one.offset).filter(|stamp| stamp.generation == generation)?;
        let stand = stands.get(&(one.topic.clone(), one.partition))?;
        let (applied, epoch, id) = *stand;
        // An offset of a topic that was created again since is ignored.
        let lost = !stamp.is_of_another(id) && (one.offset > applied || stamp.epoch > epoch);
        lost.then(|| lost_commits(one, *stand))
    })
}

/// The changes that an operator has requested.
fn moves(stands: &BTreeMap<Partition, Stand>, committed: &[Committed]) -> Vec<Move> {
    let moved = committed.iter().filter(|one| is_foreign(one)).filter_map(|one| {
        let Committed { topic, partition, offset, .. } = one;
        let (from, ..) = *stands.get(&(topic.clone(), *partition))?;
        (from != *offset).then(|| Move { topic: topic.clone(), partition: *partition, from, to: *offset })
    });
    moved.collect()
}

fn lost_commits(
    Committed { topic, partition, offset, metadata }: &Committed,
    (applied, epoch, _): Stand,
) -> String {
    format!(
        "Postgres has lost commits: its offset of {topic}-{partition} is {applied} (epoch {epoch}), and was {offset} \
         ({metadata}). It was restored from an older copy, or a replica without the last commits took over. Events that are \
         in Kafka may be missing in the outbox"
    )
}

/// Resets the offsets of a group of the write side in Postgres. Every command has a row in the ledger; once some of these are
/// removed, records that the group has read are skipped.
///
/// # Errors
/// [`Failure::Unreachable`].
pub async fn rewind(config: &Config, database: &Database, group: &str, back: &[Move]) -> Result<(), Failure> {
    if back.is_empty() {
        return Ok(());
    }
    let (whole, group) =
        (group == config.namespace.group(COMMANDS), Group { id: group.to_owned(), generation: 1 });
    let set = async {
        let mut transaction = database.pool.begin().await?;
        pruned::lock(&mut transaction).await?;
        for Move { topic, partition, from, to } in back {
            let at = consumer_offset::Partition { group: &group, topic, partition: *partition };
            consumer_offset::set_back(&mut transaction, at, (*from, *to), whole).await?;
        }
        transaction.commit().await
    };
    set.await.map_err(|error| database.failure(error))
}

/// Moves a group's offsets beyond deleted records, and records which.
///
/// # Errors
/// [`Failure::Unreachable`].
pub async fn pass_deleted(
    database: &Database,
    (group, generation): (&str, i32),
    past_deleted: &[Move],
) -> Result<(), Failure> {
    let operator = Operator::new(Some("reset"), "the group was reset to the first existing offset");
    let set = async {
        let mut transaction = database.pool.begin().await?;
        for one in past_deleted {
            if set(&mut transaction, (group, generation), one).await? {
                let subject = format!("{group}/{}-{}", one.topic, one.partition);
                let details = json!({"generation": generation, "from": one.from, "to": one.to});
                operator.sign(&mut transaction, "pass deleted records", &subject, &details).await?;
            }
        }
        transaction.commit().await
    };
    set.await.map_err(|error| database.failure(error))
}

/// Sets an offset, unless another process has set it.
async fn set(
    connection: &mut PgConnection,
    (group, generation): (&str, i32),
    Move { topic, partition, from, to }: &Move,
) -> sqlx::Result<bool> {
    consumer_offset::set(connection, (group, generation), (topic, *partition), (*from, *to)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Uuid = Uuid::from_u128(1);

    fn stands() -> BTreeMap<Partition, Stand> {
        let place = |partition| ("t".to_owned(), partition);
        BTreeMap::from([(place(0), (10, 4, Some(HERE))), (place(1), (20, 1, None))])
    }

    fn committed(of: &[(i32, i64, &str)]) -> Vec<Committed> {
        let of = of.iter().map(|(partition, offset, metadata)| Committed {
            topic: "t".to_owned(),
            partition: *partition,
            offset: *offset,
            metadata: (*metadata).to_owned(),
        });
        of.collect()
    }

    fn moved(of: &[(i32, i64, &str)]) -> Vec<(i32, i64, i64)> {
        let moves = moves(&stands(), &committed(of));
        moves.into_iter().map(|one| (one.partition, one.from, one.to)).collect()
    }

    fn lost(of: &[(i32, i64, &str)]) -> Option<String> {
        super::lost(1, &stands(), &committed(of))
    }

    #[test]
    fn what_is_missing_stamped_or_where_postgres_stands_is_no_reset() {
        assert_eq!(moved(&[]), []);
        assert_eq!(moved(&[(0, 3, "millrace g=1 e=4"), (1, 25, "millrace g=2 e=1 o=25")]), []);
        assert_eq!(moved(&[(0, 10, ""), (1, 20, "")]), []);
    }

    #[test]
    fn an_offset_without_a_stamp_of_its_own_is_an_operators() {
        assert_eq!(moved(&[(0, 0, ""), (1, 25, "kafka")]), [(0, 10, 0), (1, 20, 25)]);
        assert_eq!(moved(&[(0, 3, "millrace g=1 e=4 o=10")]), [(0, 10, 3)], "a tool has kept the stamp");
        assert_eq!(lost(&[(0, 13, "millrace g=1 e=4 o=10")]), None);
    }

    #[test]
    fn what_was_committed_of_another_topic_of_the_same_name_is_no_lost_commit() {
        let stamp = |id| format!("millrace g=1 e=4 t={id}");
        assert!(lost(&[(0, 11, &stamp(HERE))]).is_some());
        assert_eq!(lost(&[(0, 11, &stamp(Uuid::from_u128(2)))]), None);
    }

    #[test]
    fn a_stamped_offset_or_epoch_that_postgres_does_not_know_is_a_lost_commit() {
        for (partition, offset, metadata) in [(0, 11, "millrace g=1 e=4"), (1, 20, "millrace g=1 e=2")] {
            let lost = lost(&[(partition, offset, metadata), (1 - partition, 0, "")]);
            assert!(lost.is_some_and(|text| text.contains(metadata)));
        }
    }

    #[test]
    fn what_follows_depends_on_what_is_still_there() {
        let asked = |from, to, first| {
            let wish = Move { topic: "t".to_owned(), partition: 0, from, to };
            let Asked { back, past_deleted, skipping, .. } = Asked::of(vec![(wish, first)], &Marks::new());
            let to = |moves: Vec<Move>| moves.first().map(|one| one.to);
            (to(back), to(past_deleted), to(skipping))
        };
        assert_eq!(asked(10, 0, 0), (Some(0), None, None));
        assert_eq!(asked(10, 2, 5), (Some(5), None, None), "as far back as there are records");
        assert_eq!(asked(10, 15, 0), (None, None, Some(15)));
        assert_eq!(asked(10, 15, 15), (None, Some(15), None), "its next record was deleted");
        assert_eq!(asked(10, 15, 17), (None, Some(17), None), "and more since");
        assert_eq!(asked(10, 20, 15), (None, None, Some(20)), "what is there would be skipped");
        assert_eq!(asked(10, 2, 10), (None, None, None), "there is nothing to go back to");
    }

    #[test]
    fn what_lies_behind_rows_that_are_gone_is_refused_and_the_first_offset_is_named() {
        let asked = |to, first| {
            let wish = Move { topic: "t".to_owned(), partition: 0, from: 10, to };
            Asked::of(vec![(wish, first)], &BTreeMap::from([(("t".to_owned(), 0), 7)]))
        };
        let told = |asked: Asked| {
            let told = asked.consequences(Side::Write);
            told.into_iter().map(|one| (one.refused, one.what)).collect::<Vec<_>>()
        };
        let [(refused, what)] = told(asked(3, 0)).try_into().unwrap();
        assert!(refused && what.contains("t-0 from 10 to 3 (rows are kept from 7 on)"), "{what}");
        assert!(!told(asked(7, 0))[0].0);
        assert_eq!(asked(3, 8).back[0].to, 8, "Kafka has nothing that is behind them");
    }
}
