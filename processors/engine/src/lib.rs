//! How records move. Knows no business: what to decide and fold are types of `millrace-domain`.
//!
//! Every worker is the same loop (`worker`): take a batch of one partition, fold it ([`Role`]), and store states,
//! outputs and the offset in one Postgres transaction. The offset is fenced by an epoch ([`offsets`]), so a batch is
//! applied exactly once, whichever process crashes, and wherever.

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
mod member;
pub mod metrics;
pub mod offsets;
mod outbox;
mod producer;
mod publisher;
mod reason;
mod record;
mod registry;
pub mod release;
pub mod retry;
mod role;
pub mod sagas;
pub mod supervision;
pub mod views;
mod worker;

pub use backoff::Backoff;
pub use buffer::Buffers;
pub use client::KafkaSettings;
pub use elastic::{Document, Elastic, Refusal};
pub use error::{Dependency, Fault, WorkError};
pub use member::{GroupSettings, Member};
pub use producer::{Copier, Delivery, Producer};
pub use reason::Reason;
pub use record::{Header, Record};
pub use registry::{Registry, RegistryError};
pub use role::{Folded, Outcome, Role};
