//! What an author of a view writes, and what the engine gives in return.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An event as it was recorded: what happened, and when, where and why.
#[derive(Debug, Clone)]
pub struct Recorded<E = Event> {
    /// Deterministic id of the event (`ce_id`).
    pub id: String,
    /// The stream that it happened to.
    pub stream: String,
    /// Its version in the stream: 1, 2, 3, … without gaps (`ce_sequence`).
    pub version: i64,
    /// When it was decided (`ce_time`).
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
    /// The rows again: one `SELECT`, with columns named as the table's and the key among them, over `{events}`
    /// (`context, stream, version, type, occurred_at, data`: the type's short name, the fields as JSON). It must not be
    /// derived from [`evolve`](View::evolve): the auditor compares the two so that a mistake in either shows.
    const CHECK: &'static str;
    /// The Elasticsearch mapping's properties, when the view is published.
    const MAPPING: Option<&'static str>;
    /// Which fold this is, counted from 1: a changed `evolve` has the next number, so that what was built with the one before is
    /// built anew.
    const FOLD: u32 = 1;
    /// Columns that mean something else than in the shape before: where both have them they may differ.
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

    /// The row `key` after an event that touches it. A time in a row is the event's, never the time of folding.
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
    /// The columns of [`Amounts`](Tally::Amounts), added up.
    const AMOUNTS: &'static [&'static str];
    /// `CREATE TABLE IF NOT EXISTS {table}`, with `version` and `updated_at` as for [`View::TABLE`].
    const TABLE: &'static str;
    /// As [`View::SQL_VIEW`].
    const SQL_VIEW: &'static str;
    /// As [`View::CHECK`].
    const CHECK: &'static str;
    /// Which fold this is, counted from 1: a changed `delta` has the next number, so that what was built with the one before is
    /// built anew.
    const FOLD: u32 = 1;
    /// Columns that mean something else than in the shape before: where both have them they may differ.
    const CHANGED: &'static [&'static str] = &[];
    /// What a row is about; its fields are [`KEYS`](Tally::KEYS).
    type Key: Clone + Ord + Send + Sync + Serialize + std::fmt::Debug + 'static;
    /// What is added; its fields are [`AMOUNTS`](Tally::AMOUNTS).
    type Amounts: Clone + Default + Send + Sync + Serialize + PartialEq + std::fmt::Debug + 'static;

    /// What an event adds, by key; a key may come several times. Empty when the tally does not subscribe to its type.
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
    /// Which fold this is, counted from 1: a changed `document` has the next number, so that what was built with the one before is
    /// built anew.
    const FOLD: u32 = 1;
    /// Fields that mean something else than in the shape before: where both have them they may differ.
    const CHANGED: &'static [&'static str] = &[];
    /// The document.
    type Document: Serialize;

    /// The document of an event; its id is the event's id. Its `fields` are as they were written: those of its writer's schema, whichever
    /// build reads it.
    fn document(event: &Recorded, fields: Value) -> Self::Document;
}
