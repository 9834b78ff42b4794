//! Operating an instance of Millrace: settings, layout, setup, status, sending commands, receipts, streams, traces, sagas, segments,
//! dead letters, rebuilds, verification.
//!
//! Takes typed requests, returns data and prints nothing, so that a command line, an HTTP API and a console can use it.

pub mod address;
pub mod audit;
pub mod categories;
mod certificates;
pub mod config;
pub mod contract;
pub mod customer;
pub mod dead_letters;
pub mod doctor;
pub mod dry_run;
mod elastic;
#[cfg(any(test, feature = "examples"))]
pub mod examples;
pub mod failure;
pub mod http;
mod index_reader;
pub mod kafka;
mod keys;
pub mod known;
pub mod layout;
pub mod listener;
pub mod moment;
pub mod notify;
pub mod observed;
pub mod otlp;
pub mod outage;
pub mod outbox;
pub mod pace;
pub mod page;
pub mod postgres;
pub mod providers;
pub mod prune;
pub mod reached;
pub mod read_side;
pub mod receipts;
pub mod replay;
pub mod retries;
pub mod roles;
pub mod sagas;
pub mod schema;
pub mod segments;
pub mod send;
pub mod setup;
pub mod status;
pub mod streams;
pub mod trace;
pub mod verify;
