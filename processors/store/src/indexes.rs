//! Indexes of tables that grow for ever. They are not part of a migration: on a large table an index is created CONCURRENTLY,
//! outside of a transaction, while everything runs. On a small table, as in a new instance, it is created at once.

use sqlx::{AssertSqlSafe, PgConnection, PgExecutor};

/// Tables up to this size, in bytes, are indexed inside the transaction of `setup`.
const SMALL: i64 = 16 << 20;

/// An index of a table of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    table: &'static str,
    /// The statement after the table's name.
    on: &'static str,
}

/// Those of the write side.
pub const WRITE: &[Index] = &[
    // A BRIN index on the time in a table that is written in this order: it costs almost nothing.
    Index {
        name: "outbox_written",
        table: "outbox",
        on: "USING brin (written_at) WITH (pages_per_range = 32, autosummarize = on)",
    },
    // Of what operators seldom ask: which row has an id, and what a command or an event has led to.
    Index {
        name: "outbox_caused",
        table: "outbox",
        on: "USING brin (causation_id text_bloom_ops (n_distinct_per_range = 1000), id uuid_bloom_ops (n_distinct_per_range = 1000)) \
             WITH (pages_per_range = 32, autosummarize = on)",
    },
    // A BRIN bloom index on streams: a hundredth of the size of a B-tree, and nothing to write for each command.
    Index {
        name: "command_stream",
        table: "command",
        on: "USING brin (stream text_bloom_ops (n_distinct_per_range = 1000)) WITH (pages_per_range = 32, autosummarize = on)",
    },
    // Partial, since few rows match.
    Index {
        name: "command_not_completed",
        table: "command",
        on: "(status, decided_at) WHERE status <> 'completed'",
    },
    // For retention.
    Index { name: "command_decided_at", table: "command", on: "(decided_at)" },
    Index { name: "outbox_sent", table: "outbox", on: "(occurred_at) WHERE version IS NULL" },
    Index { name: "saga_ended", table: "saga", on: "(started_at) WHERE ended AND has_steps" },
    // `effect_stream` of release 1 lacks the calls that are being made.
    Index {
        name: "effect_open",
        table: "effect",
        on: "(effect, context, stream) WHERE status IN ('waiting', 'calling')",
    },
    Index {
        name: "effect_ended",
        table: "effect",
        on: "(ended_at) WHERE has_bodies AND ended_at IS NOT NULL AND NOT unknown",
    },
    // Few: calls that an operator should look at.
    Index { name: "effect_gave_up", table: "effect", on: "(ended_at) WHERE status = 'gave_up'" },
    LETTERS_OF_GROUP,
    DEAD_LETTERS,
    LETTERS_IN_TIME,
    LETTERS_SETTLED,
    LETTERS_COPIED,
    AUDIT_SUBJECT,
    AUDIT_IN_TIME,
];

/// Those of the read side, without the views' own.
pub const READ: &[Index] = &[
    LETTERS_OF_GROUP,
    DEAD_LETTERS,
    LETTERS_IN_TIME,
    LETTERS_SETTLED,
    LETTERS_COPIED,
    AUDIT_SUBJECT,
    AUDIT_IN_TIME,
];

const LETTERS_OF_GROUP: Index = Index {
    name: "dead_letter_place",
    table: "dead_letter",
    on: "(grp, generation, topic, partition, \"offset\")",
};
const DEAD_LETTERS: Index = Index {
    name: "dead_letter_dead",
    table: "dead_letter",
    on: "(grp, code, failed_at) WHERE status = 'dead'",
};
const LETTERS_IN_TIME: Index =
    Index { name: "dead_letter_failed", table: "dead_letter", on: "(failed_at, id)" };
const LETTERS_SETTLED: Index = Index {
    name: "dead_letter_settled",
    table: "dead_letter",
    on: "(coalesce(settled_at, failed_at)) WHERE status <> 'dead'",
};
/// The first copy on a dead letter topic that is still named.
const LETTERS_COPIED: Index = Index {
    name: "dead_letter_copy",
    table: "dead_letter",
    on: "(topic, grp, copy_partition, copy_offset) WHERE copy_offset IS NOT NULL",
};
const AUDIT_SUBJECT: Index = Index { name: "audit_subject", table: "audit", on: "(subject)" };
const AUDIT_IN_TIME: Index = Index { name: "audit_at", table: "audit", on: "(at)" };

/// An index of an interrupted CONCURRENTLY is not valid, and is created again.
const VALID: &str = "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND indisvalid)";
const SIZE: &str = "SELECT pg_relation_size(to_regclass($1))";

/// Creates the missing indexes of small tables in the transaction of `connection`; returns their names.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn create_small(
    connection: &mut PgConnection,
    indexes: &[Index],
) -> sqlx::Result<Vec<&'static str>> {
    let mut made = Vec::new();
    for index in missing(connection, indexes).await? {
        let size: i64 = sqlx::query_scalar(SIZE).bind(index.table).fetch_one(&mut *connection).await?;
        if size <= SMALL {
            index.create(&mut *connection, "").await?;
            made.push(index.name);
        }
    }
    Ok(made)
}

/// The indexes that are missing or not valid.
///
/// # Errors
/// Database errors.
pub async fn missing(connection: &mut PgConnection, indexes: &[Index]) -> sqlx::Result<Vec<Index>> {
    let mut missing = Vec::new();
    for index in indexes {
        let valid: bool = sqlx::query_scalar(VALID).bind(index.name).fetch_one(&mut *connection).await?;
        missing.extend((!valid).then_some(*index));
    }
    Ok(missing)
}

impl Index {
    /// Creates the index CONCURRENTLY. Not inside a transaction; it may take long.
    ///
    /// # Errors
    /// Database errors.
    pub async fn create_beside_writers(self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS \"{}\"", self.name);
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await?;
        self.create(connection, "CONCURRENTLY").await
    }

    async fn create(self, executor: impl PgExecutor<'_>, how: &str) -> sqlx::Result<()> {
        let Self { name, table, on } = self;
        let create = format!("CREATE INDEX {how} IF NOT EXISTS \"{name}\" ON \"{table}\" {on}");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(executor).await.map(|_| ())
    }
}
