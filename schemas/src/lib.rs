//! The contract between Millrace and everything that writes to it or reads from it.
//!
//! A record type is written once, as an Avro schema in `avro/<context>/{commands,events}/`. The Rust types, the enums
//! of each context and the list of [`DEFINITIONS`] are made from those files when this crate is built. A schema names
//! its Kafka key in the attribute `key`.

mod codec;
mod error;
mod examples;
mod fields;
pub mod json;
mod meaning;
mod registered;

pub use codec::{AvroRecord, Message, WriterSchema, encode_record, frame, unframe};
pub use error::CodecError;
pub use examples::{example, examples};
pub use fields::{Field, described};
pub use registered::Registered;

/// Whether a record asks for something or says that something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Imperative: `PlaceOrder`.
    Command,
    /// Past tense: `OrderPlaced`.
    Event,
    /// The answer to a command that was refused.
    Rejection,
    /// What became of a command, whatever that is.
    Outcome,
}

/// One record type of the contract.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// The context that it belongs to, such as `orders`; empty for records of every context.
    pub context: &'static str,
    /// Command, event, rejection or outcome.
    pub kind: Kind,
    /// Short name, such as `PlaceOrder`.
    pub name: &'static str,
    /// Name with namespace, such as `millrace.orders.PlaceOrder`: the registry's subject and the header `ce_type`.
    pub full_name: &'static str,
    /// The field that is the Kafka key.
    pub key: &'static str,
    /// The Avro schema as JSON.
    pub avsc: &'static str,
}

/// The definition of a record type by its short or full name.
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.full_name == name || definition.name == name)
}

/// A record type's name without its namespace: `PlaceOrder` of `millrace.orders.PlaceOrder`.
pub fn short_name(full_name: &str) -> &str {
    full_name.rsplit_once('.').map_or(full_name, |(_, name)| name)
}

/// The context in a record type's namespace: `orders` of `millrace.orders.PlaceOrder`; empty for a foreign namespace.
pub fn context_of(full_name: &str) -> &str {
    let inner = full_name.strip_prefix("millrace.").unwrap_or_default();
    inner.split_once('.').map(|(context, _)| context).unwrap_or_default()
}

#[allow(clippy::pedantic, missing_docs, unreachable_pub)]
mod records {
    use crate::{CodecError, Definition, Kind, Message, WriterSchema};
    include!(concat!(env!("OUT_DIR"), "/records.rs"));
}
pub use records::*;
