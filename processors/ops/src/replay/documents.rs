//! Compares two generations of a log: every document of the one is looked up in the other.
//!
//! The document of an event does not change, so both can run while they are compared at a point in time.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::compare::{Compared, Comparison, Counterparts, OneSided, differences};
use super::session::Pair;
use crate::config::Config;
use crate::elastic::Client;
use crate::failure::Failure;
use crate::index_reader::{Held, Ids, IndexReader};

/// Documents of a look-up.
const LOOKED_UP: usize = 100;
const SHOWN_MAX: usize = 20;

/// The documents of two generations at a point in time.
pub(super) struct Documents<'d> {
    serving: Side<'d>,
    building: Side<'d>,
    changed: Option<Vec<&'static str>>,
    one_sided: OneSided,
}

struct Side<'s> {
    generation: i32,
    index: IndexReader<'s>,
    ids: Ids<'s>,
}

/// The result so far.
#[derive(Default)]
struct Found {
    /// Between two shapes: the fields whose meaning has changed. Then only fields that both documents have are compared.
    changed: Option<Vec<&'static str>>,
    one_sided: OneSided,
    differing: i64,
    missing: i64,
    first: Vec<Counterparts>,
}

impl<'d> Documents<'d> {
    /// The documents that are written now.
    ///
    /// # Errors
    /// [`Failure`], when Elasticsearch does not answer.
    pub(super) async fn now(config: &Config, elastic: &'d Client, pair: &Pair<'_>) -> Result<Self, Failure> {
        let side = async |generation| {
            let index = IndexReader { elastic, name: config.namespace.index(pair.model.name, generation) };
            index.refresh().await?;
            let ids = index.ids().await?;
            Ok(Side { generation, index, ids })
        };
        let (serving, building) = (side(pair.serving).await?, side(pair.building).await?);
        let changed = (!pair.of_one_shape).then(|| pair.changed());
        Ok(Self { serving, building, changed, one_sided: pair.one_sided })
    }

    /// Compares all fields of all documents, and their versions.
    ///
    /// # Errors
    /// [`Failure`], when Elasticsearch does not answer.
    pub(super) async fn compare(mut self) -> Result<Comparison, Failure> {
        let documents = [self.serving.ids.count().await?, self.building.ids.count().await?];
        let [before, after] = documents;
        let (changed, one_sided) = (self.changed.clone(), self.one_sided);
        let mut found = Found { changed, one_sided, ..Found::default() };
        while let Some(ids) = self.serving.ids.page().await? {
            // Keeps the point in time open.
            self.building.ids.count().await?;
            for ids in ids.chunks(LOOKED_UP) {
                let (serving, building) =
                    (self.serving.index.held(ids).await?, self.building.index.held(ids).await?);
                found.take(ids, serving, building);
            }
        }
        // If the built generation has exactly the other's documents that were found, it has no further ones.
        if after != before - found.missing && !self.one_sided.building {
            self.others(&mut found).await?;
        }
        let (serving, building) = (self.serving.generation, self.building.generation);
        self.close().await?;
        Ok(Comparison {
            serving,
            building,
            what: Compared::Documents,
            rows: documents,
            differing: found.differing,
            fields: found.first.into_iter().flat_map(differences).collect(),
        })
    }

    /// Closes both points in time.
    ///
    /// # Errors
    /// [`Failure`], when Elasticsearch does not answer.
    pub(super) async fn close(self) -> Result<(), Failure> {
        self.serving.ids.close().await?;
        self.building.ids.close().await
    }

    /// Documents that only the built generation has.
    async fn others(&mut self, found: &mut Found) -> Result<(), Failure> {
        while let Some(ids) = self.building.ids.page().await? {
            for ids in ids.chunks(LOOKED_UP) {
                let known = self.serving.index.held(ids).await?;
                let others: Vec<String> = ids.iter().filter(|id| !known.contains_key(*id)).cloned().collect();
                if !others.is_empty() {
                    found.take(&others, HashMap::new(), self.building.index.held(&others).await?);
                }
            }
        }
        Ok(())
    }
}

impl Found {
    fn take(
        &mut self,
        ids: &[String],
        mut serving: HashMap<String, Held>,
        mut building: HashMap<String, Held>,
    ) {
        for id in ids {
            let (mut before, mut after) = (serving.remove(id), building.remove(id));
            if let (Some(changed), Some(before), Some(after)) = (&self.changed, &mut before, &mut after) {
                keep_common(before, after, changed);
            }
            self.missing += i64::from(after.is_none());
            if before == after || self.one_sided.allows(before.is_some(), after.is_some()) {
                continue;
            }
            self.differing += 1;
            if self.first.len() < SHOWN_MAX {
                let [serving, building] = [before, after].map(|held| held.map(Held::versioned));
                self.first.push(Counterparts { key: id.clone(), serving, building });
            }
        }
    }
}

/// Keeps the fields that both have, except the changed ones.
fn keep_common(before: &mut Held, after: &mut Held, changed: &[&str]) {
    let (Value::Object(before), Value::Object(after)) = (&mut before.source, &mut after.source) else {
        return;
    };
    let counts =
        |name: &str, other: &Map<String, Value>| other.contains_key(name) && !changed.contains(&name);
    before.retain(|name, _| counts(name, after));
    after.retain(|name, _| counts(name, before));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_that_only_the_generation_with_more_topics_has_are_no_difference() {
        let held = |id: &str| HashMap::from([(id.to_owned(), Held { version: 1, source: json!({}) })]);
        let take = |one_sided| {
            let mut found = Found { one_sided, ..Found::default() };
            found.take(&["new".to_owned()], HashMap::new(), held("new"));
            found.take(&["old".to_owned()], held("old"), HashMap::new());
            (found.differing, found.missing)
        };
        assert_eq!(take(OneSided::default()), (2, 1));
        assert_eq!(take(OneSided { building: true, serving: false }), (1, 1));
        assert_eq!(take(OneSided { building: true, serving: true }), (0, 1));
    }

    #[test]
    fn between_two_shapes_fields_count_that_both_have_and_mean_the_same_by() {
        let held = |source| Held { version: 1, source };
        let mut before = held(json!({"id": 1, "gone": 2, "renamed": 3, "city": "Athens"}));
        let mut after = held(json!({"id": 1, "new": 2, "renamed": 4, "city": "Sparta"}));
        keep_common(&mut before, &mut after, &["renamed"]);
        assert_eq!(before.source, json!({"id": 1, "city": "Athens"}));
        assert_eq!(after.source, json!({"id": 1, "city": "Sparta"}));
    }
}
