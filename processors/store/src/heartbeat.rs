//! The table `heartbeat`: Debezium writes there now and then, so that an idle slot lets go of old WAL.

use sqlx::PgConnection;

use crate::statements::statements;

statements! {
    INSERT = "INSERT INTO heartbeat (id, beat_at) VALUES (1, now()) ON CONFLICT DO NOTHING";
}

/// Writes the row that Debezium updates, when there is none.
///
/// # Errors
/// The database's.
pub async fn insert(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(INSERT).execute(connection).await.map(|_| ())
}
