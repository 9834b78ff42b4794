//! What a writer's numbers mean. Avro's rules of compatibility look at the types below the logical ones, so a registry calls
//! a schema compatible whose longs count milliseconds where the contract's count microseconds, or cents. Here they are
//! distinguished, once for each writer's schema: an instant in another unit is converted exactly, everything else is refused by
//! name.

use serde_avro_fast::schema::{RegularType, SchemaKey, SchemaMut, SchemaNode};
use serde_json::Value;

use crate::DEFINITIONS;

const MICROS: &str = "timestamp-micros";
const MILLIS: &str = "timestamp-millis";
/// Since Avro 1.12.
const NANOS: &str = "timestamp-nanos";
const NANOS_PER_MICRO: i64 = 1_000;
const MICROS_PER_MILLI: i64 = 1_000;

/// What a writer's schema means beside the contract's of the same name.
#[derive(Debug, PartialEq)]
pub(crate) enum Meaning {
    /// The same; also where the contract has no record of that name.
    Same,
    /// The same in other units.
    Converted(Plan),
    /// Something else: why.
    Other(String),
}

/// Where in a record something is to be converted.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    Keep,
    Instant(Unit),
    /// Of a record: those fields in which something is to be converted.
    Fields(Vec<(String, Plan)>),
    /// Of a list or a map.
    Each(Box<Plan>),
}

/// A unit of time since 1970 that is not the contract's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unit {
    Millis,
    Nanos,
}

impl Meaning {
    /// The meaning of a writer's schema, whose JSON it is too.
    pub(crate) fn of(full_name: &str, theirs: &SchemaMut, avsc: &str) -> Self {
        let known = DEFINITIONS.iter().find(|definition| definition.full_name == full_name);
        match known.filter(|definition| definition.avsc != avsc).map(|definition| definition.avsc.parse()) {
            Some(Ok(ours)) => Self::beside(&ours, theirs),
            // A contract that cannot be parsed fails a test of its own.
            None | Some(Err(_)) => Self::Same,
        }
    }

    fn beside(ours: &SchemaMut, theirs: &SchemaMut) -> Self {
        match compare(Place::root(ours), Place::root(theirs), "") {
            Ok(Plan::Keep) => Self::Same,
            Ok(plan) => Self::Converted(plan),
            Err(reason) => Self::Other(reason),
        }
    }
}

/// A type inside a schema.
#[derive(Clone, Copy)]
struct Place<'s> {
    schema: &'s SchemaMut,
    node: &'s SchemaNode,
}

impl<'s> Place<'s> {
    fn root(schema: &'s SchemaMut) -> Self {
        Self { schema, node: schema.root() }
    }

    fn at(self, key: SchemaKey) -> Option<Self> {
        Some(Self { node: self.schema.get(key)?, ..self })
    }

    /// The types that a value can have here beside null.
    fn branches(self) -> Vec<Self> {
        let RegularType::Union(union) = &self.node.type_ else { return vec![self] };
        let branches = union.variants.iter().filter_map(|key| self.at(*key));
        branches.filter(|branch| !matches!(branch.node.type_, RegularType::Null)).collect()
    }

    /// What its values mean, as a schema has it: the logical type, where Avro heeds it, else the type.
    fn name(self) -> &'s str {
        let logical = self.node.logical_type.as_ref().map(|logical| logical.as_str());
        let is_long = matches!(self.node.type_, RegularType::Long);
        logical.filter(|name| is_long || !name.contains("timestamp")).unwrap_or(self.type_name())
    }

    fn type_name(self) -> &'static str {
        match self.node.type_ {
            RegularType::Null => "null",
            RegularType::Boolean => "boolean",
            RegularType::Int => "int",
            RegularType::Long => "long",
            RegularType::Float => "float",
            RegularType::Double => "double",
            RegularType::Bytes => "bytes",
            RegularType::String => "string",
            RegularType::Array(_) => "array",
            RegularType::Map(_) => "map",
            RegularType::Union(_) => "union",
            RegularType::Record(_) => "record",
            RegularType::Enum(_) => "enum",
            RegularType::Fixed(_) => "fixed",
        }
    }

    /// Whether the name is that of a logical type.
    fn is_logical(self) -> bool {
        self.name() != self.type_name()
    }
}

/// What of their values is to be converted into ours.
fn compare(ours: Place<'_>, theirs: Place<'_>, field: &str) -> Result<Plan, String> {
    let (ours, theirs) = (ours.branches(), theirs.branches());
    // The contract has no unions but optional fields.
    let [ours] = ours.as_slice() else { return Ok(Plan::Keep) };
    match theirs.as_slice() {
        [theirs] => compare_one(*ours, *theirs, field),
        // Which of several types a value had cannot be known any more once it is read.
        several => {
            match several.iter().find(|theirs| compare_one(*ours, **theirs, field) != Ok(Plan::Keep)) {
                Some(other) => Err(differs(*ours, *other, field)),
                None => Ok(Plan::Keep),
            }
        }
    }
}

fn compare_one(ours: Place<'_>, theirs: Place<'_>, field: &str) -> Result<Plan, String> {
    match (&ours.node.type_, &theirs.node.type_) {
        (RegularType::Record(known), RegularType::Record(written)) => {
            let mut fields = Vec::new();
            for known in &known.fields {
                let written = written.fields.iter().find(|written| written.name == known.name);
                let places =
                    written.and_then(|written| Some((ours.at(known.type_)?, theirs.at(written.type_)?)));
                let Some((ours, theirs)) = places else { continue };
                match compare(ours, theirs, &inside(field, &known.name))? {
                    Plan::Keep => {}
                    plan => fields.push((known.name.clone(), plan)),
                }
            }
            Ok(if fields.is_empty() { Plan::Keep } else { Plan::Fields(fields) })
        }
        (RegularType::Array(known), RegularType::Array(written)) => {
            compare_each(ours.at(known.items), theirs.at(written.items), field)
        }
        (RegularType::Map(known), RegularType::Map(written)) => {
            compare_each(ours.at(known.values), theirs.at(written.values), field)
        }
        _ => compare_values(ours, theirs, field),
    }
}

fn compare_each(ours: Option<Place<'_>>, theirs: Option<Place<'_>>, field: &str) -> Result<Plan, String> {
    let Some((ours, theirs)) = ours.zip(theirs) else { return Ok(Plan::Keep) };
    let plan = compare(ours, theirs, &format!("{field}[]"))?;
    Ok(if plan == Plan::Keep { plan } else { Plan::Each(Box::new(plan)) })
}

fn compare_values(ours: Place<'_>, theirs: Place<'_>, field: &str) -> Result<Plan, String> {
    let is_text = |place: Place<'_>| matches!(place.node.type_, RegularType::String);
    match (ours.name(), theirs.name()) {
        (known, written) if known == written => Ok(Plan::Keep),
        (MICROS, MILLIS) => Ok(Plan::Instant(Unit::Millis)),
        (MICROS, NANOS) => Ok(Plan::Instant(Unit::Nanos)),
        // Text is text, whatever is written in it. Types that differ otherwise are promoted or refused when they are read.
        _ if is_text(ours) && is_text(theirs) || !ours.is_logical() && !theirs.is_logical() => Ok(Plan::Keep),
        _ => Err(differs(ours, theirs, field)),
    }
}

fn differs(ours: Place<'_>, theirs: Place<'_>, field: &str) -> String {
    let (known, written) = (ours.name(), theirs.name());
    let way_out = if known == MICROS { format!("{MICROS}, {MILLIS} or {NANOS}") } else { known.to_owned() };
    format!("`{field}` is written as {written} where the contract has {known}: write it as {way_out}")
}

fn inside(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}

impl Plan {
    /// Converts a record that was read by its writer's schema.
    ///
    /// # Errors
    /// When a time does not fit, or not exactly.
    pub(crate) fn convert(&self, value: &mut Value, field: &str) -> Result<(), String> {
        match (self, value) {
            (Self::Instant(unit), Value::Number(number)) => {
                let Some(written) = number.as_i64() else { return Ok(()) };
                *number =
                    unit.micros(written).map_err(|why| format!("`{field}` is {written}: {why}"))?.into();
                Ok(())
            }
            (Self::Fields(plans), Value::Object(fields)) => plans.iter().try_for_each(|(name, plan)| {
                let value = fields.get_mut(name);
                value.map_or(Ok(()), |value| plan.convert(value, &inside(field, name)))
            }),
            (Self::Each(plan), Value::Array(items)) => {
                items.iter_mut().try_for_each(|item| plan.convert(item, &format!("{field}[]")))
            }
            (Self::Each(plan), Value::Object(entries)) => {
                entries.values_mut().try_for_each(|item| plan.convert(item, &format!("{field}[]")))
            }
            // Null, or a value that its reader refuses.
            _ => Ok(()),
        }
    }
}

impl Unit {
    fn micros(self, written: i64) -> Result<i64, &'static str> {
        match self {
            Self::Millis => written
                .checked_mul(MICROS_PER_MILLI)
                .ok_or("so many milliseconds do not fit into timestamp-micros"),
            Self::Nanos if written % NANOS_PER_MICRO == 0 => Ok(written / NANOS_PER_MICRO),
            Self::Nanos => Err("what is finer than a microsecond would be lost in timestamp-micros"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::customers::AssessCustomerRisk;
    use crate::{AvroRecord as _, WriterSchema};

    fn long(logical: &str) -> Value {
        json!({"type": "long", "logicalType": logical})
    }

    /// A record with one field, as deep as it gets.
    fn schema(at: &Value) -> SchemaMut {
        let line =
            json!({"type": "record", "name": "Line", "fields": [{"name": "at", "type": ["null", at]}]});
        let fields = json!([
            {"name": "lines", "type": {"type": "array", "items": line}},
            {"name": "marks", "type": ["null", {"type": "map", "values": at}]},
        ]);
        json!({"type": "record", "name": "Order", "fields": fields}).to_string().parse().expect("a schema")
    }

    fn beside(ours: &Value, theirs: &Value) -> Meaning {
        Meaning::beside(&schema(ours), &schema(theirs))
    }

    #[test]
    fn instants_in_other_units_are_converted_wherever_they_are() {
        for (name, number) in [(MILLIS, 7), (NANOS, 7_000_000)] {
            let Meaning::Converted(plan) = beside(&long(MICROS), &long(name)) else { panic!("{name}") };
            let mut record =
                json!({"lines": [{"at": number}, {"at": null}], "marks": {"a": number}, "other": number});
            assert_eq!(plan.convert(&mut record, ""), Ok(()));
            assert_eq!(record["lines"], json!([{"at": 7_000}, {"at": null}]), "{name}");
            assert_eq!(
                (&record["marks"], &record["other"]),
                (&json!({"a": 7_000}), &json!(number)),
                "{name}"
            );
        }
    }

    #[test]
    fn what_means_something_else_is_refused_by_name() {
        let decimal = json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2});
        let date = json!({"type": "int", "logicalType": "date"});
        let cases = [
            (long(MICROS), json!("long"), "long"),
            (long(MICROS), json!("int"), "int"),
            (long(MICROS), date.clone(), "date"),
            (long(MICROS), long("local-timestamp-micros"), "local-timestamp-micros"),
            (long(MICROS), long("local-timestamp-millis"), "local-timestamp-millis"),
            (long(MICROS), long("time-micros"), "time-micros"),
            (long(MICROS), json!({"type": "int", "logicalType": MILLIS}), "int"),
            (long(MICROS), json!("string"), "string"),
            (json!("long"), long(MICROS), MICROS),
            (json!("long"), long(MILLIS), MILLIS),
            (json!("long"), decimal.clone(), "decimal"),
            (json!("string"), decimal, "decimal"),
            (json!("int"), date, "date"),
            (json!("int"), json!({"type": "int", "logicalType": "time-millis"}), "time-millis"),
        ];
        for (ours, theirs, name) in cases {
            let Meaning::Other(reason) = beside(&ours, &theirs) else { panic!("{name}") };
            assert!(reason.starts_with(&format!("`lines[].at` is written as {name} where")), "{reason}");
        }
    }

    #[test]
    fn what_means_the_same_is_read_as_it_is() {
        let uuid = json!({"type": "string", "logicalType": "uuid"});
        let cases = [(long(MICROS), long(MICROS)), (json!("string"), uuid), (json!("long"), json!("int"))];
        for (ours, theirs) in cases {
            assert_eq!(beside(&ours, &theirs), Meaning::Same, "{theirs}");
        }
    }

    #[test]
    fn one_of_several_types_cannot_be_distinguished_from_another() {
        let several = |union: Value| {
            let field = json!([{"name": "at", "type": union}]);
            json!({"type": "record", "name": "Order", "fields": field}).to_string().parse().expect("a schema")
        };
        let (ours, days): (SchemaMut, _) =
            (several(long(MICROS)), json!({"type": "int", "logicalType": "date"}));
        let mixed = several(json!(["null", days, long(MICROS)]));
        assert!(matches!(Meaning::beside(&ours, &mixed), Meaning::Other(_)));
        let instants = several(json!([long(MILLIS), "null"]));
        assert!(matches!(Meaning::beside(&ours, &instants), Meaning::Converted(_)));
    }

    #[test]
    fn what_does_not_fit_exactly_is_refused() {
        let fits = [(Unit::Millis, i64::MAX / 1_000), (Unit::Nanos, i64::MIN / 1_000 * 1_000)];
        assert!(fits.iter().all(|(unit, number)| unit.micros(*number).is_ok()));
        let others =
            [(Unit::Millis, i64::MAX), (Unit::Millis, i64::MIN), (Unit::Nanos, 1), (Unit::Nanos, i64::MAX)];
        assert!(others.iter().all(|(unit, number)| unit.micros(*number).is_err()));
    }

    /// The contract's schema with its time in another type, and the body of a record in it.
    fn written(time: &Value, at: i64) -> (WriterSchema, Vec<u8>) {
        let [customer_id, reason] = ["ann", "söme"].map(str::to_owned);
        let record = AssessCustomerRisk { customer_id, score: 7, reason, assessed_at: at };
        let known = crate::definition("AssessCustomerRisk").expect("a definition");
        let mut schema: Value = serde_json::from_str(known.avsc).expect("JSON");
        schema["fields"][3]["type"] = time.clone();
        // A field that the contract does not have, in bytes that are no text.
        let more = json!({"name": "more", "type": "bytes"});
        schema["fields"].as_array_mut().expect("fields").push(more);
        // Text may be written as bytes: Avro promotes them.
        schema["fields"][2]["type"] = json!("bytes");
        let body = [crate::encode_record(&record).expect("a body"), vec![2, 0xff]].concat();
        (WriterSchema::parse(&schema.to_string()).expect("a schema"), body)
    }

    #[test]
    fn a_record_is_decoded_with_its_time_in_the_contracts_unit() {
        let at = 1_704_067_200_000;
        for (time, at) in [(long(MICROS), at * 1_000), (long(MILLIS), at), (long(NANOS), at * 1_000_000)] {
            let (writer, body) = written(&time, at);
            let risk: AssessCustomerRisk = writer.decode(&body).expect("a record");
            assert_eq!((risk.assessed_at, risk.score), (1_704_067_200_000_000, 7), "{time}");
            assert_eq!((risk.customer_id.as_str(), risk.reason.as_str()), ("ann", "söme"), "{time}");
            assert!(writer.decode::<AssessCustomerRisk>(&body[..body.len() - 1]).is_err(), "cut off");
            assert!(writer.decode::<AssessCustomerRisk>(&[body, vec![0]].concat()).is_err(), "too long");
        }
    }

    #[test]
    fn a_record_whose_time_means_something_else_does_not_fit() {
        let date = json!({"type": "int", "logicalType": "date"});
        for (time, at, part) in [
            (date, 19_723, "`assessed_at` is written as date where the contract has timestamp-micros"),
            (long(NANOS), 1, "`assessed_at` is 1: what is finer"),
            (long(MILLIS), i64::MAX, "so many milliseconds"),
        ] {
            let (writer, body) = written(&time, at);
            let error = writer.decode::<AssessCustomerRisk>(&body).expect_err("another meaning").to_string();
            assert!(error.contains(part) && error.contains(AssessCustomerRisk::FULL_NAME), "{error}");
        }
    }
}
