//! Checks that a view has folded every event of the outbox. Folding again only what the view has folded would not find events
//! that it never had.

use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_store::consumer_offset::Mark;
use millrace_store::names::Namespace;
use millrace_store::{Group, blocked_key, outbox, progress};

use super::finding::Finding;
use super::horizon;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::ReadModel;
use crate::postgres::Database;

/// Streams of a page, at most.
const PAGE: i64 = 5_000;
/// Streams that are reported, at most.
const FOUND_MAX: usize = 1_000;

/// How often suspects are checked again before Debezium's position is waited for.
const GLANCES: u32 = 4;
const BETWEEN_GLANCES: Duration = Duration::from_millis(250);

/// Context, stream, version.
type Stream = (String, String, i64);

/// Finds streams of the outbox whose last events the view has not folded although it has applied all its topics. Keys that wait
/// behind a failed record are excluded. Checks all streams, or those with events since a time.
pub(super) async fn check(
    config: &Config,
    [write, read]: [&Database; 2],
    model: &ReadModel,
    group: &Group,
    (since, patience): (Option<DateTime<Utc>>, Duration),
) -> Result<Vec<Finding>, Failure> {
    let mut suspects = suspects([write, read], model, group, since).await?;
    for _ in 0..GLANCES {
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        // Most are still being carried and folded.
        tokio::time::sleep(BETWEEN_GLANCES).await;
        suspects = unfolded(read, group, &suspects).await?.into_iter().map(|(stream, _)| stream).collect();
    }
    // Some may still be.
    horizon::carried(config, write, patience).await?;
    let topics = model.topics(&config.namespace);
    let ends = tokio::task::block_in_place(|| horizon::ends(config, &topics))?;
    horizon::reached(read, group, Mark::Applied, &ends, patience).await?;
    // Waiting keys are queried first: if one is folded meanwhile, the next query does not return it.
    let waiting = waiting(read, &config.namespace, group).await?;
    let unfolded = unfolded(read, group, &suspects).await?;
    let known = |(context, stream, _): &Stream| waiting.iter().any(|(c, s)| c == context && s == stream);
    let found = unfolded.into_iter().filter(|(stream, _)| !known(stream));
    let finding = |((context, stream, version), folded): (Stream, i64)| {
        let versions = [Some(folded), Some(version)];
        Finding::unfolded(
            model.name,
            (&context, &stream),
            "not folded, though all of the topic is applied",
            versions,
        )
    };
    Ok(found.map(finding).collect())
}

/// Page by page: no snapshot is held while the read side answers.
async fn suspects(
    [write, read]: [&Database; 2],
    model: &ReadModel,
    group: &Group,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<Stream>, Failure> {
    let (mut after, mut suspects) = ((String::new(), String::new()), Vec::new());
    while suspects.len() < FOUND_MAX {
        let page = outbox::last_versions(&write.pool, &model.contexts, (since, &after), PAGE).await;
        let page = page.map_err(|error| write.failure(error))?;
        let Some((context, stream, _)) = page.last() else { break };
        after = (context.clone(), stream.clone());
        suspects.extend(unfolded(read, group, &page).await?.into_iter().map(|(stream, _)| stream));
    }
    Ok(suspects)
}

/// Those of some streams that the view has not folded up to their version, with the progress of each.
async fn unfolded(read: &Database, group: &Group, streams: &[Stream]) -> Result<Vec<(Stream, i64)>, Failure> {
    let rows = progress::unfolded(&read.pool, group, streams).await.map_err(|error| read.failure(error))?;
    Ok(rows
        .into_iter()
        .map(|(context, stream, version, folded)| ((context, stream, version), folded))
        .collect())
}

/// Streams that wait behind a failed record.
async fn waiting(
    read: &Database,
    namespace: &Namespace,
    group: &Group,
) -> Result<Vec<(String, String)>, Failure> {
    let rows = blocked_key::behind_a_failure(&read.pool, group).await;
    let rows = rows.map_err(|error| read.failure(error))?;
    let of = |(topic, key): (String, Vec<u8>)| {
        Some((namespace.event_context(&topic)?.to_owned(), String::from_utf8(key).ok()?))
    };
    Ok(rows.into_iter().filter_map(of).collect())
}
