//! Tables and SQL views of read models.

use millrace_domain::views::customer_360;
use millrace_engine::views::ddl;
use millrace_store::{freshness, replay};
use sqlx::PgConnection;

use super::steps::Did;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{self, ReadModel};
use crate::postgres::{Database, execute};
use crate::replay::generations::{self, Generations};
use crate::replay::{shapes, sql_views};

/// The text of a function.
const FUNCTION: &str =
    "SELECT prosrc FROM pg_proc WHERE proname = $1 AND pronamespace = current_schema()::regnamespace";

/// Creates tables and SQL views of the serving generations. An SQL view that is up to date is not replaced, since its readers
/// would have to wait.
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
    done.push(freshness_view(connection, config).await.map_err(fail)?);
    if has_all(&models, customer_360::READ_MODELS) {
        done.push(whole_customer(connection, config).await.map_err(fail)?);
    }
    Ok(done)
}

fn has_all(models: &[ReadModel], names: &[&str]) -> bool {
    names.iter().all(|name| models.iter().any(|model| model.name == *name))
}

/// The function `customer_360` and the SQL views beside it. Like the SQL view of freshness they name no table of a generation.
async fn whole_customer(connection: &mut PgConnection, config: &Config) -> sqlx::Result<(Did, String)> {
    let schema = format!("\"{}\"", config.namespace.database_schema());
    let create = customer_360::create(&schema);
    let text = sqlx::query_scalar(FUNCTION).bind(customer_360::NAME).fetch_optional(&mut *connection).await?;
    let is_made = text == Some(customer_360::text(&schema))
        && sql_views::are_as(connection, &config.namespace, &create).await?;
    if !is_made {
        execute(connection, create).await?;
    }
    Ok((Did::created_if(!is_made), "function customer_360".to_owned()))
}

/// The SQL view that shows how far the others are. It names no table of a generation, so that no swap replaces it.
async fn freshness_view(connection: &mut PgConnection, config: &Config) -> sqlx::Result<(Did, String)> {
    let create = freshness::create(&config.namespace);
    let is_made = sql_views::are_as(connection, &config.namespace, &create).await?;
    if !is_made {
        execute(connection, create).await?;
    }
    Ok((Did::created_if(!is_made), "SQL view freshness".to_owned()))
}

/// The table of the serving generation, and its number if its SQL views must be created. A generation of another shape, or whose
/// table was altered, is left alone.
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

/// Whether a generation has this build's shape. If its shape is not known, its table decides.
async fn is_as_made(connection: &mut PgConnection, model: &ReadModel, generation: i32) -> sqlx::Result<bool> {
    if !shapes::lacking(&mut *connection, &[(model, generation)]).await?.is_empty() {
        return Ok(false);
    }
    replay::shaped(connection, (model.name, generation), &model.shape).await?;
    let known = replay::every(connection, model.name).await?;
    let ours = Some(&model.shape.fingerprint);
    Ok(known.iter().any(|one| one.generation == generation && one.shape.as_ref() == ours))
}
