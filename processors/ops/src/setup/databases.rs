//! Tables, the publication and the replication slot.

use millrace_store::indexes::Index;
use millrace_store::{deployed, heartbeat, indexes, outbox, replay, stream};
use sqlx::{Connection as _, PgConnection};

use super::holders::Waiting;
use super::steps::{Did, Steps};
use super::tables::{self, Before};
use super::tries::{Tries, begin};
use super::{comments, grants, views};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::postgres::{Database, execute, exists};
use crate::replay::generations::{self, Generation};
use crate::replay::session;

/// Refuses tables that a later build has set up and that this build does not know; tables that a later release has set up, unless
/// it is a downgrade; and a migration while processes are connected that could not work afterwards.
pub(super) async fn refuse_unfit(config: &Config, downgrade: bool) -> Result<(), Failure> {
    for side in [Side::Write, Side::Read] {
        let database = Database::of(config, side)?;
        let fail = |error| database.failure(error);
        let mut connection = database.pool.acquire().await.map_err(fail)?;
        database.refuse_newer(&mut connection).await.map_err(fail)??;
        tables::refuse_later_release(deployed::release(&mut connection).await.map_err(fail)?, downgrade)?;
        let sessions = side.migrations().sessions_in_the_way(&mut connection).await.map_err(fail)?;
        database.refuse_connected(sessions)?;
    }
    Ok(())
}

/// Creates both sides, publication and slot; returns the live generations of the views.
pub(super) async fn create(
    config: &Config,
    downgrade: bool,
    steps: &mut Steps<'_>,
) -> Result<Vec<Generation>, Failure> {
    let write = Database::of(config, Side::Write)?;
    let read = Database::of(config, Side::Read)?;
    create_side(config, &write, downgrade, steps).await?;
    create_side(config, &read, downgrade, steps).await?;
    create_outbox_feed(config, &write, steps).await?;
    live(&read, steps.dry).await.map_err(|error| read.failure(error))
}

/// The live generations; a dry run may find no tables.
async fn live(read: &Database, dry: bool) -> sqlx::Result<Vec<Generation>> {
    if dry && !replay::is_there(&read.pool).await? {
        return Ok(Vec::new());
    }
    generations::live(&read.pool).await
}

/// Refuses to leave out a context that has streams: they would be neither carried, folded nor audited.
async fn refuse_contexts_left_out(
    config: &Config,
    write: &Database,
    connection: &mut PgConnection,
) -> Result<(), Failure> {
    let left_out: Vec<&str> =
        millrace_schemas::CONTEXTS.iter().copied().filter(|context| !config.has(context)).collect();
    let used = stream::used(connection, &left_out).await.map_err(|error| write.failure(error))?;
    match used {
        None => Ok(()),
        Some(context) => Err(Failure::refused(format!(
            "contexts leaves out `{context}`, which has streams in this instance already: name it, or choose a new namespace."
        ))),
    }
}

pub(super) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Write => "write side",
        Side::Read => "read side",
    }
}

/// What was done to a side, and its indexes that are still to be made.
struct Made {
    done: Vec<(Did, String)>,
    indexes: Vec<(Did, String)>,
    left: Vec<Index>,
}

/// Creates a side: migrations one by one, then everything else in one transaction, in short tries for locks.
async fn create_side(
    config: &Config,
    database: &Database,
    downgrade: bool,
    steps: &mut Steps<'_>,
) -> Result<(), Failure> {
    let fail = |error| database.failure(error);
    let (before, side) = (Before::of(config, database).await.map_err(fail)?, side_name(database.side));
    let mut tries = Tries::of(config, database);
    if !steps.dry {
        tables::migrate(&mut tries, downgrade).await?;
    }
    let made = loop {
        match make_side(&mut tries, &before, downgrade, steps.dry).await {
            Ok(made) => break made,
            Err(failure) => tries.again(failure).await?,
        }
    };
    for (did, name) in made.done {
        steps.report(did, side, &name)?;
    }
    if !steps.dry {
        index_large(database, &made.left).await.map_err(fail)?;
    }
    made.indexes.into_iter().try_for_each(|(did, name)| steps.report(did, side, &name))
}

/// One try, in one transaction, which a dry run rolls back.
async fn make_side(
    tries: &mut Tries<'_>,
    before: &Before,
    downgrade: bool,
    dry: bool,
) -> Result<Made, Failure> {
    let (config, database) = (tries.config, tries.database);
    let (mut transaction, waiting) = tries.begin().await?;
    let made = make(&mut transaction, config, database, (before, downgrade));
    let made = tries.until(&format!("setup of the {}", side_name(database.side)), waiting, made).await?;
    let ended = if dry { transaction.rollback().await } else { transaction.commit().await };
    ended.map_err(|error| database.failure(error))?;
    Ok(made)
}

async fn make(
    transaction: &mut PgConnection,
    config: &Config,
    database: &Database,
    (before, downgrade): (&Before, bool),
) -> Result<Made, Failure> {
    let (fail, side) = (|error| database.failure(error), database.side);
    tables::create_schema(transaction, config).await.map_err(fail)?;
    let mut done = vec![(Did::created_if(!before.has_schema), "schema".to_owned())];
    done.extend(tables::tables(transaction, side, before).await.map_err(fail)?);
    let made = indexes::create_small(transaction, side.indexes()).await.map_err(fail)?;
    // A setup of a later release may have run meanwhile.
    tables::refuse_later_release(deployed::release(transaction).await.map_err(fail)?, downgrade)?;
    done.push(tables::deploy(transaction, side, before).await.map_err(fail)?);
    if side == Side::Write {
        refuse_contexts_left_out(config, database, transaction).await?;
    } else {
        done.extend(make_readable(transaction, config, database).await?);
    }
    let left = indexes::missing(transaction, side.indexes()).await.map_err(fail)?;
    let index = |index: &Index| {
        let new = made.contains(&index.name) || left.iter().any(|left| left.name == index.name);
        (Did::created_if(new), format!("index {}", index.name))
    };
    let indexes = side.indexes().iter().map(index).collect();
    Ok(Made { done, indexes, left })
}

/// The views of the read side, who may read them, and what they mean.
async fn make_readable(
    transaction: &mut PgConnection,
    config: &Config,
    database: &Database,
) -> Result<Vec<(Did, String)>, Failure> {
    let fail = |error| database.failure(error);
    let mut done = views::create(transaction, config, database).await?;
    done.push(grants::grant(transaction, config).await.map_err(fail)?);
    let changed = comments::write(transaction, config).await.map_err(fail)?;
    let did = if changed { Did::Updated } else { Did::Nothing };
    done.push((did, "comments on SQL views".to_owned()));
    Ok(done)
}

/// Indexes large tables CONCURRENTLY. When another setup does so at the same time, one of the two waits or fails.
async fn index_large(database: &Database, left: &[Index]) -> sqlx::Result<()> {
    if left.is_empty() {
        return Ok(());
    }
    let mut connection = session::open(database).await?;
    // CREATE INDEX CONCURRENTLY waits for older transactions.
    session::set(&mut connection, "SET lock_timeout = 0").await?;
    let mut waiting = Waiting::of(database, &mut connection).await?;
    for index in left {
        tracing::info!(
            index = index.name,
            "a large table is indexed: it may take minutes, and nothing waits for it"
        );
        let created = index.create_beside_writers(&mut connection);
        waiting.until(&format!("the index {}", index.name), created).await?;
    }
    connection.close().await
}

const PUBLICATION_EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)";
const SLOT_EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)";
/// A slot whose WAL was removed (`max_slot_wal_keep_size`, `idle_replication_slot_timeout`) exists but cannot be used.
const DROP_LOST_SLOT: &str = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND wal_status = 'lost'";

/// Creates what Debezium needs: the heartbeat's row, the publication, the slot.
async fn create_outbox_feed(config: &Config, write: &Database, steps: &mut Steps<'_>) -> Result<(), Failure> {
    let fail = |error| write.failure(error);
    let name = config.namespace.outbox();
    let mut transaction = begin(config, write).await?;
    let new = !exists(&mut transaction, PUBLICATION_EXISTS, &name).await.map_err(fail)?;
    if steps.dry {
        steps.report(Did::created_if(new), "publication", &name)?;
        let new = !exists(&mut transaction, SLOT_EXISTS, &name).await.map_err(fail)?;
        return steps.report(Did::created_if(new), "replication slot", &name);
    }
    heartbeat::insert(&mut transaction).await.map_err(fail)?;
    if new {
        execute(&mut transaction, publication(config)).await.map_err(fail)?;
    }
    let granted = grants::grant_to_connect(&mut transaction, config).await.map_err(fail)?;
    transaction.commit().await.map_err(fail)?;
    steps.report(Did::created_if(new), "publication", &name)?;
    if let Some((did, what)) = granted {
        steps.report(did, "write side", &what)?;
    }
    create_slot(&name, write, steps).await
}

/// The publication. It includes updates, for the heartbeat; so Postgres refuses an UPDATE of the outbox, which has no replica
/// identity and is insert-only.
fn publication(config: &Config) -> String {
    let (name, schema) = (config.namespace.outbox(), config.namespace.database_schema());
    format!(
        "CREATE PUBLICATION \"{name}\" FOR TABLE \"{schema}\".outbox, \"{schema}\".heartbeat \
         WITH (publish = 'insert, update')"
    )
}

/// Creates the slot. A slot only has what is written after it: warns when the outbox already has rows.
async fn create_slot(name: &str, write: &Database, steps: &mut Steps<'_>) -> Result<(), Failure> {
    let fail = |error| write.failure(error);
    let lost = sqlx::query(DROP_LOST_SLOT).bind(name).execute(&write.pool).await.map_err(fail)?;
    let lost = lost.rows_affected() > 0;
    if lost {
        tracing::warn!(slot = name, "the replication slot had lost its WAL: it is made anew");
    }
    let mut new = !slot_exists(name, write).await.map_err(fail)?;
    if new {
        let mut connection = write.pool.acquire().await.map_err(fail)?;
        match slot_created(name, write, &mut connection).await {
            Ok(()) => warn_of_missed_rows(&mut connection, name).await.map_err(fail)?,
            // Another setup has done it.
            Err(error) if slot_exists(name, write).await.map_err(fail)? => {
                tracing::debug!(%error, "the slot is there");
                new = false;
            }
            Err(error) => return Err(fail(error)),
        }
    }
    let did = if lost { Did::Updated } else { Did::created_if(new) };
    steps.report(did, "replication slot", name)
}

async fn slot_exists(name: &str, write: &Database) -> sqlx::Result<bool> {
    exists(&mut *write.pool.acquire().await?, SLOT_EXISTS, name).await
}

/// Creates the slot. Postgres waits for all running transactions of all its databases.
async fn slot_created(name: &str, write: &Database, connection: &mut PgConnection) -> sqlx::Result<()> {
    let mut waiting = Waiting::of(write, connection).await?;
    let create = sqlx::query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')").bind(name);
    waiting.until("the replication slot", create.execute(connection)).await.map(|_| ())
}

async fn warn_of_missed_rows(connection: &mut PgConnection, slot: &str) -> sqlx::Result<()> {
    let rows = outbox::count(connection).await?;
    if rows > 0 {
        tracing::warn!(
            rows,
            slot,
            "the outbox had rows before its replication slot: those that are not in Kafka yet will not get there by themselves"
        );
    }
    Ok(())
}
