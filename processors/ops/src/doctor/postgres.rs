//! The settings of a database, its clock, its old transactions, and its dead rows.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::Finding;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::postgres::Database;

/// A difference of clocks from here on is told, in seconds: times of timers, retries and lags are of the databases' clocks.
const SKEW_MAX: f64 = 1.0;
/// The part of the connections that may be used, in percent.
const CONNECTIONS_MAX: i64 = 80;

const SETTINGS: &str = "SELECT current_setting('server_version'), current_setting('wal_level'), current_setting('fsync'),
    current_setting('full_page_writes'), current_setting('autovacuum'), current_setting('max_connections')::bigint,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    (SELECT setting FROM pg_settings WHERE name = 'synchronous_commit'), clock_timestamp()";

/// They keep dead rows from being removed, and a slot or an index from being created.
const OLD_TRANSACTIONS: &str = "SELECT pid, coalesce(application_name, ''), coalesce(state, ''),
        extract(epoch FROM clock_timestamp() - xact_start)::bigint
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < now() - interval '10 minutes'
    ORDER BY xact_start LIMIT 5";

const DEAD_ROWS: &str = "SELECT relname::text, n_live_tup, n_dead_tup FROM pg_stat_user_tables
    WHERE schemaname = current_schema() AND n_dead_tup > greatest(100000, n_live_tup) ORDER BY n_dead_tup DESC LIMIT 5";

const NEVER_VACUUMED: &str = "SELECT relname::text FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace
      AND EXISTS (SELECT FROM unnest(reloptions) AS option WHERE option ~ '^autovacuum_enabled=(off|false|no|0)$') LIMIT 5";

/// The settings, as Postgres writes them.
struct Settings {
    version: String,
    wal_level: String,
    fsync: String,
    full_page_writes: String,
    autovacuum: String,
    connections_max: i64,
    connections: i64,
    synchronous_commit: String,
    skew_seconds: f64,
}

pub(super) fn part(side: Side) -> &'static str {
    match side {
        Side::Write => "write database",
        Side::Read => "read database",
    }
}

pub(super) async fn check(config: &Config, side: Side) -> Result<Vec<Finding>, Failure> {
    let database = Database::of(config, side)?;
    let checked = async {
        let mut found = settings_of(side, &settings(&database.pool).await?);
        found.extend(old_transactions(side, &database.pool).await?);
        found.extend(dead_rows(side, &database.pool).await?);
        Ok(found)
    };
    checked.await.map_err(|error| database.failure(error))
}

type Row = (String, String, String, String, String, i64, i64, String, DateTime<Utc>);

async fn settings(pool: &PgPool) -> sqlx::Result<Settings> {
    let mut connection = pool.acquire().await?;
    let before = Utc::now();
    let row: Row = sqlx::query_as(SETTINGS).fetch_one(&mut *connection).await?;
    let middle = before + (Utc::now() - before) / 2;
    let (version, wal_level, fsync, full_page_writes, autovacuum, connections_max, connections, commits, now) =
        row;
    Ok(Settings {
        version,
        wal_level,
        fsync,
        full_page_writes,
        autovacuum,
        connections_max,
        connections,
        synchronous_commit: commits,
        skew_seconds: (now - middle).as_seconds_f64(),
    })
}

fn settings_of(side: Side, is: &Settings) -> Vec<Finding> {
    let part = part(side);
    let mut found = vec![Finding::fine(part, format!("PostgreSQL {}", is.version))];
    let mut must = |holds: bool, what: String, mend: &str| {
        if !holds {
            found.push(Finding::wrong(part, what, mend));
        }
    };
    must(
        side == Side::Read || is.wal_level == "logical",
        format!("wal_level is {}, so Debezium cannot read the outbox", is.wal_level),
        "ALTER SYSTEM SET wal_level = logical, then restart Postgres",
    );
    for (name, value) in [("fsync", &is.fsync), ("full_page_writes", &is.full_page_writes)] {
        must(
            value == "on",
            format!("{name} is {value}: a crash of the machine may corrupt the database"),
            &format!("ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf()"),
        );
    }
    must(
        is.autovacuum == "on",
        "autovacuum is off: tables of offsets grow for ever".to_owned(),
        "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()",
    );
    must(
        is.synchronous_commit != "off",
        "synchronous_commit is off for all: a crash loses commits that Kafka was told of".to_owned(),
        "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf()",
    );
    found.extend(connections(part, is));
    found.extend(skew(part, is.skew_seconds));
    found
}

fn connections(part: &'static str, is: &Settings) -> Option<Finding> {
    let crowded = is.connections * 100 >= is.connections_max * CONNECTIONS_MAX;
    crowded.then(|| {
        let what = format!("{} of {} connections are used", is.connections, is.connections_max);
        Finding::advice(part, what, "raise max_connections, or lower postgres.connections of the processes")
    })
}

fn skew(part: &'static str, seconds: f64) -> Option<Finding> {
    (seconds.abs() >= SKEW_MAX).then(|| {
        let what = format!("its clock and this machine's differ by {seconds:.1} s");
        Finding::advice(part, what, "synchronise both clocks (NTP)")
    })
}

async fn old_transactions(side: Side, pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let rows: Vec<(i32, String, String, i64)> = sqlx::query_as(OLD_TRANSACTIONS).fetch_all(pool).await?;
    let finding = |(pid, application, state, seconds)| {
        let what = format!(
            "the transaction of process {pid} ({application}, {state}) is {seconds} s old: dead rows stay, and indexes and slots wait for it"
        );
        Finding::advice(part(side), what, format!("SELECT pg_terminate_backend({pid})"))
    };
    Ok(rows.into_iter().map(finding).collect())
}

async fn dead_rows(side: Side, pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let bloated: Vec<(String, i64, i64)> = sqlx::query_as(DEAD_ROWS).fetch_all(pool).await?;
    let never: Vec<(String,)> = sqlx::query_as(NEVER_VACUUMED).fetch_all(pool).await?;
    let bloated = bloated.into_iter().map(|(table, live, dead)| {
        Finding::advice(
            part(side),
            format!("{table} has {dead} dead rows beside {live}"),
            format!("VACUUM {table}"),
        )
    });
    let never = never.into_iter().map(|(table,)| {
        let mend = format!("ALTER TABLE {table} RESET (autovacuum_enabled)");
        Finding::wrong(part(side), format!("autovacuum is disabled for {table}"), mend)
    });
    Ok(bloated.chain(never).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn sound() -> Settings {
        Settings {
            version: "17.2".to_owned(),
            wal_level: "logical".to_owned(),
            fsync: "on".to_owned(),
            full_page_writes: "on".to_owned(),
            autovacuum: "on".to_owned(),
            connections_max: 100,
            connections: 10,
            synchronous_commit: "on".to_owned(),
            skew_seconds: 0.01,
        }
    }

    fn worst(side: Side, settings: &Settings) -> Level {
        settings_of(side, settings).iter().map(|finding| finding.level).max().unwrap()
    }

    #[test]
    fn settings_that_are_sound_are_fine() {
        assert_eq!(worst(Side::Write, &sound()), Level::Fine);
    }

    #[test]
    fn each_setting_that_may_lose_data_is_wrong() {
        let off = || "off".to_owned();
        for settings in [
            Settings { wal_level: "replica".to_owned(), ..sound() },
            Settings { fsync: off(), ..sound() },
            Settings { full_page_writes: off(), ..sound() },
            Settings { autovacuum: off(), ..sound() },
            Settings { synchronous_commit: off(), ..sound() },
        ] {
            assert_eq!(worst(Side::Write, &settings), Level::Wrong);
        }
        let replica = Settings { wal_level: "replica".to_owned(), ..sound() };
        assert_eq!(worst(Side::Read, &replica), Level::Fine, "the read side has no outbox");
    }

    #[test]
    fn a_clock_that_differs_and_few_connections_left_are_told() {
        for settings in [
            Settings { connections: 80, ..sound() },
            Settings { skew_seconds: -1.5, ..sound() },
            Settings { skew_seconds: 1.0, ..sound() },
        ] {
            assert_eq!(worst(Side::Read, &settings), Level::Advice);
        }
    }
}
