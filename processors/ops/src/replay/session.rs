//! A separate connection for comparisons, which read whole tables in one long transaction.

use std::time::Duration;

use millrace_engine::failpoints::{broken, mechanism};
use millrace_store::Group;
use millrace_store::consumer_offset::{self, Position, Stand};
use millrace_store::names::Namespace;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

use super::compare::OneSided;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::ReadModel;
use crate::postgres::Database;
use crate::verify::horizon;

/// A pause expires after this time, also when the process that began it has died.
const PAUSED_AT_MOST: Duration = Duration::from_secs(5);

/// Two generations of a view.
pub struct Pair<'m> {
    pub(crate) group: String,
    pub(crate) topics: Vec<String>,
    pub(crate) serving: i32,
    pub(crate) building: i32,
    pub(crate) model: &'m ReadModel,
    /// Whether both have the same shape.
    pub(crate) of_one_shape: bool,
    /// The ends of topics that only the building one reads.
    ends: Vec<Stand>,
    /// Which of the two reads topics that the other does not read.
    pub(super) one_sided: OneSided,
}

impl<'m> Pair<'m> {
    /// The pair of a view's generations.
    pub fn new(namespace: &Namespace, model: &'m ReadModel, serving: i32, building: i32) -> Self {
        let (group, topics) = (namespace.group(model.name), model.topics(namespace));
        let (ends, one_sided) = (Vec::new(), OneSided::default());
        Self { group, topics, serving, building, model, of_one_shape: true, ends, one_sided }
    }

    /// The pair for a comparison: topics that only the building one reads count up to their current ends.
    pub(super) async fn compared(
        self,
        config: &Config,
        read: &Database,
        of_one_shape: bool,
    ) -> Result<Self, Failure> {
        let serving = Group { id: self.group.clone(), generation: self.serving };
        let stands = consumer_offset::stands(&read.pool, &serving).await;
        let stands = stands.map_err(|error| read.failure(error))?;
        let is_read = |topic: &&String| stands.iter().any(|(other, ..)| other == *topic);
        let own: Vec<String> = self.topics.iter().filter(|topic| !is_read(topic)).cloned().collect();
        let is_left =
            |topic: &String| config.namespace.event_context(topic).is_some() && !self.topics.contains(topic);
        let serving = stands.iter().any(|(topic, ..)| is_left(topic));
        let one_sided = OneSided { serving, building: !own.is_empty() };
        let ends = tokio::task::block_in_place(|| horizon::ends(config, &own))?;
        Ok(Self { of_one_shape, ends, one_sided, ..self })
    }

    /// The columns, or fields, that may differ: the version of a row differs when other topics are read.
    pub(super) fn changed(&self) -> Vec<&'static str> {
        if self.of_one_shape {
            return Vec::new();
        }
        let counts = if self.one_sided.any() { ["version", "updated_at"].as_slice() } else { &[] };
        self.model.changed.iter().chain(counts).copied().collect()
    }

    /// The position of the two in the transaction of `connection`: in a snapshot, rows and offsets agree.
    pub(crate) async fn position(&self, connection: &mut PgConnection) -> sqlx::Result<Position> {
        self.offsets().position(connection, self.model.table.is_none()).await
    }

    /// The current position of the two.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn position_now(&self, read: &Database) -> Result<Position, Failure> {
        let fail = |error| read.failure(error);
        let mut connection = read.pool.acquire().await.map_err(fail)?;
        self.position(&mut connection).await.map_err(fail)
    }

    /// Pauses both generations at the offsets of the one that is ahead, for a few seconds.
    pub(crate) async fn pause(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let mut transaction = connection.begin().await?;
        self.offsets().pause(&mut transaction, PAUSED_AT_MOST).await?;
        transaction.commit().await
    }

    /// Ends the pause of the serving one.
    pub(crate) async fn resume(&self, read: &Database) -> Result<(), Failure> {
        self.offsets().resume(&read.pool).await.map_err(|error| read.failure(error))
    }

    /// Pauses the building generation at the current offsets of the serving one.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn pause_at_serving(&self, read: &Database) -> Result<(), Failure> {
        self.offsets().pause_at_serving(&read.pool).await.map_err(|error| read.failure(error))
    }

    fn offsets(&self) -> consumer_offset::Pair<'_> {
        let Self { group, topics, serving, building, ends, .. } = self;
        consumer_offset::Pair { group, serving: *serving, building: *building, topics, ends }
    }
}

/// A connection without transaction timeout; it is closed when dropped.
pub(crate) async fn open(read: &Database) -> sqlx::Result<PgConnection> {
    let mut connection = read.pool.acquire().await?.detach();
    set(&mut connection, "SET transaction_timeout = 0; SET lock_timeout = '3s'").await?;
    Ok(connection)
}

/// Takes an advisory lock, so that one process at a time does `what` to a view; false when another process holds it. It is held
/// until the connection is closed.
pub(crate) async fn alone(
    connection: &mut PgConnection,
    what: &str,
    namespace: &Namespace,
    view: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
        .bind(format!("millrace {what} {namespace}.{view}"))
        .fetch_one(connection)
        .await
}

/// A transaction with a snapshot (REPEATABLE READ) of rows and progress.
///
/// It is begun by sqlx, so that a nested transaction becomes a savepoint: the client counts the depth, and would not know of a
/// `BEGIN` that it has not sent.
pub(crate) async fn snapshot(connection: &mut PgConnection) -> sqlx::Result<Transaction<'_, Postgres>> {
    if broken(mechanism::SNAPSHOT) {
        return connection.begin().await;
    }
    connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await
}

/// Between two reads of a snapshot. Without one, what is written meanwhile makes them differ: writers get the time for it.
pub(crate) async fn between_reads() {
    if broken(mechanism::SNAPSHOT) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Executes a `SET`.
pub(crate) async fn set(connection: &mut PgConnection, sql: &'static str) -> sqlx::Result<()> {
    sqlx::raw_sql(sql).execute(connection).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let of = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
        entries.flat_map(of).filter(|path| path.extension() == Some("rs".as_ref())).collect()
    }

    /// The client would not know of them, and would begin a transaction instead of a savepoint.
    #[test]
    fn transactions_are_begun_and_ended_by_the_client_alone() {
        // Written so that the test does not find this line.
        let raw =
            ["begin", "commit", "rollback", "savepoint"].map(|word| format!("\"{}", word.to_uppercase()));
        for folder in ["processors", "tests", "bench", "simulator"] {
            for source in sources(&Path::new(WORKSPACE).join(folder)) {
                let text = fs::read_to_string(&source).unwrap();
                let found = text
                    .lines()
                    .find(|line| raw.iter().any(|raw| line.contains(raw)) && !line.contains("begin_with("));
                assert_eq!(found, None, "{}", source.display());
            }
        }
    }
}
