//! The tables of the engine in Postgres: one module for each table, with all SQL on it, and the migrations that create the
//! tables. Knows neither Kafka nor the meaning of records: only ids, places and bytes.
//!
//! A statement that joins tables is in the module of the one whose rows it returns or changes; queries over several tables are in
//! [`write_side`]. `scripts/tables` lists the joins and finds SQL elsewhere.

pub mod audit;
pub mod blocked_key;
mod columns;
pub mod command;
pub mod consumer_offset;
pub mod database;
pub mod dead_letter;
pub mod deployed;
pub mod effect;
pub mod folded_ahead;
pub mod freshness;
mod group;
pub mod growth;
pub mod heartbeat;
pub mod indexes;
pub mod migrations;
pub mod names;
pub mod notified;
pub mod outbox;
pub mod parked;
mod place;
pub mod progress;
pub mod prune;
pub mod pruned;
pub mod refolded;
pub mod replay;
pub mod saga;
pub mod saga_step;
pub mod saga_timer;
mod sqlstate;
mod statements;
pub mod stream;
pub mod timestamp;
pub mod verified;
pub mod write_side;

pub use group::{Group, own_name};
pub use place::Place;
pub use sqlstate::Means;

/// Every statement on the write side's tables.
pub fn statements_of_the_write_side() -> impl Iterator<Item = &'static str> {
    let own = [
        command::STATEMENTS,
        effect::STATEMENTS,
        folded_ahead::STATEMENTS,
        heartbeat::STATEMENTS,
        notified::STATEMENTS,
        outbox::STATEMENTS,
        outbox::STATEMENTS_OF_COUNTS,
        outbox::STATEMENTS_OF_HEADS,
        outbox::STATEMENTS_OF_PRINTS,
        outbox::STATEMENTS_OF_PRUNE,
        outbox::STATEMENTS_OF_ROWS,
        pruned::STATEMENTS,
        refolded::STATEMENTS,
        saga::STATEMENTS,
        saga_step::STATEMENTS,
        saga_timer::STATEMENTS,
        stream::STATEMENTS,
        write_side::STATEMENTS,
        &[consumer_offset::SET_BACK],
    ];
    own.into_iter().chain(of_both_sides()).flatten().copied()
}

/// Every statement on the read side's tables, without the views' own.
pub fn statements_of_the_read_side() -> impl Iterator<Item = &'static str> {
    let own = [
        progress::STATEMENTS,
        replay::STATEMENTS,
        &[consumer_offset::SERVING, consumer_offset::PAUSE_AT_SERVING],
    ];
    own.into_iter().chain(of_both_sides()).flatten().copied()
}

fn of_both_sides() -> [&'static [&'static str]; 12] {
    [
        audit::STATEMENTS,
        blocked_key::STATEMENTS,
        consumer_offset::STATEMENTS,
        consumer_offset::STATEMENTS_OF_HELD,
        consumer_offset::STATEMENTS_OF_PAIRS,
        dead_letter::STATEMENTS,
        dead_letter::STATEMENTS_OF_LETTERS,
        dead_letter::STATEMENTS_OF_PRUNE,
        deployed::STATEMENTS,
        growth::STATEMENTS,
        parked::STATEMENTS,
        verified::STATEMENTS,
    ]
}
