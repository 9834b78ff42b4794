//! The fields that saved objects use, and the mappings that must have them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Formula, SavedObject, kql, list, repository, text};

/// The records of a data view themselves, as Lens names them.
pub(crate) const RECORDS: &str = "___records___";

/// The index of the namespace's figures, which is no view.
pub const OPERATIONS: &str = "operations";

/// The fields of a view by their path, with their type in Elasticsearch.
#[derive(Debug)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// The fields of the strict mapping of a view, or of [`OPERATIONS`]. What is within a `nested` field is left out: Lens cannot see it.
    pub fn of(view: &str) -> Self {
        let file = repository().join(match view {
            OPERATIONS => "processors/ops/src/observed/operations.json".to_owned(),
            view => format!("processors/domain/src/views/{view}/mapping.json"),
        });
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut fields = BTreeMap::new();
        collect(&mut fields, "", &serde_json::from_str(&text).expect("a mapping is JSON"));
        Self(fields)
    }

    /// The type of a field.
    pub fn kind(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }
}

fn collect(fields: &mut BTreeMap<String, String>, prefix: &str, properties: &Value) {
    for (name, field) in properties.as_object().into_iter().flatten() {
        let (path, kind) = (format!("{prefix}{name}"), field["type"].as_str().unwrap_or("object"));
        if kind != "nested" {
            collect(fields, &format!("{path}."), &field["fields"]);
            collect(fields, &format!("{path}."), &field["properties"]);
        }
        fields.insert(path, kind.to_owned());
    }
}

/// What a use of a field asks of its type.
fn kinds_for(operation: &str) -> &'static [&'static str] {
    match operation {
        "terms" => &["keyword", "boolean"],
        "date_histogram" => &["date"],
        "sum" | "average" => &["long", "integer", "double"],
        "max" => &["long", "integer", "double", "date"],
        "sort" => &["keyword", "boolean", "long", "integer", "date"],
        "show" | "query" => &["keyword", "boolean", "long", "integer", "double", "date", "text"],
        other => panic!("{other} is not known"),
    }
}

/// The fields that an object uses, each with the types that would do.
pub fn used_fields(object: &SavedObject) -> Vec<(String, &'static [&'static str])> {
    let used = match object.kind() {
        "index-pattern" => object
            .attribute("timeFieldName")
            .as_str()
            .map(|field| used("date_histogram", field))
            .into_iter()
            .collect(),
        "search" => used_by_search(object),
        "lens" => used_by_lens(object),
        _ => Vec::new(),
    };
    used.into_iter().map(|(operation, field)| (field, kinds_for(&operation))).collect()
}

fn used(operation: &str, field: &str) -> (String, String) {
    (operation.to_owned(), field.to_owned())
}

fn used_by_search(object: &SavedObject) -> Vec<(String, String)> {
    let shown = list(object.attribute("columns")).iter().map(|column| used("show", text(column)));
    let sorted = list(object.attribute("sort")).iter().map(|sort| used("sort", text(&list(sort)[0])));
    shown.chain(sorted).chain(asked(&object.search_source()["query"])).collect()
}

fn used_by_lens(object: &SavedObject) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = asked(&object.attribute("state")["query"]).collect();
    for (_, layer) in object.layers() {
        for column in layer["columns"].as_object().expect("columns").values() {
            let field = column["sourceField"].as_str().filter(|field| *field != RECORDS);
            fields.extend(field.map(|field| used(text(&column["operationType"]), field)));
            if column["operationType"] == "formula" {
                fields.extend(Formula::of(column).fields().into_iter().map(|(how, field)| used(how, &field)));
            }
            let filters = column["params"]["filters"].as_array();
            fields.extend(filters.into_iter().flatten().flat_map(|filter| asked(&filter["input"])));
        }
    }
    fields
}

fn asked(query: &Value) -> impl Iterator<Item = (String, String)> + use<> {
    kql::fields(query).into_iter().map(|field| used("query", &field))
}
