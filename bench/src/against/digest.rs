//! Order-independent checksums of rows, which must be equal in two runs.

use anyhow::Result;
use sqlx::AssertSqlSafe;

use super::Stage;
use crate::instance::Instance;
use crate::stack::database;

/// Ids of records on their way and times of deciding legitimately differ; a command's offset does not.
const OUTBOX: &str = "aggregatetype, aggregateid, type, payload, topic, version, traceparent, correlation_id,
    causation_id, command_id, occurred_at, specversion";
const STREAM: &str = "context, id, version, state_version, state::jsonb";
const COMMAND: &str =
    "id, source, fingerprint, type, context, stream, topic, partition, \"offset\", status, code,
    message, versions::jsonb";

/// Of the rows that a stage writes.
pub(super) async fn of(instance: &Instance, stage: Stage) -> Result<Vec<String>> {
    let (url, tables) = match stage {
        Stage::Commands => {
            let tables = vec![("outbox", OUTBOX), ("stream", STREAM), ("command", COMMAND)];
            (instance.stack.write_database_url(), tables)
        }
        Stage::Search | Stage::Consume => return Ok(Vec::new()),
        Stage::Customers => (instance.stack.read_database_url(), vec![("customers_g1", "row.*")]),
    };
    let mut connection = database(url).await?;
    let mut digests = Vec::new();
    for (table, columns) in tables {
        let sql = AssertSqlSafe(sql(&instance.name, table, columns));
        digests.push(sqlx::query_scalar(sql).fetch_one(&mut connection).await?);
    }
    Ok(digests)
}

fn sql(namespace: &str, table: &str, columns: &str) -> String {
    format!(
        "SELECT concat_ws(' ', '{table}', count(*), sum(hashtextextended(ROW({columns})::text, 0)::numeric))
         FROM \"{namespace}\".\"{table}\" AS row"
    )
}
