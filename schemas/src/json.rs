//! JSON to Avro and back, by schema: how people write commands and read events.
//!
//! Times are RFC 3339 text in JSON and microseconds in Avro; bytes are text whose characters are the bytes (as in
//! Avro's own JSON). Everything else is what it looks like.

mod from_json;
mod to_json;

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use apache_avro::schema::{Name, ResolvedSchema, Schema};
use serde_json::Value;

use crate::{CodecError, DEFINITIONS, Definition};
pub use to_json::JsonReader;
pub(crate) use to_json::raw;

/// Why a JSON value is not a record of the contract: the place and the problem there.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct JsonError {
    /// Such as `lines[2].quantity`.
    pub place: Place,
    /// What is wrong there.
    pub problem: Problem,
}

/// Problems that are reported of one value, at most: a list of a million wrong items must not fill the memory.
pub const ERRORS_MAX: usize = 50;

/// Every problem of a JSON value that is not a record of the contract: at least one, and at most [`ERRORS_MAX`].
#[derive(Debug, PartialEq)]
pub struct JsonErrors(Vec<JsonError>);

impl std::error::Error for JsonErrors {}

impl fmt::Display for JsonErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl From<JsonError> for JsonErrors {
    fn from(error: JsonError) -> Self {
        Self(vec![error])
    }
}

/// What is wrong with a JSON value.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// A value of another type.
    #[error("must be {expected}, not {found}")]
    Type {
        /// What the schema asks for.
        expected: String,
        /// What is there, shortened.
        found: String,
    },
    /// A number or a time that the type cannot hold.
    #[error("{found} is out of range: must be {expected}")]
    Range {
        /// The limits.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// Text that is not a time.
    #[error(
        "`{0}` is not a time: write RFC 3339 with a zone and at most six digits of a second, such as 1996-07-04T00:00:00Z"
    )]
    Time(String),
    /// A field without default is not there.
    #[error("is missing: `{0}` needs it")]
    Missing(String),
    /// A field that the schema does not have.
    #[error("is not a field of `{record}`, which has: {fields}")]
    Unknown {
        /// Name of the record type.
        record: String,
        /// The fields that it has.
        fields: String,
    },
    /// The schema uses an Avro type that has no JSON form here.
    #[error("has the Avro type {0}, which cannot be written as JSON")]
    Unsupported(String),
    /// The encoder refused what was checked before: a mistake in Millrace.
    #[error("could not be encoded: {0}")]
    Encoder(String),
}

/// The way from a record to a value inside it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Place(Vec<Step>);

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Item(usize),
}

impl Place {
    /// Whether it is the record itself.
    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the record");
        }
        // Steps were added from the inside out.
        for (index, step) in self.0.iter().rev().enumerate() {
            match step {
                Step::Field(name) if index == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

impl JsonError {
    fn here(problem: Problem) -> Self {
        Self { place: Place::default(), problem }
    }

    fn in_field(mut self, name: &str) -> Self {
        self.place.0.push(Step::Field(name.to_owned()));
        self
    }

    fn in_item(mut self, index: usize) -> Self {
        self.place.0.push(Step::Item(index));
        self
    }
}

impl JsonErrors {
    /// The problems, in the order of the schema; unknown fields first.
    pub fn iter(&self) -> impl Iterator<Item = &JsonError> {
        self.0.iter()
    }

    fn in_field(self, name: &str) -> Self {
        Self(self.0.into_iter().map(|error| error.in_field(name)).collect())
    }

    fn in_item(self, index: usize) -> Self {
        Self(self.0.into_iter().map(|error| error.in_item(index)).collect())
    }
}

/// Named types of a schema.
type Names<'s> = HashMap<Name, &'s Schema>;

/// A definition's schema, ready for walking.
struct Shape {
    schema: &'static Schema,
    resolved: ResolvedSchema<'static>,
}

/// The shape of every definition, by full name.
fn shape(definition: &Definition) -> Option<&'static Shape> {
    static SCHEMAS: LazyLock<Vec<Schema>> =
        LazyLock::new(|| DEFINITIONS.iter().filter_map(|d| Schema::parse_str(d.avsc).ok()).collect());
    static SHAPES: LazyLock<HashMap<String, Shape>> = LazyLock::new(|| {
        let shapes = SCHEMAS.iter().filter_map(|schema| {
            let resolved = ResolvedSchema::try_from(schema).ok()?;
            Some((schema.name()?.fullname(None), Shape { schema, resolved }))
        });
        shapes.collect()
    });
    SHAPES.get(definition.full_name)
}

/// Encodes a JSON object as the body (without frame) of a record. Fields that have a default may be missing.
///
/// # Errors
/// Every place that does not fit the schema: an unknown or missing field, a wrong type, a number out of range.
pub fn encode_json(definition: &Definition, json: &Value) -> Result<Vec<u8>, JsonErrors> {
    let unknown = || JsonError::here(Problem::Unsupported(definition.full_name.to_owned()));
    let Shape { schema, resolved } = shape(definition).ok_or_else(unknown)?;
    let value = from_json::value(resolved.get_names(), schema, json)?;
    apache_avro::to_avro_datum(schema, value)
        .map_err(|error| JsonError::here(Problem::Encoder(error.to_string())).into())
}

/// The Kafka key of a record: the text of its key field.
///
/// # Errors
/// When the field is missing or is not text.
pub fn key_of<'j>(definition: &Definition, json: &'j Value) -> Result<&'j str, JsonError> {
    let missing = || JsonError::here(Problem::Missing(definition.name.to_owned())).in_field(definition.key);
    let key = json.get(definition.key).ok_or_else(missing)?;
    key.as_str().ok_or_else(|| from_json::misfit("text", key).in_field(definition.key))
}

/// Decodes a body (without frame) that was written with the schema `avsc`.
///
/// For many bodies of one schema make a [`JsonReader`].
///
/// # Errors
/// When the schema is none or the bytes do not fit it, are too deep or too many.
pub fn decode_json(avsc: &str, body: &[u8]) -> Result<Value, CodecError> {
    JsonReader::parse(avsc)?.read(body)
}
