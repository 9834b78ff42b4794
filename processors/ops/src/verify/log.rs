//! The documents of a log against the events of the outbox.

use std::collections::BTreeMap;

use millrace_engine::{Document, Record};

use super::finding::Finding;
use super::horizon;
use super::index::{Checked, Index};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{ReadModel, Side};
use crate::outage;
use crate::outbox::pace::Pace;
use crate::outbox::{self, Stored};
use crate::postgres::Database;

/// Events whose documents are compared at a time.
const PAGE: i64 = 500;
/// Events whose documents are looked at again, at most.
const SUSPECTS_MAX: usize = 10_000;

/// The documents of a log.
pub(super) struct LogDocuments<'d> {
    pub(super) config: &'d Config,
    pub(super) databases: [&'d Database; 2],
    pub(super) model: &'d ReadModel,
    pub(super) index: Index<'d>,
}

impl LogDocuments<'_> {
    /// Compares the document of every event, and returns those that are wrong as they should be.
    pub(super) async fn check(
        &self,
        mut pace: Pace,
    ) -> Result<(Checked, BTreeMap<String, Document>), Failure> {
        let (count, suspects) = self.suspects(&mut pace).await?;
        if suspects.is_empty() {
            return Ok((Checked { count, findings: Vec::new() }, suspects));
        }
        // Or they are on their way.
        horizon::carried(self.config, self.databases[0], self.index.patience).await?;
        let topics = self.model.topics(&self.config.namespace);
        let ends = tokio::task::block_in_place(|| horizon::ends(self.config, &topics))?;
        self.index.published(&ends).await?;
        let findings = self.judge(&suspects).await?;
        Ok((Checked { count, findings }, suspects))
    }

    /// Events are read a page after the other: none changes, so no snapshot is held while Elasticsearch answers.
    async fn suspects(&self, pace: &mut Pace) -> Result<(i64, BTreeMap<String, Document>), Failure> {
        let [write, read] = self.databases;
        let fail = |error| write.failure(error);
        let mut connection = read.pool.acquire().await.map_err(|error| read.failure(error))?;
        let (mut count, mut suspects, mut after) = (0, BTreeMap::new(), (String::new(), String::new(), 0));
        while suspects.len() < SUSPECTS_MAX {
            let contexts = self.model.contexts.as_slice();
            let events = outbox::after(&write.pool, &self.config.namespace, contexts, &after, PAGE).await;
            let events: Vec<Stored> = events.map_err(fail)?;
            let Some(Stored { context, stream, version, .. }) = events.last() else { break };
            after = (context.clone(), stream.clone(), *version);
            pace.took(u32::try_from(events.len()).unwrap_or(u32::MAX)).await;
            count += i64::try_from(events.len()).unwrap_or(i64::MAX);
            let records: Vec<&Record> = events.iter().map(|event| &event.record).collect();
            let documents = self.index.role.documents(&mut connection, &records).await;
            let documents = documents.map_err(|error| outage::failure(self.config, Side::Read, error))?;
            suspects.extend(self.wrong(documents).await?);
        }
        Ok((count, suspects))
    }

    /// Those that are not stored as they should be.
    async fn wrong(&self, documents: Vec<Document>) -> Result<Vec<(String, Document)>, Failure> {
        let ids: Vec<String> = documents.iter().map(|document| document.id.clone()).collect();
        let held = self.index.reader.held(&ids).await?;
        let wrong = |document: &Document| !held.get(&document.id).is_some_and(|held| held.is(document));
        let wrong = documents.into_iter().filter(wrong);
        Ok(wrong.map(|document| (document.id.clone(), document)).collect())
    }

    async fn judge(&self, suspects: &BTreeMap<String, Document>) -> Result<Vec<Finding>, Failure> {
        let mut findings = Vec::new();
        let ids: Vec<String> = suspects.keys().cloned().collect();
        for ids in ids.chunks(usize::try_from(PAGE).unwrap_or(usize::MAX)) {
            let mut held = self.index.reader.held(ids).await?;
            for (id, document) in ids.iter().filter_map(|id| Some((id, suspects.get(id)?))) {
                let held = held.remove(id);
                if !held.as_ref().is_some_and(|held| held.is(document)) {
                    findings.push(self.index.finding(id.clone(), held, Some(document.clone())));
                }
            }
        }
        Ok(findings)
    }
}
