//! The resulting documents of a contestant.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use super::contestant::Contestant;
use crate::cli::View;
use crate::drain::corpus::{Corpus, Document};
use crate::drain::index::{check, quiet};
use crate::instance::Instance;
use crate::load::customers::VERSIONS;

/// What all of them write of a customer; Millrace's documents have more fields.
const FIELDS: [&str; 9] =
    ["customer_id", "name", "contact_name", "email", "phone", "city", "country", "version", "updated_at"];

/// An index for a peer, and an Elasticsearch that merges nothing any more.
pub(super) async fn prepare(instance: &Instance, who: Contestant) -> Result<()> {
    if who == Contestant::Jvm {
        instance.stack.elasticsearch(Method::PUT, &index(instance, who), None).await?;
    }
    quiet(instance).await
}

/// The peer's index has the view's template: same mappings, same settings, removed with the instance.
fn index(instance: &Instance, who: Contestant) -> String {
    let alias = instance.alias(View::Customers.name());
    if who == Contestant::Jvm { format!("{alias}-g0-jvm") } else { alias }
}

/// A checksum over the documents of all customers in their last version, whatever their order.
pub(super) async fn digest(instance: &Instance, who: Contestant, customers: u64) -> Result<Vec<String>> {
    let index = index(instance, who);
    check(instance, &index, customers, customers * VERSIONS).await?;
    let documents = Corpus::read(instance, &index).await?.0;
    Ok(vec![format!("documents {} {}", documents.len(), sum(&documents)?)])
}

fn sum(documents: &[Document]) -> Result<u64> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let add = |sum: u64, document| Ok(sum.wrapping_add(hasher.hash_one(canonical(document)?)));
    documents.iter().try_fold(0, add)
}

/// One text for documents that mean the same to a reader: a missing field is null.
fn canonical(document: &Document) -> Result<String> {
    let body: Value = serde_json::from_str(&document.body)?;
    let fields = FIELDS.map(|name| body.get(name).unwrap_or(&Value::Null));
    Ok(json!([document.id, fields]).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(id: &str, body: &Value) -> Document {
        Document { id: id.to_owned(), version: 1, body: body.to_string() }
    }

    fn sum_of(bodies: &[Value]) -> u64 {
        let documents: Vec<Document> = bodies.iter().map(|body| document("a", body)).collect();
        sum(&documents).unwrap()
    }

    #[test]
    fn neither_order_nor_nulls_nor_other_fields_matter() {
        let (a, b) = (json!({"name": "A", "version": 4}), json!({"name": "B", "version": 4}));
        let more = json!({"version": 4, "phone": null, "name": "A", "balance": []});
        assert_eq!(sum_of(&[a, b.clone()]), sum_of(&[b, more]));
    }

    #[test]
    fn every_field_and_the_id_matter() {
        let empty = json!({});
        for field in FIELDS {
            assert_ne!(sum_of(&[json!({field: "1"})]), sum_of(std::slice::from_ref(&empty)), "{field}");
        }
        assert_ne!(sum_of(&[json!({"version": 1})]), sum_of(&[json!({"version": "1"})]));
        assert_ne!(sum(&[document("a", &empty)]).unwrap(), sum(&[document("b", &empty)]).unwrap());
    }
}
