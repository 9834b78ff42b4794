//! All kinds of invalid records, made from a valid record of a context.

use millrace_schemas::frame;
use millrace_tests::Raw;
use millrace_tests::kafka::register_schema;
use serde_json::{Value, json};

/// An invalid record, and its expected dead letter.
pub(crate) struct Garbage {
    /// What is wrong with it.
    pub(crate) what: &'static str,
    /// Its bytes.
    pub(crate) raw: Raw,
    /// The code of its dead letter.
    pub(crate) code: &'static str,
    /// Whether only Postgres refuses it.
    pub(crate) only_tables: bool,
}

/// Garbage for a context's topic of commands.
pub(crate) async fn commands(context: &str, topic: &str) -> Vec<Garbage> {
    let (name, data, key) = good_command(context);
    let mut garbage = bodies(&Raw::of(name, &data).await).await;
    garbage.push(new("command of another context", stranger(context).await, "unknown-type"));
    garbage.push(new(
        "NUL in the stream id",
        Raw::of(name, &with(&data, key, "nul\0nul")).await,
        "refused-by-database",
    ));
    let identified = garbage.into_iter().map(|garbage| {
        let id = format!("{context} {}", garbage.what);
        with_odd_headers(garbage, |raw| raw.header("ce_id", id).header("ce_source", "garbage"))
    });
    let anonymous = new("no identity", Raw::value("?"), "undecodable");
    identified
        .chain([with_odd_headers(anonymous, |raw| raw)])
        .chain(bad_headers(context, topic).await)
        .collect()
}

/// Valid commands whose headers no database can store.
async fn bad_headers(context: &str, topic: &str) -> Vec<Garbage> {
    let (name, data, _) = good_command(context);
    let good = Raw::of(name, &data).await;
    let with = |id: String| good.clone().header("ce_id", id).header("ce_source", "garbage");
    let in_conversation = |id: &str, conversation: Vec<u8>| {
        with(format!("{context} conversation {id}")).header("correlation-id", conversation)
    };
    let mut null = good.clone().header("ce_source", "garbage");
    null.headers.push((b"ce_id".to_vec(), None));
    let cases = [
        new("id that is a novel", with(format!("{context} {}", noise(5_000))), "identity-invalid"),
        new("NUL in the id", with(format!("{context} nul\0")), "identity-invalid"),
        new("id that is null", null, "identity-invalid"),
        new("id without source", good.clone().header("ce_id", "alone"), "identity-invalid"),
        new("source without id", good.clone().header("ce_source", "alone"), "identity-invalid"),
        new("two ids", with("one".to_owned()).header("ce_id", "another"), "identity-invalid"),
        new(
            "raw UUID as id",
            good.clone().header("ce_id", [0xa7; 16]).header("ce_source", "garbage"),
            "identity-invalid",
        ),
        new(
            "place of another command as identity",
            good.clone().header("ce_id", "0-0-0").header("ce_source", format!("kafka:{topic}")),
            "source-forged",
        ),
        new("NUL in the conversation", in_conversation("nul", b"nul\0".to_vec()), "correlation-invalid"),
        new("conversation that is no text", in_conversation("bytes", vec![0xff]), "correlation-invalid"),
        // Nothing that Connect could carry would fit beside it.
        new(
            "conversation of a megabyte",
            in_conversation("long", noise(990_000).into_bytes()),
            "correlation-invalid",
        ),
    ];
    cases.map(|garbage| with_odd_headers(garbage, |raw| raw)).into()
}

/// Text that cannot be compressed to fit into an index.
pub(crate) fn noise(length: usize) -> String {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from((state >> 33) % 26).expect("a letter"))
    };
    (0..length).map(|_| next()).collect()
}

/// Garbage for a context's event topic.
pub(crate) async fn events(context: &str) -> Vec<Garbage> {
    let (name, data, key) = good_event(context);
    let good = Raw::of(name, &data).await;
    let mut garbage = bodies(&good).await;
    garbage.push(new(
        "command among events",
        Raw::of("ConfirmOrder", &json!({"order_id": "g"})).await,
        "unknown-type",
    ));
    garbage.push(new("event of another context", foreign_event(context).await, "unknown-type"));
    let nul = new(
        "NUL in the stream id",
        Raw::of(name, &with(&data, key, "nul\0nul")).await,
        "refused-by-database",
    );
    garbage.push(Garbage { only_tables: true, ..nul });
    let versioned = garbage.into_iter().map(|garbage| {
        let id = format!("{context} {}", garbage.what);
        with_odd_headers(garbage, |raw| raw.header("ce_id", id).header("ce_sequence", "1"))
    });
    let bare = new("no headers of an event", good.clone(), "header-missing");
    let keyless = Raw { key: None, ..good }.header("ce_id", "keyless").header("ce_sequence", "1");
    let novel = Raw::of(name, &with(&data, key, &noise(3_000)))
        .await
        .header("ce_id", "novel")
        .header("ce_sequence", "1");
    let novel = new("stream id that is a novel", novel, "refused-by-database");
    let novel = Garbage { only_tables: true, ..novel };
    let others = [bare, new("no key", keyless, "key-missing"), novel];
    versioned.chain(others.map(|garbage| with_odd_headers(garbage, |raw| raw))).collect()
}

/// A record that would be good but for its value.
async fn bodies(good: &Raw) -> Vec<Garbage> {
    let value = good.value.clone().expect("a value");
    let foreign = json!({"type": "record", "name": "Foreign", "namespace": "stories", "fields": []});
    let foreign = register_schema("stories.Foreign", &foreign).await;
    let endless = [&value[..5], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]].concat();
    let cases = [
        ("cut off", Some(value[..value.len() - 1].to_vec()), "undecodable"),
        ("goes on after its end", Some([&value[..], &[7]].concat()), "undecodable"),
        ("text with an endless length", Some(endless), "undecodable"),
        ("not framed", Some(b"{\"json\": true}".to_vec()), "undecodable"),
        ("empty", Some(Vec::new()), "undecodable"),
        ("no value", None, "undecodable"),
        ("unknown schema", Some(frame(0x7fff_fff0, &value[5..])), "unknown-schema"),
        ("foreign type", Some(frame(foreign, b"")), "unknown-type"),
    ];
    cases.map(|(what, value, code)| new(what, Raw { value, ..good.clone() }, code)).into()
}

fn new(what: &'static str, raw: Raw, code: &'static str) -> Garbage {
    Garbage { what, raw, code, only_tables: false }
}

/// Headers that must survive: repeated, null, not text; with names that are not text, empty, or like ours but for a zero.
fn with_odd_headers(garbage: Garbage, more: impl FnOnce(Raw) -> Raw) -> Garbage {
    let mut raw = more(garbage.raw).header("garbage", garbage.what).header("odd", [0xff, 0xfe, 0x00]);
    raw.headers.extend([(b"odd".to_vec(), None), (b"zero\0null".to_vec(), None)]);
    let raw = raw.header("odd", "again").header([0xff, 0xfe], "1").header("", "no name");
    Garbage { raw: raw.header("ce_id\0", "another").header("x-error-code\0", [0xff]), ..garbage }
}

fn with(data: &Value, field: &str, value: &str) -> Value {
    let mut data = data.clone();
    data[field] = value.into();
    data
}

fn good_command(context: &str) -> (&'static str, Value, &'static str) {
    match context {
        "customers" => {
            ("RegisterCustomer", json!({"customer_id": "g", "name": "Good", "phone": "12345"}), "customer_id")
        }
        "catalog" => ("AddProduct", product(), "product_id"),
        "inventory" => ("ReceiveStock", json!({"product_id": "g", "quantity": 1}), "product_id"),
        "carts" => ("AbandonCart", json!({"cart_id": "g", "reason": "g"}), "cart_id"),
        _ => ("ConfirmOrder", json!({"order_id": "g"}), "order_id"),
    }
}

fn good_event(context: &str) -> (&'static str, Value, &'static str) {
    match context {
        "customers" => ("CustomerRegistered", json!({"customer_id": "g", "name": "Good"}), "customer_id"),
        "catalog" => ("ProductAdded", product(), "product_id"),
        "inventory" => ("StockReceived", json!({"product_id": "g", "quantity": 1}), "product_id"),
        "carts" => ("CartAbandoned", json!({"cart_id": "g", "reason": "g"}), "cart_id"),
        _ => ("OrderConfirmed", json!({"order_id": "g", "customer_id": "g"}), "order_id"),
    }
}

fn product() -> Value {
    json!({"product_id": "g", "name": "Good", "category": "Goods", "price": 1, "currency": "USD"})
}

/// An event that other streams are about.
async fn foreign_event(context: &str) -> Raw {
    match context {
        "orders" => Raw::of("CustomerRegistered", &json!({"customer_id": "g", "name": "Good"})).await,
        _ => Raw::of("OrderConfirmed", &json!({"order_id": "g", "customer_id": "g"})).await,
    }
}

/// A command that the context does not know.
async fn stranger(context: &str) -> Raw {
    match context {
        "orders" => Raw::of("DiscontinueProduct", &json!({"product_id": "g"})).await,
        _ => Raw::of("ConfirmOrder", &json!({"order_id": "g"})).await,
    }
}
