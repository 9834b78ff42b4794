//! Kibana's saved objects as Kibana reads them: their references, and their queries to Elasticsearch. A part that is not known
//! here fails the story.

mod fields;
mod formula;
mod kql;
mod panel;
#[path = "../../../processors/domain/tests/rules/schema.rs"]
mod schema;

use std::path::{Path, PathBuf};

use serde_json::Value;

pub use fields::{Fields, OPERATIONS, used_fields};
pub use formula::Formula;
pub use panel::Panel;

/// One saved object: a line of the file.
#[derive(Debug, Clone)]
pub struct SavedObject(Value);

/// A link from one object to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The other object's type.
    pub kind: String,
    /// The other object's id.
    pub id: String,
    /// The name of the reference in the object.
    pub name: String,
}

/// The files that are shipped.
const FILES: [&str; 2] = ["shop.ndjson", "operators.ndjson"];

/// All objects that are shipped, for a namespace: what the documented `sed` makes of them.
pub fn shipped(namespace: &str) -> Vec<SavedObject> {
    let text = FILES.map(read).concat().replace("millrace-", &format!("{namespace}-"));
    let text = text.replace("[millrace]", &format!("[{namespace}]"));
    text.lines().map(|line| SavedObject(serde_json::from_str(line).expect("a line is JSON"))).collect()
}

fn read(name: &str) -> String {
    let file = repository().join("connectors/kibana").join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Those that are not as `saved-objects.schema.json` says.
pub fn unfit(objects: &[SavedObject]) -> Vec<&str> {
    let schema = schema::Schema::new(&read("saved-objects.schema.json"));
    objects.iter().filter(|object| !schema.accepts(&object.0)).map(SavedObject::id).collect()
}

/// Where the mappings and the saved objects are.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_path_buf()
}

/// The object of this type and id.
pub fn find<'o>(objects: &'o [SavedObject], kind: &str, id: &str) -> &'o SavedObject {
    let found = objects.iter().find(|object| object.kind() == kind && object.id() == id);
    found.unwrap_or_else(|| panic!("there is no {kind} {id}"))
}

impl SavedObject {
    /// Its type, such as `lens`.
    pub fn kind(&self) -> &str {
        text(&self.0["type"])
    }

    /// Its id.
    pub fn id(&self) -> &str {
        text(&self.0["id"])
    }

    /// One of its attributes.
    pub fn attribute(&self, name: &str) -> &Value {
        &self.0["attributes"][name]
    }

    /// The versions of the format that it was written in: of Kibana's core, and of the type.
    pub fn format(&self) -> [&str; 2] {
        ["coreMigrationVersion", "typeMigrationVersion"].map(|version| text(&self.0[version]))
    }

    /// Its references.
    pub fn links(&self) -> Vec<Link> {
        let link = |link: &Value| {
            let [kind, id, name] = ["type", "id", "name"].map(|field| text(&link[field]).to_owned());
            Link { kind, id, name }
        };
        list(&self.0["references"]).iter().map(link).collect()
    }

    /// The id behind one of its references.
    pub fn linked(&self, name: &str) -> String {
        let link = self.links().into_iter().find(|link| link.name == name);
        link.unwrap_or_else(|| panic!("{} has no reference {name}", self.id())).id
    }

    /// The names of references that are used inside it.
    pub fn names_used(&self) -> Vec<String> {
        match self.kind() {
            "index-pattern" => Vec::new(),
            "search" => vec![text(&self.search_source()["indexRefName"]).to_owned()],
            "lens" => self.layers().iter().map(|(layer, _)| layer_reference(layer)).collect(),
            "dashboard" => self.panels().iter().map(reference_of_panel).collect(),
            other => panic!("{} is a {other}: nothing here knows how Kibana reads it", self.id()),
        }
    }

    /// The panels of a dashboard.
    pub fn panels(&self) -> Vec<Value> {
        list(&json_within(self.attribute("panelsJSON"))).to_vec()
    }

    /// Query and filters of a saved search or a dashboard.
    pub(crate) fn search_source(&self) -> Value {
        json_within(&self.attribute("kibanaSavedObjectMeta")["searchSourceJSON"])
    }

    /// The layers of a Lens visualization, by id.
    pub(crate) fn layers(&self) -> Vec<(String, Value)> {
        let layers = &self.attribute("state")["datasourceStates"]["formBased"]["layers"];
        let layers = layers.as_object().unwrap_or_else(|| panic!("{} has no layers", self.id()));
        layers.iter().map(|(id, layer)| (id.clone(), layer.clone())).collect()
    }
}

/// Lens's name of the reference to the data view of a layer.
pub(crate) fn layer_reference(layer: &str) -> String {
    format!("indexpattern-datasource-layer-{layer}")
}

/// The dashboard's name of the reference to the object of a panel.
pub fn reference_of_panel(panel: &Value) -> String {
    format!("{}:{}", text(&panel["panelIndex"]), text(&panel["panelRefName"]))
}

/// JSON that is kept as text.
fn json_within(value: &Value) -> Value {
    serde_json::from_str(text(value)).expect("JSON within the object")
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_namespace_has_its_own_ids_indices_and_titles_and_the_same_program() {
        let objects = shipped("other");
        for SavedObject(object) in &objects {
            let text = object.to_string();
            assert!(text.contains("other-") && text.contains("[other]"), "{text}");
            let left = text.replace("`millrace ", "");
            assert!(!left.contains("millrace"), "{text}");
        }
        let text: String = objects.iter().map(|object| object.0.to_string()).collect();
        assert!(text.contains("`millrace dlq list`") && text.contains("`millrace status`"));
    }
}
