//! Connections to the databases of the stack.

use anyhow::{Context as _, Result};
use millrace_testkit::Stack;
use sqlx::{Connection as _, PgConnection};

/// Connections to each component that are kept for the next request.
const IDLE_CONNECTIONS: usize = 8;

/// The stack that is measured on.
pub(crate) fn find() -> Result<Stack> {
    Stack::find(IDLE_CONNECTIONS)
}

/// A connection to a database.
pub(crate) async fn database(url: &str) -> Result<PgConnection> {
    PgConnection::connect(url).await.context("the database does not answer")
}

/// A connection for the measurement's own looks, and its process in Postgres, whose CPU time does not count.
pub(crate) async fn observer(url: &str) -> Result<(PgConnection, u32)> {
    let mut connection = database(url).await?;
    let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
    Ok((connection, u32::try_from(backend)?))
}
