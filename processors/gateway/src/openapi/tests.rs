//! The document has every route, every parameter and every command, and nothing else.

use std::collections::BTreeSet;

use millrace_ops::config::{Config, Gateway};
use millrace_ops::contract;
use serde_json::Value as Json;

use super::{PATH, document};
use crate::asyncapi;
use crate::queries::table::{PREVIEW, ROUTES};
use crate::routes::batch::PATH as BATCH;

fn whole() -> (Config, Json) {
    let gateway =
        Gateway { reader_url: Some("postgres://reader@db/read".parse().unwrap()), ..Gateway::default() };
    let config = Config { gateway, ..Config::default() };
    let document = document(&config);
    (config, document)
}

fn paths(document: &Json) -> BTreeSet<String> {
    document["paths"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn every_route_and_every_command_is_in_the_document_and_nothing_else() {
    let (config, document) = whole();
    let mut expected: BTreeSet<String> = ROUTES.iter().map(|route| route.path.to_owned()).collect();
    expected.extend(contract::commands(&config).map(|command| format!("/v1/commands/{}", command.name)));
    let others = [PATH, asyncapi::PATH, BATCH, PREVIEW, "/v1/receipts/{id}", "/v1/receipts/{source}/{id}"];
    expected.extend(others.map(str::to_owned));
    assert_eq!(paths(&document), expected);
}

#[test]
fn a_query_has_the_parameters_that_it_takes_with_their_limits() {
    let (_, document) = whole();
    for route in ROUTES {
        let operation = &document["paths"][route.path]["get"];
        let of = |place: &str| -> BTreeSet<String> {
            let parameters = operation["parameters"].as_array().unwrap().iter();
            let names = parameters
                .filter(|one| one["in"] == place)
                .map(|one| one["name"].as_str().unwrap().to_owned());
            names.collect()
        };
        let taken = route.in_query();
        assert_eq!(of("query"), taken.iter().map(|one| one.name.to_owned()).collect(), "{}", route.path);
        assert_eq!(of("path"), route.named().map(str::to_owned).into_iter().collect(), "{}", route.path);
        for status in ["200", "304", "400", "401", "403", "429", "503"] {
            assert!(operation["responses"].get(status).is_some(), "{}: {status}", route.path);
        }
    }
}

#[test]
fn what_a_row_has_is_explained_with_its_type() {
    let (_, document) = whole();
    let at = |pointer: &str| document.pointer(pointer).cloned().unwrap_or_default();
    let columns = "/paths/~1v1~1products~1{product_id}/get/responses/200/content/application~1json/schema/properties/item/properties";
    assert_eq!(at(&format!("{columns}/price/description")), "List price in minor units.");
    assert_eq!(at(&format!("{columns}/price/type/0")), "integer");
    assert_eq!(at(&format!("{columns}/discontinued/type/0")), "boolean");
}

#[test]
fn operations_have_names_of_their_own() {
    let (_, document) = whole();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let names: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
}

#[test]
fn an_instance_without_queries_or_contexts_does_not_promise_them() {
    let without = document(&Config { contexts: vec!["customers".to_owned()], ..Config::default() });
    let paths = paths(&without);
    assert!(paths.contains("/v1/commands/RegisterCustomer") && !paths.contains("/v1/commands/PlaceOrder"));
    assert!(!paths.contains("/v1/customers"), "gateway.reader_url is not set");
}
