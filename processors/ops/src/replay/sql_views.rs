//! Creating the SQL views of a view. When its shape changes they are dropped first, since `CREATE OR REPLACE VIEW` cannot drop,
//! rename or retype a column.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_engine::views::ddl;
use millrace_store::Means;
use millrace_store::names::{self, Namespace};
use sqlx::{Connection as _, PgConnection};

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{ReadModel, Table};
use crate::postgres::{Database, execute};
use crate::setup::grants;

/// All SQL views that depend on a table or an SQL view, directly or indirectly, the most dependent first: the order in which
/// readers lock them.
const STANDING_ON: &str = "
    WITH RECURSIVE standing AS (
        SELECT c.oid, 0 AS depth FROM pg_class AS c
        WHERE c.oid IN (to_regclass(quote_ident($1)), to_regclass(quote_ident($2)))
        UNION
        SELECT r.ev_class, standing.depth + 1 FROM standing
        JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = standing.oid
            AND d.classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite AS r ON r.oid = d.objid AND r.ev_class <> standing.oid
    )
    SELECT c.oid::regclass::text, c.relname::text, n.nspname = current_schema() AND c.relkind = 'v',
           pg_get_viewdef(c.oid), given.columns, given.grants
    FROM (SELECT oid, max(depth) AS depth FROM standing GROUP BY oid) AS furthest
    JOIN pg_class AS c USING (oid) JOIN pg_namespace AS n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(coalesce(granted.attname, '')), '{}') AS columns, coalesce(array_agg(
                   format('GRANT %s%s ON %I.%I TO %s%s', one.privilege_type, ' (' || quote_ident(granted.attname) || ')',
                          n.nspname, c.relname,
                          CASE one.grantee WHEN 0 THEN 'PUBLIC' ELSE one.grantee::regrole::text END,
                          CASE WHEN one.is_grantable THEN ' WITH GRANT OPTION' END)), '{}') AS grants
        FROM (SELECT NULL::text AS attname, c.relacl AS acl
              UNION ALL SELECT attname::text, attacl FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL) AS granted
        CROSS JOIN LATERAL aclexplode(granted.acl) AS one WHERE one.grantee <> c.relowner
    ) AS given
    WHERE c.relkind IN ('v', 'm') ORDER BY furthest.depth DESC, 1";
/// Definitions without the name of the current schema, so that those of two schemas can be compared.
const DEFINITIONS: &str = "SELECT viewname::text, definition FROM pg_views WHERE schemaname = current_schema() AND viewname = ANY($1)";
const NAMES: &str = "SELECT viewname::text FROM pg_views WHERE schemaname = current_schema()";
/// A schema in which SQL views are created to compare their definitions; never committed.
const SCRATCH: &str = "\"millrace scratch\"";
const COLUMNS: &str = "SELECT attname::text FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident($1)) AND attnum > 0 AND NOT attisdropped";
const IS_THERE: &str = "SELECT to_regclass(quote_ident($1)) IS NOT NULL";

/// Attempts before the swap is put off, or `setup` fails.
const TRIES: usize = 20;
/// The lock timeout of an attempt: much shorter than `deadlock_timeout`.
const GIVES_WAY_AFTER: &str = "150ms";
/// The pause between attempts, in which waiting readers proceed.
const GIVE_WAY: Duration = Duration::from_millis(50);

/// An existing SQL view.
struct Was {
    /// Its name, with the schema unless that is the instance's.
    full_name: String,
    name: String,
    ours: bool,
    definition: String,
    /// Each with its column; an empty name for the whole view.
    grants: Vec<(String, String)>,
}

/// A row of [`STANDING_ON`]; the arrays of columns and grants are parallel.
type Row = (String, String, bool, String, Vec<String>, Vec<String>);

/// Replaces the SQL views of a view by those over a generation of another shape, and recreates dependent views and grants.
///
/// # Errors
/// [`Failure::Refused`] when a view of another schema depends on them, or a dependent view reads a removed column.
pub(super) async fn remake(
    connection: &mut PgConnection,
    (config, read): (&Config, &Database),
    (model, table): (&ReadModel, &Table),
    (from, to): (i32, i32),
) -> Result<(), Failure> {
    let fail = |error| read.failure(error);
    let standing =
        standing_on(connection, &names::table(model.name, from), model.name).await.map_err(fail)?;
    refuse_foreign(model, &standing)?;
    lock_all(connection, &standing).await.map_err(fail)?;
    for was in &standing {
        let drop = format!("DROP VIEW {}", was.full_name);
        execute(connection, drop).await.map_err(fail)?;
    }
    execute(connection, ddl(&table.view, &config.namespace, model.name, to)).await.map_err(fail)?;
    for was in standing.iter().rev() {
        again(connection, &config.namespace, was).await.map_err(fail)?;
    }
    grants::show_to_readers(connection, config).await.map_err(fail)
}

/// Whether the SQL views of a view exist as this build creates them.
pub(crate) async fn are_as_made(
    connection: &mut PgConnection,
    namespace: &Namespace,
    (name, table): (&str, &Table),
    generation: i32,
) -> sqlx::Result<bool> {
    are_as(connection, namespace, &ddl(&table.view, namespace, name, generation)).await
}

/// Whether the SQL views exist as these statements create them, checked without a lock for which readers would wait.
pub(crate) async fn are_as(
    connection: &mut PgConnection,
    namespace: &Namespace,
    statements: &str,
) -> sqlx::Result<bool> {
    let schema = namespace.database_schema();
    let path = format!("CREATE SCHEMA {SCRATCH}; SET LOCAL search_path = {SCRATCH}, \"{schema}\"");
    let mut savepoint = connection.begin().await?;
    execute(&mut savepoint, path).await?;
    // By the search path, it is created in the scratch schema and reads from the instance's.
    let here = statements.replace(&format!("\"{schema}\"."), "");
    match execute(&mut savepoint, here).await {
        // A table or view that it reads is missing, or has other columns.
        Err(error) if Means::of(&error) == Means::OtherShape => {
            return savepoint.rollback().await.map(|()| false);
        }
        made => made?,
    }
    let names = sqlx::query_scalar(NAMES).fetch_all(&mut *savepoint).await?;
    let made = definitions(&mut savepoint, &names).await?;
    savepoint.rollback().await?;
    Ok(definitions(connection, &names).await? == made)
}

async fn definitions(
    connection: &mut PgConnection,
    names: &[String],
) -> sqlx::Result<BTreeMap<String, String>> {
    let rows: Vec<(String, String)> = sqlx::query_as(DEFINITIONS).bind(names).fetch_all(connection).await?;
    Ok(rows.into_iter().collect())
}

/// Creates or replaces the SQL views over these generations, in this order; their columns are unchanged.
pub(crate) async fn make(
    connection: &mut PgConnection,
    namespace: &Namespace,
    views: &[(&str, &Table, i32)],
) -> sqlx::Result<()> {
    let mut standing = BTreeMap::new();
    for (name, _, generation) in views {
        let found = standing_on(connection, &names::table(name, *generation), name).await?;
        standing.extend(found.into_iter().filter(|was| was.ours).map(|was| (was.name.clone(), was)));
    }
    let standing: Vec<Was> = standing.into_values().collect();
    lock_all(connection, &standing).await?;
    for (name, table, generation) in views {
        execute(connection, ddl(&table.view, namespace, name, *generation)).await?;
    }
    Ok(())
}

/// Locks all of them. A reader's statement locks its views in its own order; if it held a lock that this waits for, and waited
/// for one that this holds, Postgres would abort one of them as a deadlock after `deadlock_timeout` (one second). So this gives
/// up earlier, and locks in another order at the next attempt.
async fn lock_all(connection: &mut PgConnection, standing: &[Was]) -> sqlx::Result<()> {
    let before: String = sqlx::query_scalar("SHOW lock_timeout").fetch_one(&mut *connection).await?;
    let timeout = async |connection: &mut PgConnection, value: &str| {
        execute(connection, format!("SET LOCAL lock_timeout = '{value}'")).await
    };
    for number in 0..TRIES {
        let mut savepoint = connection.begin().await?;
        timeout(&mut savepoint, GIVES_WAY_AFTER).await?;
        match locked(&mut savepoint, standing, number).await {
            Ok(()) => {
                savepoint.commit().await?;
                return timeout(connection, &before).await;
            }
            Err(error) if number + 1 == TRIES || Means::of(&error) != Means::InTheWay => return Err(error),
            Err(_) => savepoint.rollback().await?,
        }
        tokio::time::sleep(GIVE_WAY).await;
    }
    Ok(())
}

async fn locked(connection: &mut PgConnection, standing: &[Was], number: usize) -> sqlx::Result<()> {
    for was in in_order(standing, number) {
        // Locks only the view: `LOCK TABLE` would also lock the tables that it reads.
        execute(connection, format!("ALTER VIEW {} RESET (security_barrier)", was.full_name)).await?;
    }
    Ok(())
}

/// The order of an attempt: each begins with another one, and every second round is reversed. For three, these are all orders.
fn in_order<T>(all: &[T], number: usize) -> Vec<&T> {
    let count = all.len().max(1);
    let mut ordered: Vec<&T> = all.iter().cycle().skip(number % count).take(all.len()).collect();
    if (number / count) % 2 == 1 {
        ordered.reverse();
    }
    ordered
}

async fn standing_on(connection: &mut PgConnection, table: &str, view: &str) -> sqlx::Result<Vec<Was>> {
    let rows: Vec<Row> = sqlx::query_as(STANDING_ON).bind(table).bind(view).fetch_all(connection).await?;
    let was = |(full_name, name, ours, definition, columns, grants): Row| {
        let grants = columns.into_iter().zip(grants).collect();
        Was { full_name, name, ours, definition, grants }
    };
    Ok(rows.into_iter().map(was).collect())
}

fn refuse_foreign(model: &ReadModel, standing: &[Was]) -> Result<(), Failure> {
    let foreign: Vec<&str> =
        standing.iter().filter(|was| !was.ours).map(|was| was.full_name.as_str()).collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let (name, foreign) = (model.name, foreign.join(", "));
    Err(Failure::refused(format!(
        "{foreign} of another schema, or materialised, reads {name}, whose SQL views change: drop it, and make it anew after \
         the swap"
    )))
}

/// Creates a dependent view again; all views get their grants back, except those on removed columns.
async fn again(connection: &mut PgConnection, namespace: &Namespace, was: &Was) -> sqlx::Result<()> {
    let there: bool = sqlx::query_scalar(IS_THERE).bind(&was.name).fetch_one(&mut *connection).await?;
    if !there {
        let (schema, Was { name, definition, .. }) = (namespace.database_schema(), was);
        execute(connection, format!("CREATE VIEW \"{schema}\".\"{name}\" AS {definition}")).await?;
    }
    let columns: Vec<String> =
        sqlx::query_scalar(COLUMNS).bind(&was.name).fetch_all(&mut *connection).await?;
    for (_, grant) in was.grants.iter().filter(|(on, _)| on.is_empty() || columns.contains(on)) {
        execute(connection, grant.clone()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn three_views_are_locked_in_every_order_within_six_tries() {
        let orders: BTreeSet<_> = (0..6).map(|number| in_order(&["a", "b", "c"], number)).collect();
        assert_eq!(orders.len(), 6);
        assert!(in_order::<()>(&[], 7).is_empty());
    }
}
