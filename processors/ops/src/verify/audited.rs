//! The tables into which the auditor folds a view: a generation that never serves, and the events of its rows.
//!
//! Without findings they are kept as the copy that the next comparison continues with. Triggers record which rows that changes.

use millrace_engine::views::ddl;
use millrace_store::names::table;
use millrace_store::{progress, verified};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::config::Config;
use crate::layout::{ReadModel, Table};

/// The number of the auditor's generation.
pub(super) const AUDITED: i32 = 0;

/// The auditor's tables of one view.
pub(super) struct Audited {
    /// The table of the rows.
    pub(super) rows: String,
    /// The table of the events.
    pub(super) events: String,
    /// The table of the keys of rows to compare.
    pub(super) touched: String,
    view: &'static str,
    /// The columns of the key, in SQL.
    pub(super) columns: String,
    group: String,
    create: String,
}

impl Audited {
    /// The names; creates nothing.
    pub(super) fn of(config: &Config, model: &ReadModel, definition: &Table) -> Self {
        let rows = table(model.name, AUDITED);
        let (events, touched) = (format!("{rows}_events"), format!("{rows}_touched"));
        let group = config.namespace.group(model.name);
        let create = format!(
            "{};
             CREATE TABLE \"{events}\" (context text, stream text, version bigint, type text, occurred_at timestamptz,
                                        data jsonb, PRIMARY KEY (context, stream, version))",
            ddl(&definition.table, &config.namespace, model.name, AUDITED)
        );
        let quoted: Vec<String> = definition.key.iter().map(|column| format!("\"{column}\"")).collect();
        Self { rows, events, touched, view: model.name, columns: quoted.join(", "), group, create }
    }

    /// Creates them, empty.
    pub(super) async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        self.remove(connection).await?;
        sqlx::raw_sql(AssertSqlSafe(self.create.as_str())).execute(connection).await.map(|_| ())
    }

    /// Analyses them.
    pub(super) async fn analyse(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let analyse = format!("ANALYZE \"{}\", \"{}\"", self.rows, self.events);
        sqlx::raw_sql(AssertSqlSafe(analyse)).execute(connection).await.map(|_| ())
    }

    /// Removes the events, and records the keys of changed rows from now on.
    pub(super) async fn keep(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let Self { rows, events, touched, columns, .. } = self;
        let keep = format!(
            "DROP TABLE \"{events}\";
             CREATE TABLE \"{touched}\" AS SELECT {columns} FROM \"{rows}\" LIMIT 0;
             CREATE INDEX ON \"{touched}\" ({columns});
             CREATE OR REPLACE FUNCTION \"{touched}\"() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO \"{touched}\" SELECT {columns} FROM changed; RETURN NULL; END $$;
             CREATE TRIGGER inserted AFTER INSERT ON \"{rows}\" REFERENCING NEW TABLE AS changed
                 FOR EACH STATEMENT EXECUTE FUNCTION \"{touched}\"();
             CREATE TRIGGER updated AFTER UPDATE ON \"{rows}\" REFERENCING NEW TABLE AS changed
                 FOR EACH STATEMENT EXECUTE FUNCTION \"{touched}\"();
             CREATE TRIGGER deleted AFTER DELETE ON \"{rows}\" REFERENCING OLD TABLE AS changed
                 FOR EACH STATEMENT EXECUTE FUNCTION \"{touched}\"()"
        );
        sqlx::raw_sql(AssertSqlSafe(keep)).execute(connection).await.map(|_| ())
    }

    /// Clears the recorded keys after a comparison.
    pub(super) async fn forget_touched(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let truncate = format!("TRUNCATE \"{}\"", self.touched);
        sqlx::raw_sql(AssertSqlSafe(truncate)).execute(connection).await.map(|_| ())
    }

    /// Removes all of it.
    pub(super) async fn remove(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let Self { rows, events, touched, group, view, .. } = self;
        verified::forget(&mut *connection, view).await?;
        let drop = format!(
            "SET client_min_messages = warning;
             DROP TABLE IF EXISTS \"{rows}\", \"{events}\", \"{touched}\";
             DROP FUNCTION IF EXISTS \"{touched}\""
        );
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await?;
        progress::remove(connection, group, AUDITED).await
    }
}
