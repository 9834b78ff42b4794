//! Versioned migrations of both databases. Each side counts by itself, from 1 on, which is what an instance without a count
//! has or gets: its statements change nothing that is there.
//!
//! What is applied is written down by sqlx in `_sqlx_migrations`, in the namespace's own schema, with a hash of the
//! statements: one that was released never changes, whatever is wrong with it the next one mends.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{PgConnection, SqlSafeStr as _};

/// The migrations of a side, the oldest first: what each does, and its statements. Their places are their versions.
#[derive(Debug, Clone, Copy)]
pub struct Migrations(&'static [(&'static str, &'static str)]);

/// Those of the write side.
pub const WRITE: Migrations = Migrations(&[
    (
        "tables",
        concat!(include_str!("../migrations/0001_both.sql"), include_str!("../migrations/0001_write.sql")),
    ),
    DEPLOYED,
]);
/// Those of the read side, without the views' own tables, which each have their generation.
pub const READ: Migrations = Migrations(&[
    (
        "tables",
        concat!(include_str!("../migrations/0001_both.sql"), include_str!("../migrations/0001_read.sql")),
    ),
    ("shapes of generations", include_str!("../migrations/0002_read.sql")),
    DEPLOYED,
]);
const DEPLOYED: (&str, &str) = ("deployed releases", include_str!("../migrations/0003_both.sql"));

const IS_COUNTED: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
const APPLIED: &str = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";

/// The version of the tables in the schema of this session; 0 when there are none, or none that was counted.
///
/// # Errors
/// The database's.
pub async fn applied(connection: &mut PgConnection) -> sqlx::Result<i64> {
    match sqlx::query_scalar(IS_COUNTED).fetch_one(&mut *connection).await? {
        true => sqlx::query_scalar(APPLIED).fetch_one(connection).await,
        false => Ok(0),
    }
}

impl Migrations {
    /// Version and name of each.
    pub fn all(&self) -> impl Iterator<Item = (i64, &'static str)> + use<> {
        (1..).zip(self.0.iter().map(|(name, _)| *name))
    }

    /// The version that this build works on.
    pub fn newest(&self) -> i64 {
        self.all().last().map_or(0, |(version, _)| version)
    }

    /// Applies what is not applied yet, inside the transaction of `connection`. Nothing else may migrate the schema
    /// beside it: the lock that sqlx would take is one for all schemas of the database.
    ///
    /// # Errors
    /// The database's; when a migration that was applied is unknown, or was another.
    pub async fn apply(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let mut migrator = self.migrator();
        migrator.set_locking(false);
        migrator.run(connection).await.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
            other => other.into(),
        })
    }

    fn migrator(&self) -> Migrator {
        let migration = |(version, (name, statements)): (i64, &(&'static str, &'static str))| {
            let (name, statements) = (Cow::Borrowed(*name), (*statements).into_sql_str());
            Migration::new(version, name, MigrationType::Simple, statements, false)
        };
        Migrator::with_migrations((1..).zip(self.0).map(migration).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instance that has applied one finds its hash again, or refuses to go on.
    #[test]
    fn a_migration_that_was_released_stays_as_it_is() {
        let hashes = |migrations: Migrations| {
            let migrator = migrations.migrator();
            let hash = |one: &Migration| {
                one.checksum.iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
            };
            migrator.iter().map(hash).collect::<Vec<_>>()
        };
        assert_eq!(hashes(WRITE), [0x9ac9_006a, 0xe3de_e5d6]);
        assert_eq!(hashes(READ), [0xc556_bd9f, 0x16ed_12c7, 0xe3de_e5d6]);
    }
}
