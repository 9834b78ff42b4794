//! Avro bodies to JSON, bounded whatever the bytes say.

use std::cell::Cell;
use std::fmt;

use apache_avro::schema::{ResolvedSchema, Schema};
use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_avro_fast::de::read::SliceRead;
use serde_avro_fast::de::{DeserializerConfig, DeserializerState};
use serde_json::{Map, Value};

use super::Names;
use crate::CodecError;

/// More values than this in one record are refused: bytes that claim a billion nulls must not fill the memory.
const VALUES_MAX: usize = 1_000_000;
/// Deeper nesting than this is refused.
const DEPTH_MAX: usize = 32;

/// Reads bodies of one writer's schema as JSON, with times as RFC 3339 text.
#[derive(Debug)]
pub struct JsonReader {
    full_name: String,
    bytes: serde_avro_fast::Schema,
    shape: Schema,
}

impl JsonReader {
    /// Parses the JSON of a schema.
    ///
    /// # Errors
    /// When it is not a schema.
    pub fn parse(avsc: &str) -> Result<Self, CodecError> {
        let refuse = |error: String| CodecError::Schema(error);
        let bytes =
            avsc.parse().map_err(|error: serde_avro_fast::schema::SchemaError| refuse(error.to_string()))?;
        let shape = Schema::parse_str(avsc).map_err(|error| refuse(error.to_string()))?;
        let full_name = shape.name().map(|name| name.fullname(None)).unwrap_or_default();
        Ok(Self { full_name, bytes, shape })
    }

    /// Decodes a body, without frame.
    ///
    /// # Errors
    /// When the bytes do not fit the schema, end early, go on after its end, are too deep or hold too many values.
    pub fn read(&self, body: &[u8]) -> Result<Value, CodecError> {
        let mut config = DeserializerConfig::new(&self.bytes);
        config.max_seq_size = VALUES_MAX;
        config.allowed_depth = DEPTH_MAX;
        let mut state = DeserializerState::with_config(SliceRead::new(body), config);
        let left = Cell::new(VALUES_MAX);
        let whole = Bounded { left: &left, bytes: characters };
        let raw = whole.deserialize(state.deserializer()).map_err(|e| self.misfit(e))?;
        if std::io::Read::read(&mut state.into_reader(), &mut [0_u8]).ok() != Some(0) {
            return Err(self.misfit("bytes follow after the end of the record"));
        }
        let resolved = ResolvedSchema::try_from(&self.shape).map_err(|e| self.misfit(e))?;
        Ok(readable(resolved.get_names(), &self.shape, raw))
    }

    fn misfit(&self, reason: impl fmt::Display) -> CodecError {
        CodecError::Body { schema: self.full_name.clone(), reason: reason.to_string() }
    }
}

/// A record as it was written, with its numbers as they are, for a type that is made of it next: bytes are text there, or
/// nothing.
pub(crate) fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map_or(Value::Null, Value::from);
    Bounded { left: &Cell::new(VALUES_MAX), bytes: text }.deserialize(deserializer)
}

/// Any value, counted.
#[derive(Clone, Copy)]
struct Bounded<'c> {
    left: &'c Cell<usize>,
    /// How bytes are written in JSON.
    bytes: fn(&[u8]) -> Value,
}

/// As in Avro's own JSON: each byte is a character.
fn characters(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into()
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| D::Error::custom(format!("more than {VALUES_MAX} values")))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an Avro value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Value, E> {
        Ok((self.bytes)(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            object.insert(key, entries.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

/// The value with its times as text, wherever the schema says that a number is a time.
fn readable(names: &Names<'_>, schema: &Schema, raw: Value) -> Value {
    match (schema, raw) {
        (Schema::TimestampMicros, Value::Number(number)) => time(number, DateTime::from_timestamp_micros),
        (Schema::TimestampMillis, Value::Number(number)) => time(number, DateTime::from_timestamp_millis),
        (Schema::TimestampNanos, Value::Number(number)) => {
            time(number, |nanos| Some(DateTime::from_timestamp_nanos(nanos)))
        }
        (Schema::Array(array), Value::Array(items)) => {
            items.into_iter().map(|item| readable(names, &array.items, item)).collect()
        }
        (Schema::Map(map), Value::Object(entries)) => {
            entries.into_iter().map(|(key, item)| (key, readable(names, &map.types, item))).collect()
        }
        (Schema::Record(record), Value::Object(fields)) => {
            let field = |name: &str| record.lookup.get(name).and_then(|index| record.fields.get(*index));
            let read = |(name, item): (String, Value)| match field(&name) {
                Some(field) => (name, readable(names, &field.schema, item)),
                None => (name, item),
            };
            fields.into_iter().map(read).collect()
        }
        (Schema::Union(union), raw) => {
            let branch = union.variants().iter().find(|variant| holds(names, variant, &raw));
            branch.map_or(raw.clone(), |branch| readable(names, branch, raw))
        }
        (Schema::Ref { name }, raw) => match names.get(name) {
            Some(schema) => readable(names, schema, raw),
            None => raw,
        },
        (_, raw) => raw,
    }
}

/// Whether a branch of a union looks like the one that a value came from.
fn holds(names: &Names<'_>, schema: &Schema, raw: &Value) -> bool {
    match schema {
        Schema::Ref { name } => names.get(name).is_some_and(|schema| holds(names, schema, raw)),
        Schema::Null => raw.is_null(),
        Schema::Array(_) => raw.is_array(),
        Schema::Record(record) => raw
            .as_object()
            .is_some_and(|object| object.keys().eq(record.fields.iter().map(|field| &field.name))),
        Schema::Map(_) => raw.is_object(),
        Schema::Int
        | Schema::Long
        | Schema::TimestampMicros
        | Schema::TimestampMillis
        | Schema::TimestampNanos => raw.is_i64(),
        _ => true,
    }
}

/// RFC 3339, or the number itself beyond the years that RFC 3339 can write.
fn time(number: serde_json::Number, time: impl Fn(i64) -> Option<DateTime<Utc>>) -> Value {
    let time = number.as_i64().and_then(time).filter(|time| (0..=9999).contains(&time.year()));
    time.map_or(Value::Number(number), |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into())
}
