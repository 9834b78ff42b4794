//! The table `heartbeat`: Debezium updates it at intervals, so that an idle slot releases old WAL.

use sqlx::PgConnection;

use crate::statements::statements;

statements! {
    INSERT = "INSERT INTO heartbeat (id, beat_at) VALUES (1, now()) ON CONFLICT DO NOTHING";
}

/// Inserts the row that Debezium updates, if it does not exist.
///
/// # Errors
/// Database errors.
pub async fn insert(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(INSERT).execute(connection).await.map(|_| ())
}
