//! Whether two generations of a log are the same: every document of the one, looked up in the other.
//!
//! What a log says of an event does not change, so both can go on while they are compared as they were.

use std::collections::HashMap;

use super::compare::{Compared, Comparison, Twin, differences};
use super::session::Pair;
use crate::config::Config;
use crate::failure::Failure;
use crate::http::Http;
use crate::index_reader::{Held, Ids, IndexReader};

/// Documents that are looked up at a time.
const LOOKED_UP: usize = 100;
const SHOWN_MAX: usize = 20;

/// The documents of two generations as of one moment.
pub(super) struct Documents<'d> {
    serving: Side<'d>,
    building: Side<'d>,
}

struct Side<'s> {
    generation: i32,
    index: IndexReader<'s>,
    ids: Ids<'s>,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    differing: i64,
    missing: i64,
    first: Vec<Twin>,
}

impl<'d> Documents<'d> {
    /// Those that are written now.
    ///
    /// # Errors
    /// [`Failure`], when Elasticsearch does not answer.
    pub(super) async fn now(config: &Config, elastic: &'d Http, pair: &Pair<'_>) -> Result<Self, Failure> {
        let side = async |generation| {
            let index = IndexReader { elastic, name: config.namespace.index(pair.model.name, generation) };
            index.refresh().await?;
            let ids = index.ids().await?;
            Ok(Side { generation, index, ids })
        };
        Ok(Self { serving: side(pair.serving).await?, building: side(pair.building).await? })
    }

    /// Compares all fields of all documents, and their versions.
    ///
    /// # Errors
    /// [`Failure`], when Elasticsearch does not answer.
    pub(super) async fn compare(mut self) -> Result<Comparison, Failure> {
        let documents = [self.serving.ids.count().await?, self.building.ids.count().await?];
        let [before, after] = documents;
        let mut found = Found::default();
        while let Some(ids) = self.serving.ids.page().await? {
            // Else it is forgotten meanwhile.
            self.building.ids.count().await?;
            for ids in ids.chunks(LOOKED_UP) {
                let (serving, building) =
                    (self.serving.index.held(ids).await?, self.building.index.held(ids).await?);
                found.take(ids, serving, building);
            }
        }
        // The built one has as many as it has of the other's: then it has no others.
        if after != before - found.missing {
            self.strangers(&mut found).await?;
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

    /// Lets Elasticsearch forget them.
    ///
    /// # Errors
    /// [`Failure`], when Elasticsearch does not answer.
    pub(super) async fn close(self) -> Result<(), Failure> {
        self.serving.ids.close().await?;
        self.building.ids.close().await
    }

    /// Documents that only the built generation has.
    async fn strangers(&mut self, found: &mut Found) -> Result<(), Failure> {
        while let Some(ids) = self.building.ids.page().await? {
            for ids in ids.chunks(LOOKED_UP) {
                let known = self.serving.index.held(ids).await?;
                let strange: Vec<String> =
                    ids.iter().filter(|id| !known.contains_key(*id)).cloned().collect();
                if !strange.is_empty() {
                    found.take(&strange, HashMap::new(), self.building.index.held(&strange).await?);
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
            let (before, after) = (serving.remove(id), building.remove(id));
            if before == after {
                continue;
            }
            self.differing += 1;
            self.missing += i64::from(after.is_none());
            if self.first.len() < SHOWN_MAX {
                let [serving, building] = [before, after].map(|held| held.map(Held::versioned));
                self.first.push(Twin { key: id.clone(), serving, building });
            }
        }
    }
}
