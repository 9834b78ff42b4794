//! What can be wrong with bytes or with a schema.

/// Why bytes are not a record of the contract. Always the record's own fault, never an outage.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The value does not begin with the magic byte 0 and a schema id.
    #[error(
        "the value is not framed: it must begin with a zero byte and a four-byte schema id, and has {0} bytes"
    )]
    NotFramed(usize),
    /// The schema names a type that this build does not know.
    #[error("the record type `{0}` is not part of the contract of this topic")]
    UnknownType(String),
    /// The bytes do not fit the writer's schema.
    #[error("the body does not fit the schema `{schema}`: {reason}")]
    Body {
        /// Full name of the writer's schema.
        schema: String,
        /// What does not fit.
        reason: String,
    },
    /// The bytes fit the writer's schema, which is not what this build has: another build may read them.
    #[error("the record was written with another schema `{schema}` than this build knows: {reason}")]
    Another {
        /// Full name of the writer's schema.
        schema: String,
        /// What does not fit ours.
        reason: String,
    },
    /// The text is not an Avro schema of a record.
    #[error("not an Avro record schema: {0}")]
    Schema(String),
}
