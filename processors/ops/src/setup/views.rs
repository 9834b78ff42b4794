//! The tables and SQL views of views.

use millrace_engine::views::ddl;
use millrace_store::replay;
use sqlx::PgConnection;

use super::steps::Did;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{self, ReadModel};
use crate::postgres::{Database, execute};
use crate::replay::generations::{self, Generations};
use crate::replay::{shapes, sql_views};

/// Tables and SQL views of the generations that serve: the first ones, unless there was a replay. An SQL view that is as it should be is
/// not made again: its readers would wait.
pub(super) async fn create(
    connection: &mut PgConnection,
    config: &Config,
    read: &Database,
) -> Result<Vec<(Did, String)>, Failure> {
    let fail = |error| read.failure(error);
    let (models, mut done, mut to_make) = (layout::read_models(config), Vec::new(), Vec::new());
    for model in &models {
        let (did, serving) = model_table(connection, config, read, model).await?;
        done.extend(did);
        to_make
            .extend(serving.zip(model.table.as_ref()).map(|(serving, table)| (model.name, table, serving)));
    }
    sql_views::make(connection, &config.namespace, &to_make).await.map_err(fail)?;
    Ok(done)
}

/// The table of the generation that serves, and which one that is when its SQL views are to be made. One of another shape, or whose
/// table is not as it was made, is left alone: this build does not know what readers need of it.
async fn model_table(
    connection: &mut PgConnection,
    config: &Config,
    read: &Database,
    model: &ReadModel,
) -> Result<(Option<(Did, String)>, Option<i32>), Failure> {
    let (fail, name) = (|error| read.failure(error), model.name);
    let new = replay::first(connection, name, &model.shape).await.map_err(fail)?;
    let live = generations::live(&mut *connection).await.map_err(fail)?;
    let serving = Generations(live.into_iter().filter(|one| one.view == name).collect()).serving()?;
    if !new && !is_as_made(connection, model, serving).await.map_err(fail)? {
        return Ok((Some((Did::Nothing, format!("view {name}, of another shape"))), None));
    }
    let Some(table) = &model.table else { return Ok((None, None)) };
    let create = ddl(&table.table, &config.namespace, name, serving);
    execute(connection, create).await.map_err(fail)?;
    let views = (name, table);
    let is_made =
        !new && sql_views::are_as_made(connection, &config.namespace, views, serving).await.map_err(fail)?;
    let did = if is_made || new { Did::created_if(new) } else { Did::Updated };
    Ok((Some((did, format!("view {name}"))), (!is_made).then_some(serving)))
}

/// Whether a generation is of this build's shape. One of which it is not known is, when its table is.
async fn is_as_made(connection: &mut PgConnection, model: &ReadModel, generation: i32) -> sqlx::Result<bool> {
    if !shapes::lacking(&mut *connection, &[(model, generation)]).await?.is_empty() {
        return Ok(false);
    }
    replay::shaped(connection, (model.name, generation), &model.shape).await?;
    let known = replay::every(connection, model.name).await?;
    let ours = Some(&model.shape.fingerprint);
    Ok(known.iter().any(|one| one.generation == generation && one.shape.as_ref() == ours))
}
