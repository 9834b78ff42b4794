//! The interface of views: what their authors implement, and what the engine guarantees.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A recorded event with its metadata.
#[derive(Debug, Clone)]
pub struct Recorded<E = Event> {
    /// Deterministic id of the event (`ce_id`).
    pub id: String,
    /// The stream that it happened to.
    pub stream: String,
    /// Its version in the stream: 1, 2, 3, … without gaps (`ce_sequence`).
    pub version: i64,
    /// The time of its command, which a producer may set (`ce_time`).
    pub occurred_at: DateTime<Utc>,
    /// The conversation that it belongs to.
    pub correlation_id: Option<String>,
    /// The command that caused it.
    pub causation_id: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// What happened.
    pub event: E,
}

/// A read model with a typed row for each key.
///
/// The engine guarantees: events of one stream arrive in order, each exactly once, whatever crashes; a row and the
/// offset behind it are committed together. Events of *different* streams may arrive in any order, so
/// [`evolve`](View::evolve) must give the same row for every interleaving of them.
pub trait View: Send + Sync + 'static {
    /// Name of the SQL view, the index alias and the consumer group.
    const NAME: &'static str;
    /// The contexts whose events it reads; it sees no others.
    const CONTEXTS: &'static [&'static str];
    /// The key column.
    const KEY: &'static str;
    /// Whether events of more than one stream can touch the same row.
    const SHARED: bool;
    /// `CREATE TABLE IF NOT EXISTS {table}`; besides the row's own columns it must have `version bigint not null` and
    /// `updated_at timestamptz not null`. Each generation has its own.
    const TABLE: &'static str;
    /// `CREATE OR REPLACE VIEW {view}` over `{table}`: what readers see, whichever generation serves.
    const SQL_VIEW: &'static str;
    /// An independent computation of the rows: one `SELECT` with the key and columns of the table, over `{events}` (`context,
    /// stream, version, type, occurred_at, data`: the type's short name, the fields as JSON). It must not be derived from
    /// [`evolve`](View::evolve): the auditor compares the two, so that an error in either is found.
    const CHECK: &'static str;
    /// The Elasticsearch mapping's properties, when the view is published.
    const MAPPING: Option<&'static str>;
    /// The columns whose texts its documents repeat in their field `search`, with and without accents ([`mod@crate::search`]).
    const SEARCH: &'static [&'static str] = &[];
    /// The number of the fold, from 1: increase it when `evolve` or `search` changes, so that the view is rebuilt.
    const FOLD: u32 = 1;
    /// Columns whose meaning has changed since the previous shape: they are not compared between the two generations.
    const CHANGED: &'static [&'static str] = &[];
    /// The row's own columns, the key first. The default is the row before any event.
    type Row: Clone
        + Default
        + Send
        + Sync
        + Serialize
        + DeserializeOwned
        + PartialEq
        + std::fmt::Debug
        + 'static;

    /// The keys of the rows that an event touches; empty when the view does not subscribe to its type.
    fn keys(recorded: &Recorded) -> Vec<String>;

    /// The row `key` after an event that touches it. Times in a row are those of events, never the time of folding.
    fn evolve(row: Self::Row, key: &str, recorded: &Recorded) -> Self::Row;
}

/// A read model of sums: events add amounts to keyed rows, so their order does not matter.
pub trait Tally: Send + Sync + 'static {
    /// Name of the SQL view and the consumer group.
    const NAME: &'static str;
    /// The contexts whose events it reads.
    const CONTEXTS: &'static [&'static str];
    /// The columns of [`Key`](Tally::Key), the table's primary key.
    const KEYS: &'static [&'static str];
    /// The columns of [`Amounts`](Tally::Amounts), which are summed.
    const AMOUNTS: &'static [&'static str];
    /// `CREATE TABLE IF NOT EXISTS {table}`, with `version` and `updated_at` as for [`View::TABLE`].
    const TABLE: &'static str;
    /// As [`View::SQL_VIEW`].
    const SQL_VIEW: &'static str;
    /// As [`View::CHECK`].
    const CHECK: &'static str;
    /// The number of the fold, from 1: increase it when `delta` changes, so that the tally is rebuilt.
    const FOLD: u32 = 1;
    /// Columns whose meaning has changed since the previous shape: they are not compared between the two generations.
    const CHANGED: &'static [&'static str] = &[];
    /// The key of a row; its fields are [`KEYS`](Tally::KEYS).
    type Key: Clone + Ord + Send + Sync + Serialize + std::fmt::Debug + 'static;
    /// The amounts to add; its fields are [`AMOUNTS`](Tally::AMOUNTS).
    type Amounts: Clone + Default + Send + Sync + Serialize + PartialEq + std::fmt::Debug + 'static;

    /// The amounts that an event adds, by key; a key may occur several times. Empty when the tally does not subscribe to its
    /// type.
    fn delta(recorded: &Recorded) -> Vec<(Self::Key, Self::Amounts)>;

    /// The sum of two amounts; `None` on overflow.
    fn add(left: &Self::Amounts, right: &Self::Amounts) -> Option<Self::Amounts>;
}

/// A read model in Elasticsearch with one document for each event.
pub trait Log: Send + Sync + 'static {
    /// Name of the index alias and the consumer group.
    const NAME: &'static str;
    /// The contexts whose events it reads.
    const CONTEXTS: &'static [&'static str];
    /// The Elasticsearch mapping's properties.
    const MAPPING: &'static str;
    /// The number of the fold, from 1: increase it when `document` changes, so that the log is rebuilt.
    const FOLD: u32 = 1;
    /// Fields whose meaning has changed since the previous shape: they are not compared between the two generations.
    const CHANGED: &'static [&'static str] = &[];
    /// The document.
    type Document: Serialize;

    /// The document of an event; its id is the event's id. `fields` are those of the writer's schema, so that they do not depend
    /// on the build that reads the event.
    fn document(event: &Recorded, fields: Value) -> Self::Document;
}
