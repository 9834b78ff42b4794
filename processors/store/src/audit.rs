//! The table `audit`: what operators changed by hand, and why.

use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::statements::statements;

statements! {
    INSERT = "INSERT INTO audit (who, action, subject, why, details) VALUES ($1, $2, $3, $4, $5)";
}

/// An action, to be written in the transaction that does it.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    /// Who does it.
    pub who: &'a str,
    /// What is done.
    pub action: &'a str,
    /// To what.
    pub subject: &'a str,
    /// Why.
    pub why: &'a str,
    /// What else is worth knowing.
    pub details: &'a Value,
}

/// Writes an action down.
///
/// # Errors
/// The database's.
pub async fn insert(connection: &mut PgConnection, action: &Action<'_>) -> sqlx::Result<()> {
    let Action { who, action, subject, why, details } = action;
    let insert = sqlx::query(INSERT).bind(who).bind(action).bind(subject).bind(why).bind(Json(details));
    insert.execute(connection).await.map(|_| ())
}
