//! Confluent-framed Avro, read by the writer's schema straight into the Rust type.

use std::io::Read as _;
use std::ops::RangeInclusive;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_avro_fast::Schema;
use serde_avro_fast::de::read::SliceRead;
use serde_avro_fast::de::{DatumDeserializer, DeError, DeserializerConfig, DeserializerState};
use serde_avro_fast::schema::SchemaMut;
use serde_avro_fast::ser::SerializerConfig;
use serde_json::Value;

use crate::error::CodecError;
use crate::json::raw;
use crate::meaning::Meaning;

/// More items than this in one array or map are refused: a hostile length must not become a long loop.
const ITEMS_MAX: usize = 100_000;
/// Deeper nesting than this is refused: hostile bytes must not overflow the stack.
const DEPTH_MAX: usize = 32;
/// Magic byte, then the schema id as four bytes, big endian.
const FRAME_LENGTH: usize = 5;

/// A record type made from a schema.
pub trait AvroRecord: Serialize + DeserializeOwned {
    /// Name with namespace.
    const FULL_NAME: &'static str;
    /// The value of the key field.
    fn key(&self) -> &str;
    /// Whether each of its times, in microseconds since 1970, is in this range.
    fn times_are_within(&self, years: &RangeInclusive<i64>) -> bool;
    /// The schema that this build writes.
    fn schema() -> &'static WriterSchema;
}

/// The commands or the events of one context.
pub trait Message: Sized + Clone + Send + Sync + std::fmt::Debug + Serialize + 'static {
    /// The context's name.
    const CONTEXT: &'static str;
    /// Decodes the body of a record that was written with the schema `writer`.
    ///
    /// # Errors
    /// When the type is not one of this enum or the bytes do not fit.
    fn decode(writer: &WriterSchema, body: &[u8]) -> Result<Self, CodecError>;
    /// The record's body in this build's schema, without the frame.
    ///
    /// # Errors
    /// When a value does not fit its schema.
    fn encode(&self) -> Result<Vec<u8>, CodecError>;
    /// The full name of the record's type.
    fn full_name(&self) -> &'static str;
    /// The record's Kafka key.
    fn key(&self) -> &str;
    /// As [`AvroRecord::times_are_within`].
    fn times_are_within(&self, years: &RangeInclusive<i64>) -> bool;
}

/// The schema that a record was written with.
#[derive(Debug)]
pub struct WriterSchema {
    full_name: String,
    avro: Schema,
    meaning: Meaning,
}

impl WriterSchema {
    /// Parses the JSON of a schema.
    ///
    /// # Errors
    /// When it is not a record schema.
    pub fn parse(avsc: &str) -> Result<Self, CodecError> {
        let refuse = |error: serde_avro_fast::schema::SchemaError| CodecError::Schema(error.to_string());
        let parsed: SchemaMut = avsc.parse().map_err(refuse)?;
        let full_name = parsed.root().type_.name().map(|name| name.fully_qualified_name().to_owned());
        let full_name = full_name.ok_or_else(|| CodecError::Schema("it has no name".to_owned()))?;
        let meaning = Meaning::of(&full_name, &parsed, avsc);
        Ok(Self { full_name, avro: parsed.freeze().map_err(refuse)?, meaning })
    }

    #[allow(clippy::panic, reason = "the schema is part of the build and every one is parsed by a test")]
    pub(crate) fn built_in(avsc: &str) -> Self {
        Self::parse(avsc).unwrap_or_else(|error| panic!("built-in schema: {error}"))
    }

    /// Name with namespace, such as `millrace.orders.PlaceOrder`.
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// See [`context_of`](crate::context_of).
    pub fn context(&self) -> &str {
        crate::context_of(&self.full_name)
    }

    /// Decodes a body. Fields that the type has and the schema lacks take their defaults; others are ignored. Instants in
    /// another unit than the contract's are converted.
    ///
    /// # Errors
    /// [`CodecError::Body`] when the bytes do not fit, are too deep, too long or go on after the record;
    /// [`CodecError::Another`] when they fit this schema, and it says something else than the contract's.
    pub fn decode<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, CodecError> {
        self.decode_as_ours(body).map_err(|error| self.judged(error, body))
    }

    /// The fields of a body as they were written: this schema's and no others, so that every build makes the same of them. Instants in
    /// another unit than the contract's are converted.
    ///
    /// # Errors
    /// [`CodecError::Body`], as [`decode`](Self::decode).
    pub fn fields(&self, body: &[u8]) -> Result<Value, CodecError> {
        let mut record = self.read(body, |deserializer| raw(deserializer))?;
        if let Meaning::Converted(plan) = &self.meaning {
            plan.convert(&mut record, "").map_err(|reason| self.misfit(reason))?;
        }
        Ok(record)
    }

    /// Whether the bytes are to blame, or only that the schema is not ours.
    fn judged(&self, error: CodecError, body: &[u8]) -> CodecError {
        let CodecError::Body { schema, reason } = error else { return error };
        match self.read(body, |deserializer| raw(deserializer)) {
            Ok(_) => CodecError::Another { schema, reason },
            Err(_) => CodecError::Body { schema, reason },
        }
    }

    fn decode_as_ours<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, CodecError> {
        match &self.meaning {
            Meaning::Same => self.read(body, |deserializer| T::deserialize(deserializer)),
            Meaning::Converted(_) => {
                T::deserialize(self.fields(body)?).map_err(|error| self.misfit(error.to_string()))
            }
            Meaning::Other(reason) => Err(self.misfit(reason.clone())),
        }
    }

    fn read<T>(
        &self,
        body: &[u8],
        read: impl FnOnce(DatumDeserializer<'_, '_, SliceRead<'_>>) -> Result<T, DeError>,
    ) -> Result<T, CodecError> {
        let mut config = DeserializerConfig::new(&self.avro);
        config.max_seq_size = ITEMS_MAX;
        config.allowed_depth = DEPTH_MAX;
        let mut state = DeserializerState::with_config(SliceRead::new(body), config);
        let value = read(state.deserializer()).map_err(|error| self.misfit(error.to_string()))?;
        let mut rest = [0_u8; 1];
        match state.into_reader().read(&mut rest) {
            Ok(0) => Ok(value),
            _ => Err(self.misfit("bytes follow after the end of the record".to_owned())),
        }
    }

    fn misfit(&self, reason: String) -> CodecError {
        CodecError::Body { schema: self.full_name.clone(), reason }
    }
}

/// Encodes a record's body in this build's schema.
///
/// # Errors
/// When a value does not fit its schema.
pub fn encode_record<T: AvroRecord>(record: &T) -> Result<Vec<u8>, CodecError> {
    let schema = T::schema();
    let mut config = SerializerConfig::new(&schema.avro);
    serde_avro_fast::to_datum_vec(record, &mut config).map_err(|error| schema.misfit(error.to_string()))
}

/// Puts the frame before a body: magic byte 0, schema id, body.
pub fn frame(schema_id: u32, body: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(FRAME_LENGTH + body.len());
    framed.push(0);
    framed.extend_from_slice(&schema_id.to_be_bytes());
    framed.extend_from_slice(body);
    framed
}

/// Takes the frame off: the schema id and the body.
///
/// # Errors
/// [`CodecError::NotFramed`].
pub fn unframe(value: &[u8]) -> Result<(u32, &[u8]), CodecError> {
    match value {
        [0, a, b, c, d, body @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        _ => Err(CodecError::NotFramed(value.len())),
    }
}
