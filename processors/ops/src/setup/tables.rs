//! The engine's tables: their migrations, and the release that has set them up.

use millrace_engine::release::release;
use millrace_store::deployed::{self, Support};
use millrace_store::migrations;
use sqlx::PgConnection;

use super::steps::Did;
use super::tries::{Tries, short_waits};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::postgres::{Database, execute, exists};

const SCHEMA_EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";

/// A side before this setup.
pub(super) struct Before {
    pub(super) has_schema: bool,
    version: i64,
    tables: Vec<String>,
    release: Option<i32>,
    support: Support,
}

impl Before {
    pub(super) async fn of(config: &Config, database: &Database) -> sqlx::Result<Self> {
        let connection = &mut *database.pool.acquire().await?;
        let schema = config.namespace.database_schema();
        Ok(Self {
            has_schema: exists(connection, SCHEMA_EXISTS, schema).await?,
            version: migrations::applied(connection).await?,
            tables: names(connection).await?,
            release: deployed::release(connection).await?,
            support: support(connection).await?,
        })
    }
}

async fn support(connection: &mut PgConnection) -> sqlx::Result<Support> {
    match deployed::says_support(connection).await? {
        true => deployed::support(connection).await,
        false => Ok(Support::default()),
    }
}

/// Applies the migrations that are due, each in a transaction of its own: a table that it alters is locked for a moment.
pub(super) async fn migrate(tries: &mut Tries<'_>, downgrade: bool) -> Result<(), Failure> {
    loop {
        match migrate_once(tries, downgrade).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(failure) => tries.again(failure).await?,
        }
    }
}

/// Applies the next migration, if one is due.
async fn migrate_once(tries: &mut Tries<'_>, downgrade: bool) -> Result<bool, Failure> {
    let database = tries.database;
    let fail = |error| database.failure(error);
    let (mut transaction, waiting) = tries.begin().await?;
    create_schema(&mut transaction, tries.config).await.map_err(fail)?;
    // A setup of a later release may have run meanwhile.
    refuse_later_release(deployed::release(&mut transaction).await.map_err(fail)?, downgrade)?;
    let due = database.side.migrations().due(&mut transaction).await.map_err(fail)?;
    let Some((version, name)) = due else { return Ok(false) };
    let applied = async { apply(&mut transaction, database.side, version).await.map_err(fail) };
    tries.until(&format!("migration {version} ({name})"), waiting, applied).await?;
    transaction.commit().await.map_err(fail)?;
    Ok(true)
}

/// With each migration it is written down which releases may work on the tables: the next one may have to wait. In a new
/// instance none works yet.
async fn apply(connection: &mut PgConnection, side: Side, version: i64) -> sqlx::Result<()> {
    let migrations = side.migrations();
    migrations.apply_to(version, connection).await?;
    short_waits(connection).await?;
    if deployed::release(connection).await?.is_none() || !deployed::says_support(connection).await? {
        return Ok(());
    }
    let support = Support { tables: version, oldest: migrations.oldest(release()) };
    deployed::insert(connection, release(), support).await
}

pub(super) async fn create_schema(connection: &mut PgConnection, config: &Config) -> sqlx::Result<()> {
    let schema = config.namespace.database_schema();
    execute(connection, format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\"")).await
}

/// What setup has done to the tables, or would do: a dry run applies all migrations in its transaction.
pub(super) async fn tables(
    connection: &mut PgConnection,
    side: Side,
    before: &Before,
) -> sqlx::Result<Vec<(Did, String)>> {
    let migrations = side.migrations();
    while let Some((version, _)) = migrations.due(connection).await? {
        migrations.apply_to(version, connection).await?;
        short_waits(connection).await?;
    }
    let version = |(version, name)| {
        (Did::created_if(version > before.version), format!("migration {version} ({name})"))
    };
    let table = |name| (Did::created_if(!before.tables.contains(&name)), format!("table {name}"));
    let tables = names(connection).await?.into_iter().map(table);
    Ok(migrations.all().map(version).chain(tables).collect())
}

async fn names(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    let sql = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1";
    sqlx::query_scalar(sql).fetch_all(connection).await
}

/// Records that this build's release has set the side up, and which releases may work on its tables.
pub(super) async fn deploy(
    connection: &mut PgConnection,
    side: Side,
    before: &Before,
) -> sqlx::Result<(Did, String)> {
    let (ours, newest) = (release(), side.migrations().newest());
    let is_ours = |release, support: Support| release == Some(ours) && support.tables >= newest;
    if !is_ours(deployed::release(connection).await?, deployed::support(connection).await?) {
        let support = Support { tables: newest, oldest: side.migrations().oldest(ours) };
        deployed::insert(connection, ours, support).await?;
    }
    let did = match before.release {
        None => Did::Created,
        same if is_ours(same, before.support) => Did::Nothing,
        Some(_) => Did::Updated,
    };
    Ok((did, format!("release {ours}")))
}

pub(super) fn refuse_later_release(deployed: Option<i32>, downgrade: bool) -> Result<(), Failure> {
    match deployed {
        Some(deployed) if deployed > release() && !downgrade => Err(Failure::refused(format!(
            "release {deployed} is deployed, and this build is of release {ours}: it would set SQL views, index templates, \
             topics and the connector back to what it knows. Nothing is changed: run `millrace setup` of release {deployed}; or, \
             to go back for good, `millrace setup --downgrade` of this one",
            ours = release()
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_release_changes_nothing_unasked() {
        for deployed in [None, Some(release() - 1), Some(release())] {
            assert!(refuse_later_release(deployed, false).is_ok(), "{deployed:?}");
        }
        let later = Some(release() + 1);
        let refused = refuse_later_release(later, false).unwrap_err().to_string();
        assert!(refused.contains("`millrace setup --downgrade`"), "{refused}");
        assert!(refuse_later_release(later, true).is_ok());
    }
}
