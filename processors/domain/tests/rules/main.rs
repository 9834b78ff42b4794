//! docs/segment-rules.schema.json accepts a rule tree if, and only if, Millrace does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod schema;

use millrace_domain::segments::parse;
use schema::Schema;
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../../../../docs/segment-rules.schema.json");

/// Trees with every kind of rule.
fn trees() -> Vec<Value> {
    let orders = json!({"fact": "orders", "is": ">=", "value": 1});
    let spend = json!({"fact": "spend", "currency": "EUR", "is": "<", "value": 5});
    vec![
        json!({"all": [{"any": [orders, spend]}, {"not": {"fact": "country", "is": "in", "value": ["Mexico", "Chad"]}}]}),
        json!({"any": [{"fact": "days_since_last_order", "is": "!=", "value": 0}]}),
        json!({"not": {"all": [{"fact": "tags", "is": "has", "value": "vip"}]}}),
        json!({"fact": "country", "is": "!=", "value": "México"}),
        spend,
        orders,
    ]
}

/// Values that may stand where another stood.
fn others() -> Vec<Value> {
    let texts = ["", "a", "=", "in", "has", "eur", "EURO", "orders", "country", "spend", "tab\t", "\u{85}"];
    let numbers = [
        json!(-1),
        json!(0),
        json!(1.5),
        json!(36_501),
        json!(1_000_000_001_i64),
        json!(1_000_000_000_000_001_i64),
    ];
    let mut others: Vec<Value> = texts.into_iter().map(Value::from).chain(numbers).collect();
    others.extend([json!("x".repeat(200)), json!("x".repeat(201)), json!("é".repeat(200))]);
    others.extend([json!(null), json!(true), json!([]), json!({}), json!(["a"]), json!([1])]);
    others.extend([json!(vec!["a"; 100]), json!(vec!["a"; 101])]);
    others.extend(trees());
    others
}

/// Every tree with one place changed: another value, a field less, a field more.
fn changed(tree: &Value) -> Vec<Value> {
    let mut all = others();
    match tree {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                all.extend(changed(item).into_iter().map(|item| {
                    let mut items = items.clone();
                    items[at] = item;
                    Value::Array(items)
                }));
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let with = |value: Option<Value>| {
                    let mut fields = fields.clone();
                    fields.remove(name);
                    fields.extend(value.map(|value| (name.clone(), value)));
                    Value::Object(fields)
                };
                all.push(with(None));
                all.extend(changed(value).into_iter().map(|value| with(Some(value))));
            }
            for name in ["currency", "all", "more"] {
                let mut fields = fields.clone();
                fields.entry(name).or_insert(json!("EUR"));
                all.push(Value::Object(fields));
            }
        }
        _ => {}
    }
    all
}

#[test]
fn the_schema_of_rules_accepts_what_is_accepted() {
    let schema = Schema::new(SCHEMA);
    let (mut accepted, mut refused) = (0, 0);
    for tree in trees().iter().flat_map(changed).chain(trees()) {
        let (found, expected) = (schema.accepts(&tree), parse(&tree.to_string()));
        assert_eq!(found, expected.is_ok(), "{tree}: {expected:?}");
        if found { accepted += 1 } else { refused += 1 }
    }
    assert!(accepted > 100 && refused > 100, "{accepted} accepted, {refused} refused");
}
