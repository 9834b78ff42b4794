//! Whether a view has folded every event of the outbox: what it has never seen, no refold of what it has seen can miss.

use std::time::Duration;

use futures::TryStreamExt as _;
use millrace_store::Group;
use millrace_store::names::Namespace;

use super::finding::Finding;
use super::horizon::{self, Mark};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::ReadModel;
use crate::postgres::Database;
use crate::replay::session;

/// Streams that are looked up at a time.
const PAGE: usize = 1_000;
/// Streams that are told.
const FOUND_MAX: usize = 1_000;

/// What has just been decided is folded within this, unless something is behind.
const GLANCES: u32 = 4;
const BETWEEN_GLANCES: Duration = Duration::from_millis(250);

/// Context, stream, version.
type Stream = (String, String, i64);

/// Finds streams of the outbox whose last events the view has not folded, although it has read all of its topics. Keys
/// that wait behind a record that failed are known, and left out.
pub(super) async fn check(
    config: &Config,
    [write, read]: [&Database; 2],
    model: &ReadModel,
    group: &Group,
    patience: Duration,
) -> Result<Vec<Finding>, Failure> {
    let mut suspects = suspects([write, read], model, group).await?;
    for _ in 0..GLANCES {
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        // Most are on their way.
        tokio::time::sleep(BETWEEN_GLANCES).await;
        suspects = unfolded(read, group, &suspects).await?.into_iter().map(|(stream, _)| stream).collect();
    }
    // Or still are.
    horizon::carried(config, write, patience).await?;
    let topics = model.topics(&config.namespace);
    let ends = tokio::task::block_in_place(|| horizon::ends(config, &topics))?;
    horizon::reached(read, group, Mark::Applied, &ends, patience).await?;
    // What waits is asked for first: it may be folded before the next question, which then leaves it out.
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

async fn suspects(
    [write, read]: [&Database; 2],
    model: &ReadModel,
    group: &Group,
) -> Result<Vec<Stream>, Failure> {
    let fail = |error| write.failure(error);
    let mut connection = session::open(write).await.map_err(fail)?;
    let streams = "SELECT aggregatetype, aggregateid, max(version) FROM outbox
                   WHERE aggregatetype = ANY($1) AND version IS NOT NULL GROUP BY 1, 2";
    let streams = sqlx::query_as::<_, Stream>(streams).bind(model.contexts.as_slice()).fetch(&mut connection);
    let mut pages = streams.try_chunks(PAGE);
    let mut suspects = Vec::new();
    while let Some(page) = pages.try_next().await.map_err(|error| fail(error.1))? {
        suspects.extend(unfolded(read, group, &page).await?.into_iter().map(|(stream, _)| stream));
        if suspects.len() >= FOUND_MAX {
            break;
        }
    }
    Ok(suspects)
}

/// Those of some streams that the view has not folded to their version, and how far it has.
async fn unfolded(read: &Database, group: &Group, streams: &[Stream]) -> Result<Vec<(Stream, i64)>, Failure> {
    let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
        "SELECT s.context, s.stream, s.version, coalesce(p.version, 0)
         FROM UNNEST($3::text[], $4::text[], $5::bigint[]) AS s(context, stream, version)
         LEFT JOIN progress AS p
             ON p.grp = $1 AND p.generation = $2 AND p.context = s.context AND p.stream = s.stream
         WHERE coalesce(p.version, 0) < s.version",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(streams.iter().map(|stream| stream.0.as_str()).collect::<Vec<_>>())
    .bind(streams.iter().map(|stream| stream.1.as_str()).collect::<Vec<_>>())
    .bind(streams.iter().map(|stream| stream.2).collect::<Vec<_>>())
    .fetch_all(&read.pool)
    .await
    .map_err(|error| read.failure(error))?;
    Ok(rows
        .into_iter()
        .map(|(context, stream, version, folded)| ((context, stream, version), folded))
        .collect())
}

/// Streams behind a record that failed.
async fn waiting(
    read: &Database,
    namespace: &Namespace,
    group: &Group,
) -> Result<Vec<(String, String)>, Failure> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT topic, key FROM blocked_key WHERE grp = $1 AND generation = $2 AND status IN ('retrying', 'dead')",
    )
    .bind(&group.id)
    .bind(group.generation)
    .fetch_all(&read.pool)
    .await
    .map_err(|error| read.failure(error))?;
    let of = |(topic, key): (String, Vec<u8>)| {
        Some((namespace.event_context(&topic)?.to_owned(), String::from_utf8(key).ok()?))
    };
    Ok(rows.into_iter().filter_map(of).collect())
}
