//! The processing of records. It is independent of the business: what is decided and folded are types of `millrace-domain`.
//!
//! Every group works in the same way (`worker`): it takes a batch of records, folds it ([`Role`]), and stores states, outputs and
//! the offsets in one Postgres transaction. Offsets are fenced by an epoch ([`offsets`]), so a batch is applied exactly once,
//! whichever process crashes, and at whatever point.

pub mod access;
mod backoff;
mod buffer;
pub mod client;
pub mod commands;
mod concurrency;
pub mod database;
pub mod dead_letters;
pub mod effects;
mod elastic;
pub mod envelope;
mod error;
pub mod failpoints;
mod fetch;
mod linger;
mod member;
pub mod metrics;
pub mod offsets;
mod outbox;
mod outcome;
mod producer;
mod publisher;
mod reason;
mod record;
mod registry;
pub mod release;
pub mod retry;
mod role;
pub mod sagas;
mod sequence;
pub mod spans;
pub mod supervision;
pub mod views;
mod worker;

pub use backoff::Backoff;
pub use buffer::Buffers;
pub use client::KafkaSettings;
pub use elastic::{Document, Elastic, Refusal};
pub use error::{Dependency, Fault, WorkError};
pub use fetch::SharedFetch;
pub use member::{GroupSettings, Member};
pub use outcome::Outcome;
pub use producer::{Copier, Delivery, Producer};
pub use reason::Reason;
pub use record::{Header, Record};
pub use registry::{Registry, RegistryError};
pub use role::{Folded, Role, Sequenced};
pub use sequence::{Decoded, Intake};
pub use worker::Joint;
