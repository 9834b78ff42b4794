//! Creating and removing generations: their tables, retry topics, indices and groups.

use std::time::{Duration, Instant};

use millrace_engine::views::ddl;
use millrace_store::{blocked_key, consumer_offset, dead_letter, names, own_name, parked, progress, replay};
use rdkafka::types::RDKafkaErrorCode;
use sqlx::PgConnection;

use super::generations;
use super::shapes::{self, Due, RELEASE_ASKS};
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{self, Reader};
use crate::layout::ReadModel;
use crate::listener::Listener;
use crate::postgres::{Database, execute};

use crate::setup::{indices, topics, tries};

/// The members of a retired generation leave within this time, if their processes are running.
const LEFT_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A request for a rebuild.
pub struct Wish<'w> {
    /// `operator`, `reset` or `release`.
    pub asked_by: &'static str,
    /// The reason, for the table of generations.
    pub reason: &'w str,
    /// Swap even when the comparison finds differences.
    pub accept_differences: bool,
}

/// Begins the next generation of a view: creates all that it needs, then records it, so that every `millrace run` builds it. If a
/// generation is being built already, that one continues; an operator's request lets it be compared again.
///
/// # Errors
/// [`Failure`]; nothing is recorded then, and a second attempt finds what was created.
pub async fn begin(
    config: &Config,
    read: &Database,
    model: &ReadModel,
    wish: Wish<'_>,
) -> Result<i32, Failure> {
    let fail = |error| read.failure(error);
    // Excludes other setups and replays of this namespace.
    let mut transaction = tries::begin(config, read).await?;
    let live = generations::live(&mut *transaction).await.map_err(fail)?;
    let live = generations::Generations(live.into_iter().filter(|one| one.view == model.name).collect());
    live.serving()?;
    // Another process may have been faster, and its generation may already serve.
    if wish.asked_by == RELEASE_ASKS {
        match shapes::due_of(&mut transaction, model).await.map_err(fail)? {
            Due::Begins(None) => {}
            Due::Begins(Some(lower)) => {
                let why = format!("release {} builds another instead", model.shape.release);
                given_up(&mut transaction, (model.name, lower), &why).await.map_err(fail)?;
            }
            Due::Builds(building) => return Ok(building),
            _ => return live.serving(),
        }
    } else if let Some(building) = live.building() {
        if wish.asked_by == "operator" {
            let again = replay::compare_again(&mut *transaction, model.name, wish.accept_differences);
            again.await.map_err(fail)?;
            transaction.commit().await.map_err(fail)?;
        }
        return Ok(building.generation);
    }
    let Wish { asked_by, reason, accept_differences } = wish;
    let next = replay::next(&mut transaction, model.name).await.map_err(fail)?;
    // The rows of an interrupted fill have no documents.
    clear(config, &mut transaction, model, next).await.map_err(fail)?;
    create(config, read, &mut transaction, model, next).await?;
    let (place, shape) = ((model.name, next), &model.shape);
    let recorded = replay::insert(&mut transaction, place, asked_by, reason, accept_differences, shape);
    recorded.await.map_err(fail)?;
    transaction.commit().await.map_err(fail)?;
    tracing::info!(view = model.name, generation = next, asked_by, reason, "a rebuild begins");
    Ok(next)
}

/// Gives up a building generation; `millrace run` removes its table, index and groups.
///
/// # Errors
/// [`Failure::Unreachable`].
pub(super) async fn give_up(
    config: &Config,
    read: &Database,
    place: (&str, i32),
    why: &str,
) -> Result<(), Failure> {
    let fail = |error| read.failure(error);
    let mut transaction = tries::begin(config, read).await?;
    given_up(&mut transaction, place, why).await.map_err(fail)?;
    transaction.commit().await.map_err(fail)
}

async fn given_up(
    connection: &mut PgConnection,
    (view, generation): (&str, i32),
    why: &str,
) -> sqlx::Result<()> {
    if replay::give_up(connection, (view, generation), why).await? {
        tracing::warn!(view, generation, why, "the rebuild is given up");
    }
    Ok(())
}

/// Creates everything for the next generation of a view without recording it, so that no process works on it yet.
///
/// # Errors
/// As [`begin`].
pub(super) async fn prepare(config: &Config, read: &Database, model: &ReadModel) -> Result<i32, Failure> {
    let fail = |error| read.failure(error);
    let mut transaction = tries::begin(config, read).await?;
    let next = replay::next(&mut transaction, model.name).await.map_err(fail)?;
    create(config, read, &mut transaction, model, next).await?;
    transaction.commit().await.map_err(fail)?;
    Ok(next)
}

async fn create(
    config: &Config,
    read: &Database,
    connection: &mut PgConnection,
    model: &ReadModel,
    generation: i32,
) -> Result<(), Failure> {
    if let Some(table) = &model.table {
        let fail = |error| read.failure(error);
        let create = ddl(&table.table, &config.namespace, model.name, generation);
        execute(connection, create).await.map_err(fail)?;
        // Otherwise it would be built again and again.
        if let Some(lacks) = shapes::lacking(connection, &[(model, generation)]).await.map_err(fail)?.pop() {
            return Err(Failure::refused(format!("a new table is not as this build has made it: {lacks}")));
        }
    }
    topics::ensure(config, &model.retry_topics(config, generation)).await?;
    indices::ensure(config, model, generation).await
}

/// Retires every generation of a view that does not serve, and removes their tables, indices, topics and groups. Returns their
/// numbers.
///
/// # Errors
/// [`Failure::Refused`] when their members do not leave in time; run it again to continue.
pub async fn retire(
    config: &Config,
    read: &Database,
    model: &ReadModel,
    listener: &dyn Listener,
) -> Result<Vec<i32>, Failure> {
    let fail = |error| read.failure(error);
    let mut transaction = tries::begin(config, read).await?;
    let retired = replay::retire(&mut transaction, model.name).await.map_err(fail)?;
    transaction.commit().await.map_err(fail)?;
    for generation in &retired {
        listener
            .say(&format!("generation {generation} of {}: waiting until no process works on it", model.name));
        remove(config, read, model, *generation).await?;
    }
    Ok(retired)
}

/// Removes tables, indices, topics and groups of retired generations of these views.
///
/// # Errors
/// As [`retire`].
pub async fn remove_retired(
    config: &Config,
    read: &Database,
    models: &[ReadModel],
    retired: &[(String, i32)],
) -> Result<(), Failure> {
    for (view, generation) in retired {
        if let Some(model) = models.iter().find(|model| model.name == view) {
            remove(config, read, model, *generation).await?;
            tracing::info!(view, generation, "what was left of a retired generation is removed");
        }
    }
    Ok(())
}

async fn remove(config: &Config, read: &Database, model: &ReadModel, generation: i32) -> Result<(), Failure> {
    // Kafka deletes a group only once its last member has left.
    remove_group(config, &config.namespace.generation_group(model.name, generation)).await?;
    indices::remove(config, model, generation).await?;
    remove_retry_topics(config, &own_name(&config.namespace.group(model.name), generation)).await?;
    let removed = remove_rows(config, read, model, generation).await;
    removed.map_err(|error| read.failure(error))
}

/// All existing ones: a generation of another build may have read other topics.
async fn remove_retry_topics(config: &Config, name: &str) -> Result<(), Failure> {
    let there = tokio::task::block_in_place(|| Reader::new(&config.kafka)?.topics())?;
    let part = format!(".{name}.retry.");
    let names: Vec<&str> = there.keys().map(String::as_str).filter(|topic| topic.contains(&part)).collect();
    topics::remove(config, &names).await
}

async fn remove_group(config: &Config, group: &str) -> Result<(), Failure> {
    let until = Instant::now() + LEFT_WITHIN;
    loop {
        let answers = kafka::admin(&config.kafka)?.delete_groups(&[group], &kafka::admin_options()).await;
        let answers = answers.map_err(|error| kafka::failure(&config.kafka, &error))?;
        match answers.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound))) => return Ok(()),
            Some(Err((_, RDKafkaErrorCode::NonEmptyGroup))) if Instant::now() < until => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Some(Err((_, code))) => {
                return Err(Failure::refused(format!("the group `{group}` cannot be deleted: {code}")));
            }
        }
    }
}

async fn clear(
    config: &Config,
    connection: &mut PgConnection,
    model: &ReadModel,
    generation: i32,
) -> sqlx::Result<()> {
    let table = names::table(model.name, generation);
    let drop = format!("SET LOCAL client_min_messages = warning; DROP TABLE IF EXISTS \"{table}\"");
    execute(connection, drop).await?;
    let group = config.namespace.group(model.name);
    consumer_offset::remove(connection, &group, generation).await?;
    progress::remove(connection, &group, generation).await?;
    blocked_key::remove(connection, &group, generation).await?;
    parked::remove(connection, &group, generation).await
}

async fn remove_rows(
    config: &Config,
    read: &Database,
    model: &ReadModel,
    generation: i32,
) -> sqlx::Result<()> {
    let mut transaction = read.pool.begin().await?;
    clear(config, &mut transaction, model, generation).await?;
    // The dead letters of a retired generation are no longer needed.
    dead_letter::discard_all(&mut transaction, &config.namespace.group(model.name), generation).await?;
    replay::removed(&mut transaction, model.name, generation).await?;
    transaction.commit().await
}
