//! Removes everything that has the namespace as prefix. Schemas in the registry stay: all instances share them.

use std::time::{Duration, Instant};

use elasticsearch::indices::{IndicesDeleteIndexTemplateParts, IndicesDeleteParts, IndicesGetAliasParts};
use millrace_store::names::Namespace;
use millrace_store::replay;
use rdkafka::types::RDKafkaErrorCode;
use reqwest::Method;
use sqlx::AssertSqlSafe;

use super::connector::stop_and_forget;
use super::steps::{Did, Report, Step, Steps};
use super::topics::remove;
use crate::config::Config;
use crate::elastic::Client;
use crate::failure::Failure;
use crate::http::Http;
use crate::kafka::{self, Reader};
use crate::layout::{self, Side};
use crate::observed::documents::OPERATIONS;
use crate::postgres::Database;

/// The timeout for the walsender to release the slot after its connector was removed.
const SLOT_FREE_WITHIN: Duration = Duration::from_secs(30);

/// Removes what the namespace owns: connector, slot, publication, tables, topics, groups, indices.
///
/// # Errors
/// That of the first step that fails. Run it again to continue.
pub async fn teardown(config: &Config, report: Report<'_>) -> Result<Vec<Step>, Failure> {
    let mut steps = Steps::new(report, false);
    // First, because Kafka refuses it while the group has members.
    remove_groups(config, &mut steps).await?;
    remove_connector(config, &mut steps).await?;
    let write = Database::of(config, Side::Write)?;
    remove_slot(config, &write, &mut steps).await?;
    remove_publication(config, &write, &mut steps).await?;
    for database in [write, Database::of(config, Side::Read)?] {
        remove_schema(config, &database, &mut steps).await?;
    }
    remove_topics(config, &mut steps).await?;
    remove_indices(config, &mut steps).await?;
    Ok(steps.done)
}

/// Removes the connector and its source offsets: a later connector of the same name must not continue from them.
async fn remove_connector(config: &Config, steps: &mut Steps<'_>) -> Result<(), Failure> {
    let connect = Http::connect(&config.connect)?;
    let name = config.namespace.outbox();
    let there = connect.find(&["connectors", &name]).await?.is_some();
    if there {
        stop_and_forget(&connect, &name).await?;
        let path = ["connectors", &name];
        connect.send(Method::DELETE, &path, None).await?.success()?;
    }
    steps.report(Did::removed_if(there), "connector", &name)
}

async fn remove_slot(config: &Config, write: &Database, steps: &mut Steps<'_>) -> Result<(), Failure> {
    let name = config.namespace.outbox();
    let until = Instant::now() + SLOT_FREE_WITHIN;
    let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
    loop {
        let dropped = sqlx::query(drop).bind(&name).fetch_all(&write.pool).await;
        match dropped {
            Ok(rows) => return steps.report(Did::removed_if(!rows.is_empty()), "replication slot", &name),
            Err(error) if in_use(&error) && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Err(error) => return Err(write.failure(error)),
        }
    }
}

/// SQLSTATE 55006: object in use.
fn in_use(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("55006"))
}

async fn remove_publication(config: &Config, write: &Database, steps: &mut Steps<'_>) -> Result<(), Failure> {
    let name = config.namespace.outbox();
    let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)")
        .bind(&name)
        .fetch_one(&write.pool)
        .await
        .map_err(|error| write.failure(error))?;
    execute(write, format!("DROP PUBLICATION IF EXISTS \"{name}\"")).await?;
    steps.report(Did::removed_if(there), "publication", &name)
}

async fn remove_schema(config: &Config, database: &Database, steps: &mut Steps<'_>) -> Result<(), Failure> {
    let name = config.namespace.database_schema();
    let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
        .bind(name)
        .fetch_one(&database.pool)
        .await
        .map_err(|error| database.failure(error))?;
    execute(database, format!("DROP SCHEMA IF EXISTS \"{name}\" CASCADE")).await?;
    let side = super::databases::side_name(database.side);
    steps.report(Did::removed_if(there), side, "schema")
}

async fn execute(database: &Database, sql: String) -> Result<(), Failure> {
    let mut connection = database.pool.acquire().await.map_err(|error| database.failure(error))?;
    let sql = format!("SET client_min_messages = warning; {sql}");
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
    done.map(|_| ()).map_err(|error| database.failure(error))
}

async fn remove_topics(config: &Config, steps: &mut Steps<'_>) -> Result<(), Failure> {
    let there = tokio::task::block_in_place(|| Reader::new(&config.kafka)?.topics())?;
    let ours: Vec<&str> =
        there.keys().map(String::as_str).filter(|name| belongs(name, &config.namespace)).collect();
    remove(config, &ours).await?;
    ours.into_iter().try_for_each(|name| steps.report(Did::Removed, "topic", name))
}

/// Whether a topic or group belongs to the namespace, which cannot contain dots.
fn belongs(name: &str, namespace: &Namespace) -> bool {
    name.split_once('.').is_some_and(|(prefix, _)| prefix == namespace.to_string())
}

async fn remove_groups(config: &Config, steps: &mut Steps<'_>) -> Result<(), Failure> {
    let mut groups: Vec<String> = layout::groups(config).into_iter().map(|group| group.id).collect();
    groups.extend(generation_groups(config).await?);
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    let answers = kafka::admin(&config.kafka)?.delete_groups(&names, &kafka::admin_options()).await;
    for answer in answers.map_err(|error| kafka::failure(&config.kafka, &error))? {
        match answer {
            Ok(name) => steps.report(Did::Removed, "group", &name)?,
            Err((name, RDKafkaErrorCode::GroupIdNotFound)) => steps.report(Did::Absent, "group", &name)?,
            Err((name, code)) => {
                return Err(Failure::refused(format!(
                    "the group `{name}` cannot be deleted (stop `millrace run` first): {code}"
                )));
            }
        }
    }
    Ok(())
}

/// The groups of all generations that do not serve, retired ones included; none before setup.
async fn generation_groups(config: &Config) -> Result<Vec<String>, Failure> {
    let read = Database::of(config, Side::Read)?;
    let fail = |error| read.failure(error);
    let there = replay::is_there(&read.pool).await.map_err(fail)?;
    if !there {
        return Ok(Vec::new());
    }
    let rows = replay::of_replayed(&read.pool).await.map_err(fail)?;
    let group = |(view, generation): &(String, i32)| config.namespace.generation_group(view, *generation);
    Ok(rows.iter().map(group).collect())
}

async fn remove_indices(config: &Config, steps: &mut Steps<'_>) -> Result<(), Failure> {
    let elastic = Client::new(&config.elasticsearch)?;
    let published = layout::read_models(config).into_iter().filter(|model| model.mapping.is_some());
    for name in published.map(|model| model.name).chain([OPERATIONS]) {
        let alias = config.namespace.index_alias(name);
        let alias = alias.as_str();
        let pattern = format!("{alias}-g*");
        let pattern = [pattern.as_str()];
        let found = elastic.send(|client| async move {
            client.indices().get_alias(IndicesGetAliasParts::Index(&pattern)).send().await
        });
        let found = found.await?.found()?.unwrap_or_default();
        for index in found.as_object().into_iter().flat_map(|found| found.keys()) {
            let deleted = elastic.send(|client| async move {
                client.indices().delete(IndicesDeleteParts::Index(&[index])).send().await
            });
            deleted.await?.success()?;
            steps.report(Did::Removed, "index", index)?;
        }
        let deleted = elastic.send(|client| async move {
            client.indices().delete_index_template(IndicesDeleteIndexTemplateParts::Name(alias)).send().await
        });
        let gone = deleted.await?.found()?.is_some();
        steps.report(Did::removed_if(gone), "index template", alias)?;
    }
    Ok(())
}
