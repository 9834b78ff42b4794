//! Grants for the readers' role, and for that as which Connect reads the outbox.

use millrace_domain::views::customer_360;
use sqlx::PgConnection;

use super::comments;
use super::steps::Did;
use crate::config::Config;
use crate::postgres::{execute, exists};

const FUNCTION_EXISTS: &str = "SELECT to_regprocedure($1) IS NOT NULL";
const ROLE_EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";

/// Grants the readers' role SELECT on the SQL views, and writes their comments.
pub(crate) async fn show_to_readers(connection: &mut PgConnection, config: &Config) -> sqlx::Result<()> {
    grant(connection, config).await?;
    comments::write(connection, config).await.map(|_| ())
}

/// Grants the readers' role SELECT on the SQL views, EXECUTE on their function, and nothing else.
pub(super) async fn grant(connection: &mut PgConnection, config: &Config) -> sqlx::Result<(Did, String)> {
    let role = &config.postgres.reader_role;
    if !exists(connection, ROLE_EXISTS, role).await? {
        return Ok((Did::Absent, format!("role {role}")));
    }
    let schema = config.namespace.database_schema();
    let views = "SELECT quote_ident(viewname) FROM pg_views WHERE schemaname = $1 ORDER BY 1";
    let views: Vec<String> = sqlx::query_scalar(views).bind(schema).fetch_all(&mut *connection).await?;
    let missing = "SELECT NOT has_schema_privilege($2, $1, 'USAGE') OR EXISTS (
        SELECT FROM pg_views WHERE schemaname = $1
        AND NOT has_table_privilege($2, format('%I.%I', schemaname, viewname), 'SELECT'))";
    let new: bool = sqlx::query_scalar(missing).bind(schema).bind(role).fetch_one(&mut *connection).await?;
    let role = role.replace('"', "\"\"");
    execute(connection, format!("GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\"")).await?;
    for view in views {
        execute(connection, format!("GRANT SELECT ON \"{schema}\".{view} TO \"{role}\"")).await?;
    }
    // It reads as its caller: a reader sees through it what a reader sees.
    let function = format!("\"{schema}\".{}(text)", customer_360::NAME);
    if exists(connection, FUNCTION_EXISTS, &function).await? {
        execute(connection, format!("GRANT EXECUTE ON FUNCTION {function} TO \"{role}\"")).await?;
    }
    Ok((Did::created_if(new), format!("grants to {role}")))
}

/// What Debezium needs beside `REPLICATION`: it reads the outbox and the heartbeat, and writes the heartbeat.
const OF_CONNECT: &str = "SELECT has_schema_privilege($2, $1, 'USAGE')
        AND has_table_privilege($2, format('%I.outbox', $1), 'SELECT')
        AND has_table_privilege($2, format('%I.heartbeat', $1), 'SELECT')
        AND has_table_privilege($2, format('%I.heartbeat', $1), 'UPDATE')";

/// Grants `connect.database_user` what the connector needs of the write side; `None` when Connect has no user of its own.
pub(super) async fn grant_to_connect(
    connection: &mut PgConnection,
    config: &Config,
) -> sqlx::Result<Option<(Did, String)>> {
    let Some(role) = &config.connect.database_user else { return Ok(None) };
    if !exists(connection, ROLE_EXISTS, role).await? {
        return Ok(Some((Did::Absent, format!("role {role}"))));
    }
    let schema = config.namespace.database_schema();
    let granted: bool =
        sqlx::query_scalar(OF_CONNECT).bind(schema).bind(role).fetch_one(&mut *connection).await?;
    if !granted {
        let role = role.replace('"', "\"\"");
        execute(connection, format!("GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\"")).await?;
        let tables = format!("\"{schema}\".outbox, \"{schema}\".heartbeat");
        execute(connection, format!("GRANT SELECT ON {tables} TO \"{role}\"")).await?;
        execute(connection, format!("GRANT UPDATE ON \"{schema}\".heartbeat TO \"{role}\"")).await?;
    }
    Ok(Some((Did::created_if(!granted), format!("grants to {role}"))))
}
