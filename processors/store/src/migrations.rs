//! Versioned migrations of both databases. Each side has its own versions, from 1. An instance without a recorded version gets
//! all of them: the statements of the first one do not change existing tables.
//!
//! sqlx records applied migrations in `_sqlx_migrations`, in the namespace's schema, with a hash of the statements: a released
//! migration never changes; a further one corrects it.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{PgConnection, SqlSafeStr as _};

/// The migrations of a side, the oldest first. Their positions, from 1, are their versions.
#[derive(Debug, Clone, Copy)]
pub struct Migrations(&'static [Step]);

/// One migration.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// What it does.
    name: &'static str,
    statements: &'static str,
    /// The release of the migration, if earlier releases cannot work on the tables afterwards: no process of the instance may be
    /// connected.
    exclusive: Option<i32>,
}

impl Step {
    /// A migration beside which earlier builds can go on working.
    const fn new(name: &'static str, statements: &'static str) -> Self {
        Self { name, statements, exclusive: None }
    }

    /// A migration of a release that renames or removes something that earlier releases use.
    const fn exclusive(release: i32, name: &'static str, statements: &'static str) -> Self {
        Self { name, statements, exclusive: Some(release) }
    }
}

/// Those of the write side.
pub const WRITE: Migrations = Migrations(&[
    Step::new(
        "tables",
        concat!(include_str!("../migrations/0001_both.sql"), include_str!("../migrations/0001_write.sql")),
    ),
    Step::exclusive(1, "pause points, inputs of sagas", include_str!("../migrations/0002_write.sql")),
    DEPLOYED,
    SUPPORTED,
    Step::new(
        "retention",
        concat!(include_str!("../migrations/0006_both.sql"), include_str!("../migrations/0006_write.sql")),
    ),
    Step::new(
        "what is verified, when rows were written",
        concat!(include_str!("../migrations/0007_both.sql"), include_str!("../migrations/0007_write.sql")),
    ),
    GROWTH,
    Step::new("calls that are superfluous", include_str!("../migrations/0009_write.sql")),
    Step::new("versions of requests", include_str!("../migrations/0010_write.sql")),
    Step::new("notifications", include_str!("../migrations/0012_write.sql")),
    Step::new("states that are folded ahead", include_str!("../migrations/0013_write.sql")),
    Step::new("lives of commands", include_str!("../migrations/0014_write.sql")),
]);
/// Those of the read side. The tables of views are not among them: each belongs to a generation.
pub const READ: Migrations = Migrations(&[
    Step::new(
        "tables",
        concat!(include_str!("../migrations/0001_both.sql"), include_str!("../migrations/0001_read.sql")),
    ),
    Step::new("shapes of generations", include_str!("../migrations/0002_read.sql")),
    Step::exclusive(1, "pause points", include_str!("../migrations/0003_read.sql")),
    DEPLOYED,
    SUPPORTED,
    Step::new("retention", include_str!("../migrations/0006_both.sql")),
    Step::new("what is verified", include_str!("../migrations/0007_both.sql")),
    GROWTH,
    Step::new("when events were applied", include_str!("../migrations/0011_read.sql")),
]);
const SUPPORTED: Step = Step::new("supported releases", include_str!("../migrations/0005_both.sql"));
const DEPLOYED: Step = Step::new("deployed releases", include_str!("../migrations/0004_both.sql"));
const GROWTH: Step = Step::new("partitions of larger topics", include_str!("../migrations/0008_both.sql"));

const IS_COUNTED: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
const APPLIED: &str = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";
/// Counts sessions of the instance by their `application_name` (see [`database`](crate::database)). A schema without tables has
/// no process to stop.
const OTHER_SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity
     WHERE to_regclass('consumer_offset') IS NOT NULL AND datname = current_database() AND pid <> pg_backend_pid()
       AND application_name = current_setting('application_name')";

/// The version of the tables in this session's schema; 0 without tables, or without a recorded version.
///
/// # Errors
/// Database errors.
pub async fn applied(connection: &mut PgConnection) -> sqlx::Result<i64> {
    match sqlx::query_scalar(IS_COUNTED).fetch_one(&mut *connection).await? {
        true => sqlx::query_scalar(APPLIED).fetch_one(connection).await,
        false => Ok(0),
    }
}

impl Migrations {
    /// Version and name of each.
    pub fn all(&self) -> impl Iterator<Item = (i64, &'static str)> + use<> {
        (1..).zip(self.0.iter().map(|step| step.name))
    }

    /// The version of this build.
    pub fn newest(&self) -> i64 {
        self.all().last().map_or(0, |(version, _)| version)
    }

    /// The lowest release that can work on these tables beside `release`: the one before it, unless a later migration excludes
    /// it.
    pub fn oldest(&self, release: i32) -> i32 {
        self.0.iter().filter_map(|step| step.exclusive).fold(release - 1, i32::max)
    }

    /// The number of other sessions of the instance, if a migration is due that allows none; 0 if no such migration is due.
    ///
    /// # Errors
    /// Database errors.
    pub async fn sessions_in_the_way(&self, connection: &mut PgConnection) -> sqlx::Result<i64> {
        let applied = applied(connection).await?;
        let mut due = (1..).zip(self.0).filter(|(version, _)| *version > applied);
        match due.any(|(_, step)| step.exclusive.is_some()) {
            true => sqlx::query_scalar(OTHER_SESSIONS).fetch_one(connection).await,
            false => Ok(0),
        }
    }

    /// Version and name of the next migration that is due.
    ///
    /// # Errors
    /// Database errors.
    pub async fn due(&self, connection: &mut PgConnection) -> sqlx::Result<Option<(i64, &'static str)>> {
        let applied = applied(connection).await?;
        Ok(self.all().find(|(version, _)| *version > applied))
    }

    /// Applies the migrations that are due, as [`apply_to`](Self::apply_to).
    ///
    /// # Errors
    /// As of [`apply_to`](Self::apply_to).
    pub async fn apply(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        self.apply_to(self.newest(), connection).await
    }

    /// Applies the migrations up to a version that are due, inside the transaction of `connection`. The caller must ensure that
    /// nothing else migrates the schema: sqlx's own lock would be one for all schemas of the database.
    ///
    /// # Errors
    /// Database errors; an error when an applied migration has another hash. Migrations of later releases are ignored: whether
    /// this build may work on them is checked before.
    pub async fn apply_to(&self, version: i64, connection: &mut PgConnection) -> sqlx::Result<()> {
        let mut migrator = self.migrator();
        migrator.set_locking(false).set_ignore_missing(true);
        migrator.run_to(version, connection).await.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
            other => other.into(),
        })
    }

    fn migrator(&self) -> Migrator {
        let migration = |(version, Step { name, statements, .. }): (i64, &Step)| {
            let (name, statements) = (Cow::Borrowed(*name), (*statements).into_sql_str());
            Migration::new(version, name, MigrationType::Simple, statements, false)
        };
        Migrator::with_migrations((1..).zip(self.0).map(migration).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instance that has applied a migration checks its hash, and refuses another one.
    #[test]
    fn a_migration_that_was_released_stays_as_it_is() {
        let hashes = |migrations: Migrations| {
            let migrator = migrations.migrator();
            let hash = |one: &Migration| {
                one.checksum.iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
            };
            migrator.iter().map(hash).collect::<Vec<_>>()
        };
        assert_eq!([WRITE.oldest(1), WRITE.oldest(2), READ.oldest(7)], [1, 1, 6]);
        let write = [
            0x9ac9_006a,
            0x7684_3f43,
            0xe3de_e5d6,
            0xb805_2342,
            0xf5ce_a133,
            0xc52c_ef2d,
            0x2811_2a10,
            0x89a0_16db,
            0x9fe7_6e23,
            0x1fac_b758,
            0x26ce_9f23,
            0xb844_56dd,
        ];
        let read = [
            0xc556_bd9f,
            0x16ed_12c7,
            0x6d39_c467,
            0xe3de_e5d6,
            0xb805_2342,
            0x3334_b627,
            0xace2_8caa,
            0x2811_2a10,
            0x643d_fe0c,
        ];
        assert_eq!((hashes(WRITE).as_slice(), hashes(READ).as_slice()), (&write[..], &read[..]));
    }
}
