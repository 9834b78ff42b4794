//! The tables that the auditor folds a view into: a generation that never serves, and the events of its rows.

use millrace_engine::views::ddl;
use millrace_store::names::table;
use millrace_store::progress;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::config::Config;
use crate::layout::{ReadModel, Table};

/// The generation that only the auditor sees.
pub(super) const AUDITED: i32 = 0;

/// The auditor's tables of one view.
pub(super) struct Audited {
    /// With the rows.
    pub(super) rows: String,
    /// With the events.
    pub(super) events: String,
    group: String,
    create: String,
}

impl Audited {
    /// Nothing is created yet.
    pub(super) fn of(config: &Config, model: &ReadModel, definition: &Table) -> Self {
        let rows = table(model.name, AUDITED);
        let (events, group) = (format!("{rows}_events"), config.namespace.group(model.name));
        let create = format!(
            "{};
             CREATE TABLE \"{events}\" (context text, stream text, version bigint, type text, occurred_at timestamptz,
                                        data jsonb, PRIMARY KEY (context, stream, version))",
            ddl(&definition.table, &config.namespace, model.name, AUDITED)
        );
        Self { rows, events, group, create }
    }

    /// Creates them, empty.
    pub(super) async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        self.remove(connection).await?;
        sqlx::raw_sql(AssertSqlSafe(self.create.as_str())).execute(connection).await.map(|_| ())
    }

    /// Lets Postgres see what was put there.
    pub(super) async fn analyse(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let analyse = format!("ANALYZE \"{}\", \"{}\"", self.rows, self.events);
        sqlx::raw_sql(AssertSqlSafe(analyse)).execute(connection).await.map(|_| ())
    }

    /// Removes them.
    pub(super) async fn remove(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let Self { rows, events, group, .. } = self;
        let drop =
            format!("SET client_min_messages = warning; DROP TABLE IF EXISTS \"{rows}\", \"{events}\"");
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await?;
        progress::remove(connection, group, AUDITED).await
    }
}
