//! Cut-over: pauses both generations at the same offsets, opens a snapshot, compares, and swaps.

use std::time::{Duration, Instant};

use millrace_store::consumer_offset::{self, Position};
use millrace_store::{Means, names, replay};
use serde_json::json;
use sqlx::{PgConnection, Postgres, Transaction};

use super::compare::{Comparison, Tables, common, compare, has_key};
use super::documents::Documents;
use super::generations::{Generation, Generations};
use super::session::{self, Pair};
use super::sql_views;
use crate::config::Config;
use crate::elastic::Client;
use crate::failure::Failure;
use crate::layout::{ReadModel, Table};
use crate::postgres::Database;
use crate::setup::indices;
use crate::verify::generation;

/// Both are paused only when the built generation is at most this many records behind.
const NEAR: i64 = 5_000;
/// The time in which the built generation must catch up during a pause; otherwise both resume and it is tried again.
const REACHED_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long both run after a pause in which the built generation did not catch up.
const REST: Duration = Duration::from_secs(4);
/// Attempts to swap after one comparison.
const LEVEL_TRIES: u32 = 5;

/// Compares a building generation with the serving one when it has caught up, and swaps when they are equal or differences are
/// accepted. Otherwise stores the differences and leaves the building generation as it is. Does nothing while it is far behind,
/// or while another process compares it.
///
/// # Errors
/// [`Failure`]; nothing is swapped then, and a pause expires.
pub async fn attempt(config: &Config, read: &Database, model: &ReadModel) -> Result<(), Failure> {
    let fail = |error| read.failure(error);
    let generations = Generations::of(read, model.name).await?;
    let to_compare = |building: &&Generation| building.comparison.is_none() && building.is_of(&model.shape);
    let Some(building) = generations.building().filter(to_compare) else { return Ok(()) };
    let serving = generations.serving()?;
    let of_one_shape = generations.are_of_one_shape(serving, building.generation);
    let pair = Pair::new(&config.namespace, model, serving, building.generation);
    if is_far(pair.position_now(read).await?) {
        return Ok(());
    }
    let mut connection = session::open(read).await.map_err(fail)?;
    if !session::alone(&mut connection, "replay", &config.namespace, model.name).await.map_err(fail)? {
        return Ok(());
    }
    let pair = pair.compared(config, read, of_one_shape).await?;
    let compared = match &model.table {
        _ if is_far(pair.position_now(read).await?) => None,
        Some(table) => compared_rows((config, read), &pair, table, &mut connection).await?,
        None => compared_documents(config, read, &pair, &mut connection).await?,
    };
    let decided = match compared {
        Some(comparison) => decide((config, read), &pair, building, &comparison, &mut connection).await?,
        None => false,
    };
    if !decided {
        tokio::time::sleep(REST).await;
    }
    Ok(())
}

fn is_far(position: Position) -> bool {
    position.behind + position.unpublished > NEAR || position.applied == 0 && !position.is_caught_up()
}

/// Compares in a snapshot in which both generations have applied the same records; `None` when there was none in time.
async fn compared_rows(
    (config, read): (&Config, &Database),
    pair: &Pair<'_>,
    table: &Table,
    connection: &mut PgConnection,
) -> Result<Option<Comparison>, Failure> {
    let fail = |error| read.failure(error);
    pair.pause(connection).await.map_err(fail)?;
    let position = caught_up_snapshot(pair, connection).await;
    // The snapshot does not change while both run.
    pair.resume(read).await?;
    let Some((mut snapshot, _)) = position.map_err(fail)? else { return Ok(None) };
    let name = |generation| (generation, names::table(pair.model.name, generation));
    let (serving, building) = (name(pair.serving), name(pair.building));
    if !has_key(&mut snapshot, &serving.1, &table.key).await.map_err(fail)? {
        snapshot.commit().await.map_err(fail)?;
        return generation::check(config, read, pair.model, (serving.0, building.0)).await.map(Some);
    }
    let common = common(&mut snapshot, (&serving.1, &building.1), &pair.changed()).await;
    let tables =
        Tables { serving, building, table, columns: common.map_err(fail)?, one_sided: pair.one_sided };
    let comparison = compare(&mut snapshot, &tables).await.map_err(fail)?;
    snapshot.commit().await.map_err(fail)?;
    Ok(Some(comparison))
}

/// Compares the documents at a point in time at which both generations had applied the same records; `None` when there was none
/// in time.
async fn compared_documents(
    config: &Config,
    read: &Database,
    pair: &Pair<'_>,
    connection: &mut PgConnection,
) -> Result<Option<Comparison>, Failure> {
    let elastic = Client::new(&config.elasticsearch)?;
    pair.pause(connection).await.map_err(|error| read.failure(error))?;
    let documents = documents_caught_up(config, read, &elastic, pair, connection).await;
    // The point in time does not change while both run.
    pair.resume(read).await?;
    match documents? {
        Some(documents) => documents.compare().await.map(Some),
        None => Ok(None),
    }
}

/// Takes a point in time of the documents. When both generations have the same offsets before and after, with nothing
/// unpublished, nothing was published in between.
async fn documents_caught_up<'e>(
    config: &Config,
    read: &Database,
    elastic: &'e Client,
    pair: &Pair<'_>,
    connection: &mut PgConnection,
) -> Result<Option<Documents<'e>>, Failure> {
    let fail = |error| read.failure(error);
    let Some((snapshot, before)) = caught_up_snapshot(pair, connection).await.map_err(fail)? else {
        return Ok(None);
    };
    snapshot.commit().await.map_err(fail)?;
    let documents = Documents::now(config, elastic, pair).await?;
    if pair.position_now(read).await? == before {
        return Ok(Some(documents));
    }
    documents.close().await?;
    Ok(None)
}

/// Opens a snapshot in which the built generation has caught up, with the positions of both; `None` when time is up.
async fn caught_up_snapshot<'c>(
    pair: &Pair<'_>,
    connection: &'c mut PgConnection,
) -> sqlx::Result<Option<(Transaction<'c, Postgres>, Position)>> {
    let until = Instant::now() + REACHED_WITHIN;
    while !pair.position(connection).await?.is_caught_up() {
        if Instant::now() > until {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let mut snapshot = session::snapshot(connection).await?;
    // Checked again in the snapshot: the pause may have ended meanwhile.
    let position = pair.position(&mut snapshot).await?;
    Ok(position.is_caught_up().then_some((snapshot, position)))
}

/// Whether the generation was swapped or refused; otherwise it was never level with the serving one in time.
async fn decide(
    (config, read): (&Config, &Database),
    pair: &Pair<'_>,
    building: &Generation,
    comparison: &Comparison,
    connection: &mut PgConnection,
) -> Result<bool, Failure> {
    let model = pair.model;
    if comparison.equal() || building.accept_differences {
        return swap_once_level((config, read), pair, comparison, connection).await;
    }
    let written = replay::compared(&read.pool, (model.name, comparison.building), comparison).await;
    written.map_err(|error| read.failure(error))?;
    tracing::error!(
        view = model.name,
        generation = building.generation,
        fields = %json!(comparison.fields),
        "not swapped: {comparison}"
    );
    Ok(true)
}

/// Tries to swap several times, with rests between: the comparison may have taken long, and need not be repeated.
async fn swap_once_level(
    (config, read): (&Config, &Database),
    pair: &Pair<'_>,
    comparison: &Comparison,
    connection: &mut PgConnection,
) -> Result<bool, Failure> {
    for tried in 1..=LEVEL_TRIES {
        let swapped = match level((config, read), pair, connection).await {
            Ok(Some(level)) => swap(config, read, pair, Some((comparison, level))).await,
            Ok(None) => Ok(false),
            Err(error) => {
                tracing::warn!(view = pair.model.name, %error, "not swapped yet");
                Ok(false)
            }
        };
        pair.resume(read).await?;
        if swapped? {
            return Ok(true);
        }
        if tried < LEVEL_TRIES {
            tokio::time::sleep(REST).await;
        }
    }
    Ok(false)
}

/// Pauses both generations, and waits a moment until the other one has applied and published what the serving one has, and its index
/// is refreshed: a reader would see earlier versions after the swap, whichever process moves the alias. Returns where both are; `None`
/// also when a batch holds the offsets. The pause is not ended.
async fn level(
    (config, read): (&Config, &Database),
    pair: &Pair<'_>,
    connection: &mut PgConnection,
) -> Result<Option<Position>, Failure> {
    let fail = |error| read.failure(error);
    match pair.pause(connection).await {
        Err(error) if Means::of(&error) == Means::InTheWay => return Ok(None),
        paused => paused.map_err(fail)?,
    }
    let Some((snapshot, position)) = caught_up_snapshot(pair, connection).await.map_err(fail)? else {
        return Ok(None);
    };
    snapshot.commit().await.map_err(fail)?;
    let refreshed = indices::refresh(config, pair.model, pair.building);
    match tokio::time::timeout(REACHED_WITHIN, refreshed).await {
        Ok(refreshed) => refreshed?,
        Err(_) => return Ok(None),
    }
    // The SQL views are locked while both stand still.
    pair.pause(connection).await.map_err(fail)?;
    Ok(Some(position))
}

/// Lets an earlier generation serve again without a comparison, as level with the serving one as a moment makes it. Returns how many
/// records it is behind.
///
/// # Errors
/// As a swap.
pub async fn roll_back(
    config: &Config,
    read: &Database,
    model: &ReadModel,
    (serving, to): (i32, i32),
) -> Result<i64, Failure> {
    let fail = |error| read.failure(error);
    let pair = Pair::new(&config.namespace, model, serving, to);
    let mut connection = session::open(read).await.map_err(fail)?;
    wait_until_alone(config, model, &mut connection).await.map_err(fail)?;
    match level((config, read), &pair, &mut connection).await {
        Ok(Some(_)) => {}
        Ok(None) => tracing::warn!(view = model.name, "rolling back although the two are not level"),
        Err(error) => {
            tracing::warn!(view = model.name, %error, "rolling back although the two may not be level")
        }
    }
    let swapped = match pair.position_now(read).await {
        Ok(position) => swap(config, read, &pair, None).await.map(|_| position.behind),
        Err(failure) => Err(failure),
    };
    pair.resume(read).await?;
    swapped
}

/// Waits a moment for a comparison, which would end the pause; a rollback does not wait for one that takes long.
async fn wait_until_alone(
    config: &Config,
    model: &ReadModel,
    connection: &mut PgConnection,
) -> sqlx::Result<()> {
    let until = Instant::now() + REACHED_WITHIN;
    while !session::alone(connection, "replay", &config.namespace, model.name).await? {
        if Instant::now() > until {
            tracing::warn!(view = model.name, "rolling back during a comparison");
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Refuses a generation of another shape: its SQL views must be created by a build of that shape.
fn refuse_foreign(generations: &Generations, model: &ReadModel, to: i32) -> Result<(), Failure> {
    let foreign = |one: &&Generation| one.generation == to && one.shape.is_some() && !one.is_of(&model.shape);
    generations.0.iter().find(foreign).map_or(Ok(()), |one| {
        Err(Failure::refused(format!(
            "generation {to} of {} is of another shape ({}): let the build serve it that has begun it, release {}",
            model.name,
            one.shape.as_deref().unwrap_or_default(),
            one.release.unwrap_or_default()
        )))
    })
}

/// Lets the other generation of a pair serve, and stores the comparison that allowed it. Table of generations and SQL view change
/// in one transaction of Postgres; the alias of Elasticsearch follows, here or, after a crash, by any `millrace run` and `millrace
/// setup`. False when the two are not where they were level any more, unless there is no comparison; nothing is changed then.
///
/// # Errors
/// [`Failure::Refused`] when the generation does not exist, or readers keep the SQL view locked; nothing is changed then.
async fn swap(
    config: &Config,
    read: &Database,
    pair: &Pair<'_>,
    compared: Option<(&Comparison, Position)>,
) -> Result<bool, Failure> {
    let fail = |error| read.failure(error);
    let (model, to) = (pair.model, pair.building);
    let mut transaction = read.pool.begin().await.map_err(fail)?;
    // Later readers must not wait long behind a reader that holds its lock for long.
    session::set(&mut transaction, "SET LOCAL lock_timeout = '3s'").await.map_err(fail)?;
    if let Some((comparison, _)) = compared {
        replay::compared(&mut *transaction, (model.name, comparison.building), comparison)
            .await
            .map_err(fail)?;
    }
    let generations = Generations::of(read, model.name).await?;
    refuse_foreign(&generations, model, to)?;
    if !replay::swap(&mut transaction, model.name, to).await.map_err(fail)? {
        return Err(Failure::refused(format!("generation {to} of {} is not there to serve", model.name)));
    }
    let from = generations.serving()?;
    if let Some(table) = &model.table {
        if generations.are_of_one_shape(from, to) {
            let view = (model.name, table, to);
            sql_views::make(&mut transaction, &config.namespace, &[view]).await.map_err(fail)?;
        } else {
            sql_views::remake(&mut transaction, (config, read), (model, table), (from, to)).await?;
        }
    }
    let position = paused_again(pair, &mut transaction).await.map_err(fail)?;
    if compared.is_some_and(|(_, level)| from != pair.serving || position != Some(level)) {
        return transaction.rollback().await.map(|()| false).map_err(fail);
    }
    consumer_offset::resume(&mut *transaction, &pair.group, to, &pair.topics).await.map_err(fail)?;
    transaction.commit().await.map_err(fail)?;
    tracing::info!(
        view = model.name,
        generation = to,
        before = from,
        "serving; the generation before follows, at the same cost, until `millrace replay <view> --retire`"
    );
    match generations.0.iter().find(|one| one.generation == to) {
        Some(to) => indices::point_alias(config, model, to).await.map(|()| true),
        None => Ok(true),
    }
}

/// Where both are once the SQL views are locked, which may take longer than the pause; `None` when a batch holds the offsets. The pause
/// begins anew, and lasts until the alias has followed; workers wait for the offsets until the commit.
async fn paused_again(pair: &Pair<'_>, transaction: &mut PgConnection) -> sqlx::Result<Option<Position>> {
    // Readers wait for the SQL views meanwhile.
    session::set(transaction, "SET LOCAL lock_timeout = '1s'").await?;
    match pair.pause(transaction).await {
        Err(error) if Means::of(&error) == Means::InTheWay => Ok(None),
        Err(error) => Err(error),
        Ok(()) => pair.position(transaction).await.map(Some),
    }
}
