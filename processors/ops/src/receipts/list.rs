//! Decided commands, or those being retried.

use chrono::{DateTime, TimeDelta, Utc};
use millrace_schemas::Kind;
use millrace_store::command::{self, Filter};
use millrace_store::names::COMMANDS;
use millrace_store::parked::{self, Which};
use millrace_store::write_side;

use super::receipt::Receipt;
use super::{attempts_max, group};
use crate::config::Config;
use crate::failure::Failure;
use crate::known;
use crate::layout::{self, Side};
use crate::page::{Page, one_more};
use crate::postgres::Database;

/// The status of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Being retried, or waiting behind a command of its key that is.
    Retrying,
    /// Its events are written.
    Completed,
    /// The business refused it.
    Rejected,
    /// It could not be decided.
    Dead,
}

impl Status {
    /// The text in the ledger.
    fn as_str(self) -> &'static str {
        match self {
            Status::Retrying => "retrying",
            Status::Completed => "completed",
            Status::Rejected => "rejected",
            Status::Dead => "dead",
        }
    }
}

/// A filter of commands: those that match every given field.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// Only of this stream: `context/id`, or the id.
    pub stream: Option<String>,
    /// Only with this status; decided ones of every status without.
    pub status: Option<Status>,
    /// Only decided, or received, at this time or later.
    pub since: Option<DateTime<Utc>>,
}

/// Decided commands, or with [`Status::Retrying`] those being retried; the newest first.
///
/// # Errors
/// [`Failure::Usage`] or [`Failure::NotFound`] when there is no such stream; when the database does not answer.
pub async fn list(config: &Config, filters: &Filters, limit: i64) -> Result<Page<Receipt>, Failure> {
    let ledger = Database::of(config, Side::Write)?;
    let stream = filters.stream.as_deref().map(|stream| Stream::of(config, stream));
    let found = match filters.status {
        Some(Status::Retrying) => retrying(config, &ledger, stream, filters, one_more(limit)).await?,
        _ => decided(&ledger, stream, filters, one_more(limit)).await?,
    };
    if let Some(stream) = stream.filter(|_| found.is_empty()) {
        stream.refuse_unknown(config, &ledger).await?;
    }
    Ok(Page::of(found, limit))
}

async fn decided(
    ledger: &Database,
    stream: Option<Stream<'_>>,
    filters: &Filters,
    limit: i64,
) -> Result<Vec<Receipt>, Failure> {
    let filter = Filter {
        context: stream.and_then(|stream| stream.context),
        stream: stream.map(|stream| stream.id),
        status: filters.status.map(Status::as_str),
        since: filters.since,
    };
    for since in spans(&filter, Utc::now()) {
        let found: Vec<Receipt> = command::newest(&ledger.pool, &Filter { since, ..filter }, limit)
            .await
            .map_err(|error| ledger.failure(error))?;
        if since == filter.since || i64::try_from(found.len()).is_ok_and(|count| count >= limit) {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// The times since which to search for the newest commands. Indexes exist for the time, for streams, and for commands that were
/// not completed. Other filters are applied to longer and longer spans of time, so that the newest of very many commands are
/// found without reading all of them.
fn spans(filter: &Filter<'_>, now: DateTime<Utc>) -> Vec<Option<DateTime<Utc>>> {
    let indexed = filter.stream.is_some() || filter.status.is_some_and(|status| status != "completed");
    let spans = [TimeDelta::minutes(10), TimeDelta::days(1), TimeDelta::days(30)];
    let later = |since: &DateTime<Utc>| !indexed && filter.since.is_none_or(|asked| *since > asked);
    let spans = spans.into_iter().map(|span| now - span).filter(later).map(Some);
    spans.chain([filter.since]).collect()
}

async fn retrying(
    config: &Config,
    ledger: &Database,
    stream: Option<Stream<'_>>,
    filters: &Filters,
    limit: i64,
) -> Result<Vec<Receipt>, Failure> {
    let topic = stream.and_then(|stream| stream.context);
    let topic = topic.map(|context| config.namespace.topic(Kind::Command, context));
    let which = Which {
        topic: topic.as_deref(),
        key: stream.map(|stream| stream.id.as_bytes()),
        since: filters.since,
        limit: Some(limit),
        ..Which::default()
    };
    let found = parked::waiting(&ledger.pool, &group(config), &which).await;
    let found = found.map_err(|error| ledger.failure(error))?;
    Ok(found.into_iter().map(|one| Receipt::waiting(one, attempts_max(config))).collect())
}

/// A stream as given: with its context or without.
#[derive(Debug, Clone, Copy)]
struct Stream<'s> {
    context: Option<&'s str>,
    id: &'s str,
    named: &'s str,
}

impl<'s> Stream<'s> {
    fn of(config: &Config, named: &'s str) -> Self {
        let split = named.split_once('/').filter(|(context, _)| layout::contexts(config).contains(context));
        match split {
            Some((context, id)) => Self { context: Some(context), id, named },
            None => Self { context: None, id: named, named },
        }
    }

    /// Refuses a stream that does not exist and for which there is no command.
    async fn refuse_unknown(self, config: &Config, ledger: &Database) -> Result<(), Failure> {
        let group = config.namespace.group(COMMANDS);
        let contexts = layout::contexts(config);
        let asked = self.context.map_or_else(|| contexts.clone(), |context| vec![context]);
        let known = write_side::knows_stream(&ledger.pool, (&asked, self.id), &group).await;
        let known = known.map_err(|error| ledger.failure(error))?;
        match self.named.split_once('/') {
            _ if known => Ok(()),
            Some((context, _)) if self.context.is_none() => known::among("context", context, &contexts),
            _ => Err(Failure::NotFound(format!("there is no stream `{}`, and no command of it", self.named))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_looked_for_in_longer_and_longer_spans_unless_an_index_has_them() {
        let now = Utc::now();
        let minutes = |filter: &Filter<'_>| -> Vec<Option<i64>> {
            let age = |since: DateTime<Utc>| (now - since).num_minutes();
            spans(filter, now).into_iter().map(|since| since.map(age)).collect()
        };
        let all = Filter::default();
        assert_eq!(minutes(&all), [Some(10), Some(1_440), Some(43_200), None]);
        assert_eq!(minutes(&Filter { since: Some(now - TimeDelta::hours(1)), ..all }), [Some(10), Some(60)]);
        assert_eq!(minutes(&Filter { stream: Some("ann"), ..all }), [None]);
        assert_eq!(minutes(&Filter { status: Some("rejected"), ..all }), [None]);
    }
}
