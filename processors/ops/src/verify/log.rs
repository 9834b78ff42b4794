//! Compares the documents of a log with the events of the outbox.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_engine::{Document, Record};
use millrace_store::outbox::{self as store, Span};
use millrace_store::verified;
use serde::{Deserialize, Serialize};

use super::finding::Finding;
use super::horizon;
use super::index::{Checked, Index};
use super::sample;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{ReadModel, Side};
use crate::outage;
use crate::outbox::pace::Pace;
use crate::outbox::{self, Stored};
use crate::postgres::Database;

/// Events of a page.
const PAGE: i64 = 500;
/// Events whose documents are compared again, at most.
const SUSPECTS_MAX: usize = 10_000;

/// Each comparison takes a part of the old documents: all are compared within this many comparisons, a week at the default
/// interval.
const LOOKS: i64 = 672;
/// With more changed streams than this, all documents are compared.
const STREAMS_MAX: i64 = 100_000;

/// The auditor's mark of a log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Mark {
    serving: i32,
    shape: String,
    /// The documents of events that were written before are compared.
    since: DateTime<Utc>,
    /// When all documents were last compared.
    whole_at: DateTime<Utc>,
    /// The event after which the sample continues: context, stream, version.
    behind: (String, String, i64),
}

impl Mark {
    /// The mark of a log; `None` when this generation has none, or was last compared as a whole before `since`.
    pub(super) async fn of(
        read: &Database,
        model: &ReadModel,
        serving: i32,
        since: DateTime<Utc>,
    ) -> Result<Option<Self>, Failure> {
        let mark: Option<Self> =
            verified::mark(&read.pool, model.name).await.map_err(|error| read.failure(error))?;
        Ok(mark.filter(|mark| {
            (mark.serving, &mark.shape) == (serving, &model.shape.fingerprint) && mark.whole_at >= since
        }))
    }

    /// The mark after a comparison without findings, with the start of the next sample.
    pub(super) fn next(
        before: Option<Self>,
        (model, serving): (&ReadModel, i32),
        now: DateTime<Utc>,
        behind: (String, String, i64),
    ) -> Self {
        let whole_at = before.map_or(now, |before| before.whole_at);
        Self { serving, shape: model.shape.fingerprint.clone(), since: now, whole_at, behind }
    }
}

/// The documents of a log.
pub(super) struct LogDocuments<'d> {
    pub(super) config: &'d Config,
    pub(super) databases: [&'d Database; 2],
    pub(super) model: &'d ReadModel,
    pub(super) index: Index<'d>,
}

impl LogDocuments<'_> {
    /// Compares the documents of all events, or of those that are new since a mark and a part of the old ones. Returns the
    /// expected versions of wrong documents, and the event after which the next sample begins.
    pub(super) async fn check(&self, mut pace: Pace, mark: Option<&Mark>) -> Result<Logged, Failure> {
        let mut seen = Suspects::default();
        let behind = match mark {
            Some(mark) if self.recent(mark.since, &mut pace, &mut seen).await? => {
                let about = store::about(&self.databases[0].pool).await;
                let about = about.map_err(|error| self.databases[0].failure(error))?;
                let part = (about / LOOKS + 1).max(sample::LEAST);
                self.old(mark.behind.clone(), part, &mut pace, &mut seen).await?
            }
            _ => self.old(Default::default(), i64::MAX, &mut pace, &mut seen).await?,
        };
        let Suspects { count, wrong } = seen;
        if wrong.is_empty() {
            return Ok(Logged { checked: Checked { count, findings: Vec::new() }, expected: wrong, behind });
        }
        // They may also be on their way.
        horizon::carried(self.config, self.databases[0], self.index.patience).await?;
        let topics = self.model.topics(&self.config.namespace);
        let ends = tokio::task::block_in_place(|| horizon::ends(self.config, &topics))?;
        self.index.published(&ends).await?;
        let findings = self.judge(&wrong).await?;
        Ok(Logged { checked: Checked { count, findings }, expected: wrong, behind })
    }

    /// Events are read page by page: they never change, so no snapshot is held while Elasticsearch answers.
    async fn old(
        &self,
        mut after: (String, String, i64),
        most: i64,
        pace: &mut Pace,
        seen: &mut Suspects,
    ) -> Result<(String, String, i64), Failure> {
        let (write, end) = (self.databases[0], seen.count.saturating_add(most));
        while seen.wrong.len() < SUSPECTS_MAX && seen.count < end {
            let contexts = self.model.contexts.as_slice();
            let events = outbox::after(&write.pool, &self.config.namespace, contexts, &after, PAGE).await;
            let events: Vec<Stored> = events.map_err(|error| write.failure(error))?;
            let Some(Stored { context, stream, version, .. }) = events.last() else {
                return Ok(Default::default());
            };
            after = (context.clone(), stream.clone(), *version);
            self.look_at(&events, pace, seen).await?;
        }
        Ok(after)
    }

    /// Compares events that were written since a time; false when they are of too many streams.
    async fn recent(
        &self,
        since: DateTime<Utc>,
        pace: &mut Pace,
        seen: &mut Suspects,
    ) -> Result<bool, Failure> {
        let fail = |error| self.databases[0].failure(error);
        let pool = &self.databases[0].pool;
        let spans = store::new(pool, &self.model.contexts, since, STREAMS_MAX).await.map_err(fail)?;
        if i64::try_from(spans.len()).is_ok_and(|streams| streams == STREAMS_MAX) {
            return Ok(false);
        }
        for piece in pieces(spans) {
            let mut left = piece;
            while !left.is_empty() && seen.wrong.len() < SUSPECTS_MAX {
                let events = outbox::events(pool, &self.config.namespace, &left).await.map_err(fail)?;
                let read = outbox::reached(&left, &events);
                left = behind(&left, &read);
                self.look_at(&events, pace, seen).await?;
            }
        }
        Ok(true)
    }

    async fn look_at(&self, events: &[Stored], pace: &mut Pace, seen: &mut Suspects) -> Result<(), Failure> {
        let read = self.databases[1];
        pace.took(u32::try_from(events.len()).unwrap_or(u32::MAX)).await;
        seen.count += i64::try_from(events.len()).unwrap_or(i64::MAX);
        let records: Vec<&Record> = events.iter().map(|event| &event.record).collect();
        let mut connection = read.pool.acquire().await.map_err(|error| read.failure(error))?;
        let documents = self.index.role.documents(&mut connection, &records).await;
        let documents = documents.map_err(|error| outage::failure(self.config, Side::Read, error))?;
        seen.wrong.extend(self.wrong(documents).await?);
        Ok(())
    }

    /// The documents that differ from the stored ones.
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

/// The expected versions of wrong documents, by id, and the number of compared ones.
#[derive(Default)]
struct Suspects {
    count: i64,
    wrong: BTreeMap<String, Document>,
}

/// The result of a comparison of a log.
pub(super) struct Logged {
    pub(super) checked: Checked,
    /// The expected versions of wrong documents.
    pub(super) expected: BTreeMap<String, Document>,
    /// The event after which the next sample begins.
    pub(super) behind: (String, String, i64),
}

/// Spans in groups of about a page of events.
fn pieces(spans: Vec<Span>) -> Vec<Vec<Span>> {
    let (mut groups, mut room): (Vec<Vec<Span>>, i64) = (Vec::new(), 0);
    for piece in spans.iter().flat_map(|span| span.pieces(PAGE)) {
        let size = piece.upto - piece.above;
        match groups.last_mut() {
            Some(group) if size <= room => group.push(piece),
            _ => {
                groups.push(vec![piece]);
                room = PAGE;
            }
        }
        room -= size;
    }
    groups
}

/// The rest of spans after a part of them was read.
fn behind(spans: &[Span], read: &[Span]) -> Vec<Span> {
    let whole = spans.iter().zip(read).take_while(|(span, read)| span == read).count();
    let mut left = spans.get(whole..).unwrap_or_default().to_vec();
    if let (Some(first), Some(part)) = (left.first_mut(), read.get(whole)) {
        first.above = part.upto;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(stream: &str, above: i64, upto: i64) -> Span {
        Span { context: "orders".to_owned(), stream: stream.to_owned(), above, upto }
    }

    #[test]
    fn new_events_are_read_in_groups_of_about_a_page() {
        let groups = pieces(vec![span("a", 0, 300), span("b", 2, 202), span("c", 0, 501)]);
        assert_eq!(
            groups,
            [vec![span("a", 0, 300), span("b", 2, 202)], vec![span("c", 0, 500)], vec![span("c", 500, 501)]]
        );
    }

    #[test]
    fn what_did_not_fit_is_read_next() {
        let spans = [span("a", 0, 2), span("b", 0, 5)];
        assert!(behind(&spans, &spans).is_empty());
        assert_eq!(behind(&spans, &[span("a", 0, 2), span("b", 0, 3)]), [span("b", 3, 5)]);
    }
}
