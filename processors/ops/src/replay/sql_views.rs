//! How the SQL views over a view are made. Where its shape changes they are dropped: `CREATE OR REPLACE VIEW` can neither drop, rename
//! nor retype a column.

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

/// Everything that reads a table or an SQL view, however many others are between, the furthest first: so that readers, who lock a
/// view before what it reads, are waited for in their order.
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
/// With names of the current schema left out, so that definitions of two schemas can be compared.
const DEFINITIONS: &str = "SELECT viewname::text, definition FROM pg_views WHERE schemaname = current_schema() AND viewname = ANY($1)";
const NAMES: &str = "SELECT viewname::text FROM pg_views WHERE schemaname = current_schema()";
/// Where SQL views are made that nothing reads, to see what Postgres makes of them; never committed.
const SCRATCH: &str = "\"millrace scratch\"";
const COLUMNS: &str = "SELECT attname::text FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident($1)) AND attnum > 0 AND NOT attisdropped";
const IS_THERE: &str = "SELECT to_regclass(quote_ident($1)) IS NOT NULL";

/// How often it is tried before the swap is put off, or `setup` ends.
const TRIES: usize = 20;
/// Long before `deadlock_timeout`.
const GIVES_WAY_AFTER: &str = "150ms";
/// Readers who wait get their answers within this.
const GIVE_WAY: Duration = Duration::from_millis(50);

/// An SQL view as it was.
struct Was {
    /// With its schema, unless that is the instance's.
    full_name: String,
    name: String,
    ours: bool,
    definition: String,
    /// Each with the column that it is on; the empty name: on all.
    grants: Vec<(String, String)>,
}

/// As [`STANDING_ON`] returns it: columns and grants belong together.
type Row = (String, String, bool, String, Vec<String>, Vec<String>);

/// Lets the SQL views of a view read another generation, of another shape, with all that stands on them and what was granted.
///
/// # Errors
/// [`Failure::Refused`] when something of another schema stands on them, or reads a column that is no more.
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

/// Whether the SQL views of a view are there as this build makes them: Postgres says so without a lock that readers would wait for.
pub(crate) async fn are_as_made(
    connection: &mut PgConnection,
    namespace: &Namespace,
    (name, table): (&str, &Table),
    generation: i32,
) -> sqlx::Result<bool> {
    let schema = namespace.database_schema();
    let path = format!("CREATE SCHEMA {SCRATCH}; SET LOCAL search_path = {SCRATCH}, \"{schema}\"");
    let mut savepoint = connection.begin().await?;
    execute(&mut savepoint, path).await?;
    // By the path, what it makes is in the one schema, and what it reads is where it is.
    let here = ddl(&table.view, namespace, name, generation).replace(&format!("\"{schema}\"."), "");
    match execute(&mut savepoint, here).await {
        // What it reads is not there, or has other columns.
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

/// Makes the SQL views of views as they are over these generations, in this order. Their columns are those that they had.
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

/// A statement of a reader locks its views in an order of its own. One that holds a lock which this waits for, and waits for one
/// that this holds, would be ended by Postgres as a deadlock (`deadlock_timeout`, a second): so this gives way before, and locks in
/// another order at the next try.
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
        // Locks the view alone: `LOCK TABLE` would lock the tables that it reads, too.
        execute(connection, format!("ALTER VIEW {} RESET (security_barrier)", was.full_name)).await?;
    }
    Ok(())
}

/// Each try begins with another one, and every other round goes backwards: of three, these are all orders that there are.
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

/// What is not the view's own is made as it was; both get their grants back, but for those on columns that are no more.
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
