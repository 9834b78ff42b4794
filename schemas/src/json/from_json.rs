//! JSON to Avro values, checked by schema.

use apache_avro::schema::{EnumSchema, FixedSchema, RecordField, RecordSchema, Schema, UnionSchema};
use apache_avro::types::Value as Avro;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{ERRORS_MAX, JsonError, JsonErrors, Names, Problem};

/// Longer values are shortened in messages.
const FOUND_MAX: usize = 80;

/// The Avro value of a JSON value, or all that is wrong with it.
pub(super) fn value(names: &Names<'_>, schema: &Schema, json: &Value) -> Result<Avro, JsonErrors> {
    match schema {
        Schema::Array(array) => items(names, &array.items, json),
        Schema::Map(map) => entries(names, &map.types, json),
        Schema::Union(union) => branch(names, union, json),
        Schema::Record(record) => fields(names, record, json),
        Schema::Ref { name } => match names.get(name) {
            Some(named) => value(names, named, json),
            None => Err(JsonError::here(Problem::Unsupported(name.fullname(None))).into()),
        },
        scalar => Ok(self::scalar(scalar, json)?),
    }
}

/// A value that has no values inside.
fn scalar(schema: &Schema, json: &Value) -> Result<Avro, JsonError> {
    match schema {
        Schema::Null => json.is_null().then_some(Avro::Null).ok_or_else(|| misfit("null", json)),
        Schema::Boolean => json.as_bool().map(Avro::Boolean).ok_or_else(|| misfit("true or false", json)),
        Schema::Int => int(json).map(Avro::Int),
        Schema::Long => long(json).map(Avro::Long),
        Schema::Float => float(json).map(Avro::Float),
        Schema::Double => json.as_f64().map(Avro::Double).ok_or_else(|| misfit("a number", json)),
        Schema::String => text(json).map(|text| Avro::String(text.to_owned())),
        Schema::Bytes => bytes(json).map(Avro::Bytes),
        Schema::Fixed(fixed) => fixed_bytes(fixed, json),
        Schema::Enum(symbols) => symbol(symbols, json),
        Schema::TimestampMicros => time(json, DateTime::timestamp_micros).map(Avro::TimestampMicros),
        Schema::TimestampMillis => time(json, DateTime::timestamp_millis).map(Avro::TimestampMillis),
        other => Err(JsonError::here(Problem::Unsupported(format!("{other:?}")))),
    }
}

/// All values, or the first problems of all of them.
fn all<T>(values: impl Iterator<Item = Result<T, JsonErrors>>) -> Result<Vec<T>, JsonErrors> {
    let (mut good, mut problems) = (Vec::new(), Vec::new());
    for value in values {
        match value {
            Ok(value) => good.push(value),
            Err(JsonErrors(more)) => problems.extend(more),
        }
        if problems.len() >= ERRORS_MAX {
            problems.truncate(ERRORS_MAX);
            break;
        }
    }
    if problems.is_empty() { Ok(good) } else { Err(JsonErrors(problems)) }
}

/// A value that is not what the schema asks for.
pub(super) fn misfit(expected: &str, found: &Value) -> JsonError {
    JsonError::here(Problem::Type { expected: expected.to_owned(), found: shortened(found) })
}

fn shortened(found: &Value) -> String {
    let mut text = found.to_string();
    if let Some((cut, _)) = text.char_indices().nth(FOUND_MAX) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

fn out_of_range(expected: &'static str, found: &Value) -> JsonError {
    JsonError::here(Problem::Range { expected, found: shortened(found) })
}

fn long(json: &Value) -> Result<i64, JsonError> {
    match json.as_i64() {
        Some(number) => Ok(number),
        // What does not fit in 64 bits was read as a float.
        None if json.as_f64().is_some_and(|number| number.abs() >= 9.2e18) => {
            Err(out_of_range("-9223372036854775808 to 9223372036854775807", json))
        }
        None => Err(misfit("a whole number", json)),
    }
}

fn int(json: &Value) -> Result<i32, JsonError> {
    i32::try_from(long(json)?).map_err(|_| out_of_range("-2147483648 to 2147483647", json))
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the nearest float is what is asked for; infinity is refused"
)]
fn float(json: &Value) -> Result<f32, JsonError> {
    let number = json.as_f64().ok_or_else(|| misfit("a number", json))? as f32;
    if number.is_finite() { Ok(number) } else { Err(out_of_range("a 32-bit float", json)) }
}

fn text(json: &Value) -> Result<&str, JsonError> {
    json.as_str().ok_or_else(|| misfit("text", json))
}

fn bytes(json: &Value) -> Result<Vec<u8>, JsonError> {
    let byte = |character: char| u8::try_from(u32::from(character)).ok();
    let bytes: Option<Vec<u8>> = text(json)?.chars().map(byte).collect();
    bytes.ok_or_else(|| misfit("text whose characters are bytes (U+0000 to U+00FF)", json))
}

fn fixed_bytes(fixed: &FixedSchema, json: &Value) -> Result<Avro, JsonError> {
    let bytes = bytes(json)?;
    if bytes.len() == fixed.size {
        return Ok(Avro::Fixed(fixed.size, bytes));
    }
    Err(misfit(&format!("text of exactly {} bytes", fixed.size), json))
}

fn symbol(symbols: &EnumSchema, json: &Value) -> Result<Avro, JsonError> {
    let name = text(json)?;
    let index = symbols.symbols.iter().position(|symbol| symbol == name).and_then(|i| u32::try_from(i).ok());
    let index = index.ok_or_else(|| misfit(&format!("one of {}", symbols.symbols.join(", ")), json))?;
    Ok(Avro::Enum(index, name.to_owned()))
}

/// RFC 3339 text, or the number that Avro holds.
fn time(json: &Value, number: impl Fn(&DateTime<Utc>) -> i64) -> Result<i64, JsonError> {
    let Value::String(text) = json else {
        return json
            .as_i64()
            .ok_or_else(|| misfit("a time such as 1996-07-04T00:00:00Z, or a whole number", json));
    };
    let refuse = || JsonError::here(Problem::Time(shortened_text(text)));
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| refuse())?.to_utc();
    // Finer than a microsecond would be lost in silence.
    let exact = time.timestamp_subsec_nanos() % 1_000 == 0;
    exact.then(|| number(&time)).ok_or_else(refuse)
}

fn shortened_text(text: &str) -> String {
    text.chars().take(FOUND_MAX).collect()
}

fn items(names: &Names<'_>, schema: &Schema, json: &Value) -> Result<Avro, JsonErrors> {
    let items = json.as_array().ok_or_else(|| misfit("a list", json))?;
    let item = |(index, item)| value(names, schema, item).map_err(|errors| errors.in_item(index));
    all(items.iter().enumerate().map(item)).map(Avro::Array)
}

fn entries(names: &Names<'_>, schema: &Schema, json: &Value) -> Result<Avro, JsonErrors> {
    let entries = json.as_object().ok_or_else(|| misfit("an object", json))?;
    let entry = |(key, item): (&String, &Value)| match value(names, schema, item) {
        Ok(value) => Ok((key.clone(), value)),
        Err(errors) => Err(errors.in_field(&shortened_text(key))),
    };
    all(entries.iter().map(entry)).map(|entries| Avro::Map(entries.into_iter().collect()))
}

/// The first branch that takes the value; of two branches where one is null, the other's problems are reported.
fn branch(names: &Names<'_>, union: &UnionSchema, json: &Value) -> Result<Avro, JsonErrors> {
    let mut problems = None;
    for (index, schema) in (0_u32..).zip(union.variants()) {
        match value(names, schema, json) {
            Ok(value) => return Ok(Avro::Union(index, Box::new(value))),
            Err(_) if matches!(schema, Schema::Null) => (),
            Err(errors) => problems = problems.or(Some(errors)),
        }
    }
    Err(problems.unwrap_or_else(|| misfit("null", json).into()))
}

fn fields(names: &Names<'_>, record: &RecordSchema, json: &Value) -> Result<Avro, JsonErrors> {
    let object = json.as_object().ok_or_else(|| misfit("an object", json))?;
    let unknown = object.keys().filter(|name| !record.lookup.contains_key(*name));
    let unknown = unknown.map(|name| Err(unknown_field(record, name).into()));
    let field = |field: &RecordField| match field_value(names, record, field, object) {
        Ok(value) => Ok((field.name.clone(), value)),
        Err(errors) => Err(errors.in_field(&field.name)),
    };
    all(unknown.chain(record.fields.iter().map(field))).map(Avro::Record)
}

fn field_value(
    names: &Names<'_>,
    record: &RecordSchema,
    field: &RecordField,
    object: &Map<String, Value>,
) -> Result<Avro, JsonErrors> {
    let given = object.get(&field.name).or(field.default.as_ref());
    let missing = || JsonError::here(Problem::Missing(record.name.name.clone()));
    value(names, &field.schema, given.ok_or_else(missing)?)
}

fn unknown_field(record: &RecordSchema, name: &str) -> JsonError {
    let fields: Vec<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
    let problem = Problem::Unknown { record: record.name.name.clone(), fields: fields.join(", ") };
    JsonError::here(problem).in_field(&shortened_text(name))
}
