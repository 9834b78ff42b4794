//! Other producers with their own schemas, and a registry with wrong answers.

use millrace_schemas::frame;
use millrace_tests::kafka::{produce, register_referring, register_schema};
use millrace_tests::registry::RegistryFront;
use millrace_tests::{Instance, Raw, becomes};
use serde_json::{Value, json};

use crate::{beside_others, instance_with};

const SETTINGS: [(&str, &str); 2] = [("contexts", r#"["catalog"]"#), ("retries.delays", "[1200ms, 1200ms]")];
const NO_SUCH_ID: u32 = 0x7fff_ff01;
const STRANGERS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_read_by_whatever_schema_their_producer_has_registered() {
    let _turn = beside_others().await;
    let instance = instance_with("contract", &SETTINGS).await;
    let registry = RegistryFront::start().await;
    let (late, mut records) = (registered("late", &product("Late", &[])).await, foreign_schemas().await);
    records.push(added(late, &[], "late"));
    registry.lacks(late, 2);
    registry.refuses(Some(401));
    produce(&instance.topic("cmd", "catalog"), None, &records).await;
    let process = instance.start_with(&["commands"], &[registry.variable()]);
    process.reports("millrace_outage", &[("dependency", "registry")], 1.0).await;
    process.has_counted_no_faults().await;
    registry.refuses(None);
    becomes(&instance.write, "SELECT count(*) FROM command WHERE status = 'completed'", 4).await;
    assert_eq!(dead(&instance).await, [""; 0], "the id that came late was tried again");
    assert_eq!(registry.asked_for(late), 3);

    let strangers: Vec<Raw> = (0..STRANGERS).map(|i| added(NO_SUCH_ID, &[], &i.to_string())).collect();
    produce(&instance.topic("cmd", "catalog"), None, &strangers).await;
    becomes(&instance.write, "SELECT count(*) FROM dead_letter WHERE attempts = 3", STRANGERS as i64).await;
    assert_eq!(dead(&instance).await, ["unknown-schema"]);
    let asked = registry.asked_for(NO_SUCH_ID);
    assert!(asked <= 8, "asked {asked} times for one id in three tries of {STRANGERS} records");
}

/// `AddProduct` from producers that have written the schema themselves.
async fn foreign_schemas() -> Vec<Raw> {
    let origin = json!({"type": "record", "name": "Origin", "namespace": "stories", "fields": [
        {"name": "country", "type": "string"}]});
    registered("Origin", &origin).await;
    let referring = product("AddProduct", &[json!({"name": "origin", "type": "stories.Origin"})]);
    let union = json!(["null", "stories.Origin", product("AddProduct", &[])]);
    let mut renamed = product("NewProduct", &[]);
    renamed["namespace"] = "stories".into();
    renamed["aliases"] = json!(["millrace.catalog.AddProduct"]);
    renamed["fields"][0] = json!({"name": "id", "type": "string", "aliases": ["product_id"]});
    let origin = [("stories.Origin", "stories.Origin", 1)];
    let referring = register_referring("stories.Referring", &referring, &origin).await;
    let union = register_referring("stories.Union", &union, &origin).await;
    let renamed = registered("NewProduct", &renamed).await;
    let mut from = added(referring, &[], "referring");
    from.value.as_mut().expect("a value").extend(text("Ceylon"));
    vec![from, added(union, &[4], "union"), added(renamed, &[], "renamed")]
}

async fn registered(name: &str, schema: &Value) -> u32 {
    register_schema(&format!("stories.{name}"), schema).await
}

/// `AddProduct` with further fields behind its own.
fn product(doc: &str, more: &[Value]) -> Value {
    let field = |(name, type_): (&str, &str)| json!({"name": name, "type": type_});
    let own = [
        ("product_id", "string"),
        ("name", "string"),
        ("category", "string"),
        ("price", "long"),
        ("currency", "string"),
    ];
    let fields: Vec<Value> = own.map(field).into_iter().chain(more.iter().cloned()).collect();
    let name = if doc == "NewProduct" { doc } else { "AddProduct" };
    json!({"type": "record", "name": name, "namespace": "millrace.catalog", "doc": doc, "fields": fields})
}

/// A product's addition with a schema of this id; `before` stands before its fields.
fn added(schema: u32, before: &[u8], id: &str) -> Raw {
    let fields = [text(id), text("Tea"), text("Drinks"), vec![2], text("USD")].concat();
    Raw::value(frame(schema, &[before, &fields].concat()))
        .key(id)
        .header("ce_id", id)
        .header("ce_source", "stories")
}

fn text(text: &str) -> Vec<u8> {
    [&[u8::try_from(2 * text.len()).expect("a short text")], text.as_bytes()].concat()
}

async fn dead(instance: &Instance) -> Vec<String> {
    let codes = sqlx::query_scalar("SELECT DISTINCT code FROM dead_letter").fetch_all(&instance.write).await;
    codes.expect("the ledger")
}
