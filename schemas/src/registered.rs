//! Schemas as registries keep them: spread over references, several record types in a union at the top, renamed with
//! aliases. Each record type is made whole, so that one text says all of it.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::{CodecError, DEFINITIONS, Definition};

/// No schema of practice has more text than this.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Types inside types; bodies are not read any deeper.
const DEPTH_MAX: usize = 32;
/// An index of a union takes at most so many bytes.
const INDEX_BYTES_MAX: usize = 10;
/// Values that take no bytes, inside one type.
const NOTHINGS_MAX: usize = 1_000;
/// Where types without a namespace stand: inside a type that has one they would be taken for types of its namespace.
const NO_NAMESPACE: &str = "none";

/// A schema of the registry: a record type, or a union of several. `S` is what each of them was parsed to.
#[derive(Debug)]
pub struct Registered<S> {
    union: bool,
    branches: Vec<Branch<S>>,
}

#[derive(Debug)]
struct Branch<S> {
    name: String,
    /// `None` for what is no record of the contract.
    schema: Option<S>,
}

impl<S> Registered<S> {
    /// Parses the JSON of a schema, with that of all schemas to which it refers, each before those that refer to it.
    ///
    /// # Errors
    /// When it is not the schema of a record or of a union, or `parse` says so.
    pub fn parse(
        avsc: &str,
        references: &[String],
        parse: impl Fn(&str) -> Result<S, CodecError>,
    ) -> Result<Self, CodecError> {
        let size = references.iter().map(String::len).sum::<usize>() + avsc.len();
        if size > TEXT_BYTES_MAX {
            return Err(refuse(format!("it has {size} bytes, at most {TEXT_BYTES_MAX} are read")));
        }
        let mut types = Types::default();
        for reference in references {
            types.learn(&json(reference)?, "")?;
        }
        let root = json(avsc)?;
        let plain = references.is_empty() && root.is_object() && !avsc.contains("\"aliases\"");
        match types.learn(&root, "")? {
            Value::Array(branches) => {
                let branch = |branch: &Value| types.branch(branch, &parse, in_contract);
                let branches = branches.iter().map(branch).collect::<Result<_, _>>()?;
                Ok(Self { union: true, branches })
            }
            root if plain => {
                let branch = Branch { name: name_of(&root).to_owned(), schema: Some(parse(avsc)?) };
                Ok(Self { union: false, branches: vec![branch] })
            }
            root => {
                let branch = types.branch(&root, &parse, |_| true)?;
                Ok(Self { union: false, branches: vec![branch] })
            }
        }
    }

    /// The record type of a body, and the record's own bytes.
    ///
    /// # Errors
    /// [`CodecError::UnknownType`] when it is no record of the contract, [`CodecError::Body`] when it names no type.
    pub fn open<'b>(&self, body: &'b [u8]) -> Result<(&S, &'b [u8]), CodecError> {
        let (index, rest) = if self.union { index(body)? } else { (0, body) };
        let branch = usize::try_from(index).ok().and_then(|index| self.branches.get(index));
        let branch = branch.ok_or_else(|| misfit(format!("the union has no branch {index}")))?;
        let unknown = || CodecError::UnknownType(branch.name.clone());
        Ok((branch.schema.as_ref().ok_or_else(unknown)?, rest))
    }
}

fn in_contract(name: &str) -> bool {
    DEFINITIONS.iter().any(|definition| definition.full_name == name)
}

fn refuse(reason: impl Into<String>) -> CodecError {
    CodecError::Schema(reason.into())
}

fn misfit(reason: String) -> CodecError {
    CodecError::Body { schema: "union".to_owned(), reason }
}

fn json(text: &str) -> Result<Value, CodecError> {
    serde_json::from_str(text).map_err(|error| refuse(error.to_string()))
}

/// The zigzag number at the beginning of a union, and what follows.
fn index(body: &[u8]) -> Result<(i64, &[u8]), CodecError> {
    let mut value = 0_u64;
    for (place, byte) in body.iter().take(INDEX_BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let index = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
            return Ok((index, body.get(place + 1..).unwrap_or_default()));
        }
    }
    Err(misfit("it does not begin with the index of a union".to_owned()))
}

/// Named types by their full names, whose parts name each other by full names only.
#[derive(Default)]
struct Types {
    named: HashMap<String, Value>,
    /// Those that take no bytes, and how many values each has.
    nothing: HashMap<String, usize>,
}

impl Types {
    /// Keeps the named types inside `schema`, and says it anew with their full names in their places.
    fn learn(&mut self, schema: &Value, namespace: &str) -> Result<Value, CodecError> {
        match schema {
            Value::String(name) => Ok(Value::from(full_name(name, namespace))),
            Value::Array(branches) => branches.iter().map(|branch| self.learn(branch, namespace)).collect(),
            Value::Object(fields) => self.learn_type(fields, namespace),
            other => Err(refuse(format!("`{other}` is no type"))),
        }
    }

    fn learn_type(&mut self, fields: &Map<String, Value>, namespace: &str) -> Result<Value, CodecError> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        match text("type") {
            Some("record" | "error" | "enum" | "fixed") => {
                let name = text("name").ok_or_else(|| refuse("it has no name"))?;
                let name = full_name(name, text("namespace").unwrap_or(namespace));
                let inner = name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
                let mut known = fields.clone();
                known.remove("namespace");
                known.insert("name".to_owned(), Value::from(name.as_str()));
                if let Some(fields) = fields.get("fields").and_then(Value::as_array) {
                    let fields: Result<Vec<Value>, _> =
                        fields.iter().map(|field| self.learn_in(field, "type", inner)).collect();
                    known.insert("fields".to_owned(), Value::from(fields?));
                }
                self.weigh(&name, &known)?;
                self.named.insert(name.clone(), Value::Object(known));
                Ok(Value::from(name))
            }
            Some("array") => {
                let array = self.learn_in(&Value::from(fields.clone()), "items", namespace)?;
                if array.get("items").is_some_and(|items| self.nothings(items).is_some()) {
                    let why = "items of an array take no bytes, so that a short record could claim any number of them";
                    return Err(refuse(why));
                }
                Ok(array)
            }
            Some("map") => self.learn_in(&Value::from(fields.clone()), "values", namespace),
            Some(name) if PRIMITIVES.contains(&name) => Ok(Value::from(fields.clone())),
            Some(name) => Ok(Value::from(full_name(name, namespace))),
            None => self.learn(fields.get("type").unwrap_or(&Value::Null), namespace),
        }
    }

    fn learn_in(&mut self, whole: &Value, part: &str, namespace: &str) -> Result<Value, CodecError> {
        let mut whole = whole.clone();
        let learned = self.learn(whole.get(part).unwrap_or(&Value::Null), namespace)?;
        if let Some(whole) = whole.as_object_mut() {
            whole.insert(part.to_owned(), learned);
        }
        Ok(whole)
    }

    /// How many values a type has that takes no bytes; `None` for one that takes some.
    fn nothings(&self, schema: &Value) -> Option<usize> {
        match schema {
            Value::String(name) if name == "null" => Some(1),
            Value::String(name) => self.nothing.get(name).copied(),
            Value::Object(fields) => (fields.get("type")? == "null").then_some(1),
            _ => None,
        }
    }

    /// Remembers a named type that takes no bytes: with such types inside each other a short record would hold any number
    /// of values.
    fn weigh(&mut self, name: &str, known: &Map<String, Value>) -> Result<(), CodecError> {
        let fields = known.get("fields").and_then(Value::as_array).into_iter().flatten();
        let nothings = match known.get("size") {
            Some(size) => (size == 0).then_some(1),
            None if known.contains_key("symbols") => None,
            None => fields.map(|field| self.nothings(field.get("type")?)).sum(),
        };
        match nothings {
            Some(values) if values > NOTHINGS_MAX => Err(refuse(format!(
                "`{name}` has {values} values that take no bytes, at most {NOTHINGS_MAX} are read"
            ))),
            Some(values) => {
                self.nothing.insert(name.to_owned(), values + 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn branch<S>(
        &self,
        root: &Value,
        parse: impl Fn(&str) -> Result<S, CodecError>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Branch<S>, CodecError> {
        let Some(known) = root.as_str().and_then(|name| self.named.get(name)) else {
            return Ok(Branch { name: name_of(root).to_owned(), schema: None });
        };
        let reader = reader_of(known);
        let name = reader.map_or(name_of(known), |definition| definition.full_name).to_owned();
        if !wanted(&name) {
            return Ok(Branch { name, schema: None });
        }
        let mut whole = self.whole(root, &mut HashSet::new(), 0)?;
        if let Some(definition) = reader {
            call_as_we_do(&mut whole, &json(definition.avsc)?);
        }
        if let Some(whole) = whole.as_object_mut() {
            whole.insert("name".to_owned(), Value::from(name.as_str()));
        }
        Ok(Branch { name, schema: Some(parse(&whole.to_string())?) })
    }

    /// A type with everything that it is made of: each named type where it is met first.
    fn whole(&self, schema: &Value, met: &mut HashSet<String>, depth: usize) -> Result<Value, CodecError> {
        if depth > DEPTH_MAX {
            return Err(refuse(format!("types are nested more than {DEPTH_MAX} deep")));
        }
        let mut part = |schema: &Value| self.whole(schema, met, depth + 1);
        match schema {
            Value::Array(branches) => branches.iter().map(part).collect(),
            Value::Object(fields) => {
                let mut fields = fields.clone();
                for place in ["items", "values"] {
                    if let Some(inner) = fields.get_mut(place) {
                        *inner = part(inner)?;
                    }
                }
                Ok(Value::Object(fields))
            }
            Value::String(name) => match self.named.get(name) {
                Some(_) if met.contains(name) => Ok(Value::from(written(name))),
                Some(known) => {
                    met.insert(name.clone());
                    self.whole_type(name, known, met, depth)
                }
                None => Ok(schema.clone()),
            },
            other => Err(refuse(format!("`{other}` is no type"))),
        }
    }

    fn whole_type(
        &self,
        name: &str,
        known: &Value,
        met: &mut HashSet<String>,
        depth: usize,
    ) -> Result<Value, CodecError> {
        let mut whole = known.clone();
        for field in whole.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(type_) = field.get_mut("type") {
                *type_ = self.whole(type_, met, depth + 1)?;
            }
        }
        if let Some(whole) = whole.as_object_mut() {
            whole.insert("name".to_owned(), Value::from(written(name)));
        }
        Ok(whole)
    }
}

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// Primitive types have no namespace.
fn full_name(name: &str, namespace: &str) -> String {
    match name.strip_prefix('.') {
        Some(bare) => bare.to_owned(),
        None if namespace.is_empty() || name.contains('.') || PRIMITIVES.contains(&name) => name.to_owned(),
        None => format!("{namespace}.{name}"),
    }
}

fn written(name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("{NO_NAMESPACE}.{name}") }
}

fn name_of(schema: &Value) -> &str {
    schema.as_str().or_else(|| schema.get("name").and_then(Value::as_str)).unwrap_or("a type without name")
}

/// The full names that a type, or the names that a field, also goes by.
fn aliases<'v>(named: &'v Value, namespace: &'v str) -> impl Iterator<Item = String> + 'v {
    let aliases = named.get("aliases").and_then(Value::as_array).into_iter().flatten();
    aliases.filter_map(Value::as_str).map(move |alias| full_name(alias, namespace))
}

/// The record type of the contract that a writer's type is, by its name or by an alias of either.
fn reader_of(writer: &Value) -> Option<&'static Definition> {
    let name = name_of(writer);
    let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
    let known = |name: &str| DEFINITIONS.iter().find(|definition| definition.full_name == name);
    known(name).or_else(|| aliases(writer, namespace).find_map(|alias| known(&alias))).or_else(|| {
        DEFINITIONS.iter().filter(|definition| definition.avsc.contains("\"aliases\"")).find(|definition| {
            let Ok(reader) = json(definition.avsc) else { return false };
            let namespace = definition.full_name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
            aliases(&reader, namespace).any(|alias| alias == name)
        })
    })
}

/// Gives the fields of a writer's record, and of those inside it, the names that the reader has for them.
fn call_as_we_do(writer: &mut Value, reader: &Value) {
    match (writer, reader) {
        (Value::Array(branches), reader) => {
            branches.iter_mut().for_each(|branch| call_as_we_do(branch, reader));
        }
        (writer, Value::Array(branches)) => {
            branches.iter().for_each(|branch| call_as_we_do(writer, branch));
        }
        (Value::Object(writer), Value::Object(reader)) => {
            for part in ["items", "values"] {
                if let (Some(writer), Some(reader)) = (writer.get_mut(part), reader.get(part)) {
                    call_as_we_do(writer, reader);
                }
            }
            let ours = reader.get("fields").and_then(Value::as_array);
            let theirs = writer.get_mut("fields").and_then(Value::as_array_mut);
            if let (Some(theirs), Some(ours)) = (theirs, ours) {
                rename(theirs, ours);
            }
        }
        _ => {}
    }
}

fn rename(theirs: &mut [Value], ours: &[Value]) {
    let taken: HashSet<String> = theirs.iter().map(|field| name_of(field).to_owned()).collect();
    for field in theirs {
        let name = name_of(field).to_owned();
        let own = ours.iter().find(|own| name_of(own) == name);
        let own = own.or_else(|| ours.iter().find(|own| aliases(own, "").any(|alias| alias == name)));
        let own = own.or_else(|| {
            let also: Vec<String> = aliases(field, "").filter(|alias| !taken.contains(alias)).collect();
            ours.iter().find(|own| also.iter().any(|alias| alias == name_of(own)))
        });
        let (Some(own), Some(field)) = (own, field.as_object_mut()) else { continue };
        field.insert("name".to_owned(), Value::from(name_of(own)));
        if let (Some(theirs), Some(ours)) = (field.get_mut("type"), own.get("type")) {
            call_as_we_do(theirs, ours);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::WriterSchema;
    use crate::orders::ConfirmOrder;

    fn parsed(schema: &Value, references: &[Value]) -> Result<Registered<WriterSchema>, CodecError> {
        let references: Vec<String> = references.iter().map(Value::to_string).collect();
        Registered::parse(&schema.to_string(), &references, WriterSchema::parse)
    }

    fn order(schema: &Registered<WriterSchema>, body: &[u8]) -> Result<String, CodecError> {
        let (writer, body) = schema.open(body)?;
        writer.decode::<ConfirmOrder>(body).map(|command| command.order_id)
    }

    fn confirm(field: &Value) -> Value {
        json!({"type": "record", "name": "ConfirmOrder", "namespace": "millrace.orders", "fields": [field]})
    }

    fn plain() -> Value {
        confirm(&json!({"name": "order_id", "type": "string"}))
    }

    const ABC: [u8; 4] = [6, b'a', b'b', b'c'];

    #[test]
    fn a_record_type_is_read_as_it_is() {
        assert_eq!(order(&parsed(&plain(), &[]).unwrap(), &ABC).unwrap(), "abc");
    }

    #[test]
    fn types_of_other_schemas_are_found_by_their_names() {
        let colour = json!({"type": "enum", "name": "Colour", "symbols": ["RED"]});
        let shade = json!({"type": "record", "name": "Shade", "namespace": "acme.paint", "fields": [
            {"name": "colour", "type": ".Colour"}, {"name": "darker", "type": ["null", "Shade"]}]});
        let mut schema = plain();
        let more = json!({"name": "shades", "type": {"type": "array", "items": "acme.paint.Shade"}});
        let fields = schema["fields"].as_array_mut().unwrap();
        fields.insert(0, more);
        fields.insert(1, json!({"name": "first", "type": "acme.paint.Shade"}));
        let schema = parsed(&schema, &[colour, shade]).unwrap();
        // One shade with a darker one; no more; then another.
        let body = [&[2, 0, 2, 0, 0, 0][..], &[0, 0], &ABC].concat();
        assert_eq!(order(&schema, &body).unwrap(), "abc");
    }

    #[test]
    fn a_union_at_the_top_names_the_type_of_each_record() {
        let foreign = json!({"type": "record", "name": "Foreign", "namespace": "acme", "fields": []});
        let schema = parsed(&json!(["null", "acme.Foreign", plain()]), &[foreign]).unwrap();
        assert_eq!(order(&schema, &[&[4][..], &ABC].concat()).unwrap(), "abc");
        let unknown = |body: &[u8]| order(&schema, body).unwrap_err().to_string();
        assert!(unknown(&[2]).contains("acme.Foreign"), "{}", unknown(&[2]));
        assert!(unknown(&[0]).contains("null"));
        for none in [&[6][..], &[1], &[], &[0xff; 11]] {
            assert!(matches!(order(&schema, none), Err(CodecError::Body { .. })), "{none:?}");
        }
    }

    #[test]
    fn aliases_of_the_writer_lead_to_our_names() {
        let renamed = json!({"type": "record", "name": "Confirm", "namespace": "acme",
            "aliases": ["millrace.orders.ConfirmOrder"],
            "fields": [{"name": "id", "type": "string", "aliases": ["order_id"]}]});
        let schema = parsed(&renamed, &[]).unwrap();
        assert_eq!(schema.open(&ABC).unwrap().0.full_name(), "millrace.orders.ConfirmOrder");
        assert_eq!(order(&schema, &ABC).unwrap(), "abc");
        let other = confirm(&json!({"name": "id", "type": "string", "aliases": ["number", "order_id"]}));
        assert_eq!(order(&parsed(&other, &[]).unwrap(), &ABC).unwrap(), "abc");
    }

    #[test]
    fn what_is_no_schema_is_refused_and_never_too_deep_to_read() {
        let mut deep = json!("string");
        for level in 0..60 {
            deep = json!({"type": "record", "name": format!("R{level}"), "fields": [{"name": "f", "type": deep}]});
        }
        let chain: Vec<Value> = (0..1_000)
            .map(|i| {
                let inner = if i == 0 { json!("string") } else { json!(format!("a.R{}", i - 1)) };
                json!({"type": "record", "name": format!("a.R{i}"), "fields": [{"name": "f", "type": inner}]})
            })
            .collect();
        assert!(parsed(&deep, &[]).is_err());
        assert!(parsed(&confirm(&json!({"name": "f", "type": "a.R999"})), &chain).is_err());
        assert!(parsed(&json!({"type": "object", "properties": {}}), &[]).is_err());
        let nothing = parsed(&json!("nothing.Known"), &[]).unwrap();
        assert!(matches!(nothing.open(&ABC), Err(CodecError::UnknownType(_))));
        let mut twice = json!("null");
        let doubled: Vec<Value> = (0..20)
            .map(|i| {
                let fields = ["a", "b"].map(|name| json!({"name": name, "type": twice}));
                twice = json!(format!("a.N{i}"));
                json!({"type": "record", "name": twice, "fields": fields})
            })
            .collect();
        assert!(parsed(&confirm(&json!({"name": "f", "type": "a.N19"})), &doubled).is_err());
        let of_nothing = json!({"name": "f", "type": {"type": "array", "items": "null"}});
        assert!(parsed(&confirm(&of_nothing), &[]).is_err());
        let nested = format!("{}\"null\"{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Registered::parse(&nested, &[], WriterSchema::parse).is_err());
        assert!(Registered::parse(&" ".repeat(2 << 20), &[], WriterSchema::parse).is_err());
    }
}
