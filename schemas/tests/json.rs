//! JSON to Avro and back: what fits goes round unchanged, what does not is refused at its place, nothing panics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
use apache_avro::schema::{RecordSchema, Schema};
use millrace_schemas::json::{ERRORS_MAX, JsonErrors, JsonReader, decode_json, encode_json, key_of};
use millrace_schemas::{
    Command, CommandOutcome, CommandRejected, DEFINITIONS, Definition, Event, Kind, WriterSchema, definition,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn place_order() -> Value {
    json!({
        "order_id": "10248", "customer_id": "VINET", "currency": "USD", "placed_at": "1996-07-04T00:00:00Z",
        "lines": [{"product_id": "11", "quantity": 12, "unit_price": 1400, "discount_bp": 0}],
        "total": 16800,
    })
}

fn named(name: &str) -> &'static Definition {
    definition(name).expect(name)
}

fn refusal(name: &str, json: &Value) -> String {
    encode_json(named(name), json).expect_err("is refused").to_string()
}

/// The place order with one field set by its JSON pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut order = place_order();
    *order.pointer_mut(pointer).expect(pointer) = value;
    order
}

/// The field that the order does not have is filled by its default.
fn with_default(mut order: Value) -> Value {
    order["ship_to"] = Value::Null;
    order
}

#[test]
fn a_command_goes_round() {
    let definition = named("PlaceOrder");
    let body = encode_json(definition, &place_order()).unwrap();
    assert_eq!(decode_json(definition.avsc, &body).unwrap(), with_default(place_order()));
    assert_eq!(key_of(definition, &place_order()).unwrap(), "10248");
}

#[test]
fn defaults_fill_what_is_missing() {
    let mut order = place_order();
    order["lines"][0].as_object_mut().unwrap().remove("discount_bp");
    assert_eq!(encode_json(named("PlaceOrder"), &order), encode_json(named("PlaceOrder"), &place_order()));
    let customer = json!({"customer_id": "C", "name": "Ann"});
    let body = encode_json(named("RegisterCustomer"), &customer).unwrap();
    assert_eq!(decode_json(named("RegisterCustomer").avsc, &body).unwrap()["email"], Value::Null);
}

#[test]
fn times_are_text_or_microseconds() {
    let text = encode_json(named("PlaceOrder"), &with("/placed_at", json!("1996-07-04T02:00:00.5+02:00")));
    let number = encode_json(named("PlaceOrder"), &with("/placed_at", json!(836_438_400_500_000_i64)));
    assert_eq!(text.unwrap(), number.unwrap());
}

#[test]
fn refusals_name_the_place_and_the_problem() {
    let order = |pointer, value| refusal("PlaceOrder", &with(pointer, value));
    assert_eq!(
        order("/lines/0/quantity", json!("2")),
        "lines[0].quantity: must be a whole number, not \"2\""
    );
    assert_eq!(order("/lines/0/quantity", json!(1.5)), "lines[0].quantity: must be a whole number, not 1.5");
    assert!(order("/total", json!(u64::MAX)).starts_with("total: 18446744073709551615 is out of range"));
    assert!(order("/total", serde_json::from_str("1e40").unwrap()).contains("out of range"));
    assert!(order("/lines/0/discount_bp", json!(1_i64 << 31)).contains("2147483648 is out of range"));
    assert!(order("/placed_at", json!("yesterday")).starts_with("placed_at: `yesterday` is not a time"));
    assert!(order("/placed_at", json!("1996-07-04T00:00:00.0000001Z")).contains("six digits"));
    assert!(order("/lines/0", json!([])).starts_with("lines[0]: must be an object, not []"));
    assert!(order("", json!(7)).starts_with("the record: must be an object, not 7"));
    assert!(order("/total", json!("x".repeat(1000))).len() < 150, "long values are shortened");
}

#[test]
fn unknown_and_missing_fields_are_refused() {
    let mut order = place_order();
    order["lines"][0]["colour"] = json!("red");
    let message = refusal("PlaceOrder", &order);
    assert_eq!(
        message,
        "lines[0].colour: is not a field of `PlaceOrderLine`, which has: product_id, quantity, unit_price, discount_bp"
    );
    let message = refusal("CancelOrder", &json!({"order_id": "1"}));
    assert_eq!(message, "reason: is missing: `CancelOrder` needs it");
}

#[test]
fn every_problem_is_named_at_once_and_no_more_than_can_be_read() {
    let mut order = place_order();
    order["colour"] = json!("red");
    order["lines"][0]["quantity"] = json!("2");
    order["lines"][0].as_object_mut().unwrap().remove("product_id");
    order["placed_at"] = json!("yesterday");
    let errors = encode_json(named("PlaceOrder"), &order).unwrap_err();
    let mut places: Vec<String> = errors.iter().map(|error| error.place.to_string()).collect();
    places.sort_unstable();
    assert_eq!(places, ["colour", "lines[0].product_id", "lines[0].quantity", "placed_at"]);
    let many = with("/lines", vec![7; ERRORS_MAX * 10].into());
    assert_eq!(encode_json(named("PlaceOrder"), &many).unwrap_err().iter().count(), ERRORS_MAX);
}

#[test]
fn the_key_must_be_text() {
    let message =
        |json: Value| key_of(named("CancelOrder"), &json).map(str::to_owned).map_err(|e| e.to_string());
    assert_eq!(message(json!({"order_id": 1})), Err("order_id: must be text, not 1".to_owned()));
    assert_eq!(message(json!({})), Err("order_id: is missing: `CancelOrder` needs it".to_owned()));
}

#[test]
fn a_body_cut_short_or_followed_by_more_is_an_error() {
    for definition in DEFINITIONS {
        let json = example(definition);
        let body = encode_json(definition, &json).unwrap();
        for length in 0..body.len() {
            assert!(decode_json(definition.avsc, &body[..length]).is_err(), "{} {length}", definition.name);
        }
        assert!(decode_json(definition.avsc, &[&body[..], &[0]].concat()).is_err(), "{}", definition.name);
    }
}

#[test]
fn a_length_beyond_reason_is_an_error() {
    let huge_text = [&[0xfe_u8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01][..], b"x"].concat();
    assert!(decode_json(named("ConfirmOrder").avsc, &huge_text).is_err());
    let nulls = r#"{"type":"record","name":"N","fields":[{"name":"n","type":{"type":"array","items":
        {"type":"array","items":"null"}}}]}"#;
    // Two million nulls in a few bytes: 20 lists of 100,000.
    let list = [0xc0, 0x9a, 0x0c, 0x00];
    let body = [&[40_u8][..], &list.repeat(20), &[0]].concat();
    let error = decode_json(nulls, &body).unwrap_err();
    assert!(error.to_string().contains("values"), "{error}");
}

#[test]
fn nesting_beyond_reason_is_an_error() {
    let chain = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
    assert!(decode_json(chain, &[2, 2, 0]).is_ok());
    assert!(decode_json(chain, &[2; 100_000]).is_err());
}

#[test]
fn every_avro_type_of_contracts_goes_round() {
    let avsc = r#"{"type":"record","name":"All","fields":[
        {"name":"b","type":"bytes"},{"name":"f","type":{"type":"fixed","name":"Two","size":2}},
        {"name":"e","type":{"type":"enum","name":"Suit","symbols":["HEARTS","SPADES"]}},
        {"name":"m","type":{"type":"map","values":{"type":"long","logicalType":"timestamp-millis"}}},
        {"name":"u","type":["null","boolean","long","string"]},{"name":"d","type":"double"}]}"#;
    let json = json!({"b": "\u{0}\u{ff}", "f": "ab", "e": "SPADES", "m": {"x": "1996-07-04T00:00:00.123Z"},
        "u": "text", "d": 1.5});
    let body = encode_json(&Definition { avsc, full_name: "All", ..*named("PlaceOrder") }, &json);
    assert!(body.is_err(), "only definitions of the contract are encoded");
    let bytes = [
        4, 0, 0xff, b'a', b'b', 2, 2, 2, b'x', 0xb6, 0xb3, 0x9f, 0xb2, 0xeb, 0x30, 0, 6, 8, b't', b'e', b'x',
        b't',
    ];
    let bytes = [&bytes[..], &1.5_f64.to_le_bytes()].concat();
    let read = decode_json(avsc, &bytes).unwrap();
    assert_eq!(read["b"], json["b"]);
    assert_eq!(read["e"], json["e"]);
    assert_eq!(read["u"], json["u"]);
    assert!(read["m"]["x"].is_string(), "{read}");
}

/// A record with a short value in every field.
fn example(definition: &Definition) -> Value {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    record(definition).new_tree(&mut runner).unwrap().current()
}

fn record(definition: &Definition) -> BoxedStrategy<Value> {
    json_of(&Schema::parse_str(definition.avsc).unwrap())
}

/// Any JSON that fits a schema.
fn json_of(schema: &Schema) -> BoxedStrategy<Value> {
    match schema {
        Schema::Null => Just(Value::Null).boxed(),
        Schema::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        Schema::Int => any::<i32>().prop_map(Value::from).boxed(),
        Schema::Long => any::<i64>().prop_map(Value::from).boxed(),
        Schema::String => any::<String>().prop_map(Value::from).boxed(),
        Schema::TimestampMicros => micros().boxed(),
        Schema::Array(array) => {
            prop::collection::vec(json_of(&array.items), 0..4).prop_map(Value::from).boxed()
        }
        Schema::Union(union) => prop::strategy::Union::new(union.variants().iter().map(json_of)).boxed(),
        Schema::Record(record) => object_of(record),
        other => panic!("teach this test (and the codec) the type {other:?}"),
    }
}

fn micros() -> impl Strategy<Value = Value> {
    (-60_000_000_000_000_000_i64..250_000_000_000_000_000).prop_map(|micros| {
        let time = chrono::DateTime::from_timestamp_micros(micros).unwrap();
        Value::from(time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    })
}

fn object_of(record: &RecordSchema) -> BoxedStrategy<Value> {
    let names: Vec<String> = record.fields.iter().map(|field| field.name.clone()).collect();
    let values: Vec<_> = record.fields.iter().map(|field| json_of(&field.schema)).collect();
    values.prop_map(move |values| names.iter().cloned().zip(values).collect::<Map<_, _>>().into()).boxed()
}

/// The generated Rust type's own JSON of a body.
fn through_rust(definition: &Definition, body: &[u8]) -> Value {
    let writer = WriterSchema::parse(definition.avsc).unwrap();
    match definition.kind {
        Kind::Command => serde_json::to_value(Command::decode(&writer, body).unwrap()),
        Kind::Event => serde_json::to_value(Event::decode(&writer, body).unwrap()),
        Kind::Rejection => serde_json::to_value(writer.decode::<CommandRejected>(body).unwrap()),
        Kind::Outcome => serde_json::to_value(writer.decode::<CommandOutcome>(body).unwrap()),
    }
    .unwrap()
}

fn any_record() -> impl Strategy<Value = (&'static Definition, Value)> {
    prop::sample::select(DEFINITIONS).prop_flat_map(|definition| {
        record(&definition).prop_map(move |json| (named(definition.full_name), json))
    })
}

/// Decodes bytes every way there is; only panics count.
fn decode_every_way(definition: &Definition, writer: &WriterSchema, reader: &JsonReader, bytes: &[u8]) {
    let _ = reader.read(bytes);
    let _ = match definition.kind {
        Kind::Command => Command::decode(writer, bytes).map(|_| ()),
        Kind::Event => Event::decode(writer, bytes).map(|_| ()),
        Kind::Rejection => writer.decode::<CommandRejected>(bytes).map(|_| ()),
        Kind::Outcome => writer.decode::<CommandOutcome>(bytes).map(|_| ()),
    };
}

proptest! {
    #[test]
    fn json_to_avro_to_rust_to_json_and_back((definition, json) in any_record()) {
        let body = encode_json(definition, &json).unwrap();
        prop_assert_eq!(&decode_json(definition.avsc, &body).unwrap(), &json);
        let again: Result<Vec<u8>, JsonErrors> = encode_json(definition, &through_rust(definition, &body));
        prop_assert_eq!(again.unwrap(), body.clone());
        let written = WriterSchema::parse(definition.avsc).unwrap().fields(&body).unwrap();
        prop_assert_eq!(written, through_rust(definition, &body));
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for definition in DEFINITIONS {
            let (writer, reader) =
                (WriterSchema::parse(definition.avsc).unwrap(), JsonReader::parse(definition.avsc).unwrap());
            decode_every_way(definition, &writer, &reader, &bytes);
        }
    }

    #[test]
    fn spoiled_bodies_never_panic((definition, json) in any_record(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut body = encode_json(definition, &json).unwrap();
        if !body.is_empty() {
            let index = at.index(body.len());
            body[index] = byte;
        }
        let (writer, reader) =
            (WriterSchema::parse(definition.avsc).unwrap(), JsonReader::parse(definition.avsc).unwrap());
        decode_every_way(definition, &writer, &reader, &body);
    }
}
