//! What a trace starts from.

use millrace_store::outbox::{self, Head};
use millrace_store::stream;
use uuid::Uuid;

use super::MOST;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout;
use crate::postgres::Database;
use crate::receipts::{Receipt, Receipts};

/// What a trace starts from.
pub(super) enum Start {
    /// The last events of streams, the newest first, and whether there are earlier ones.
    Streams(Vec<Head>, bool),
    /// Commands with one id, of one or several sources.
    Commands(Vec<Receipt>),
    /// An event, or a rejection.
    Record(Head),
}

/// Finds what has this id: `context/id` is a stream; else it is looked up as a stream, a command, an event.
pub(super) async fn find(config: &Config, write: &Database, id: &str) -> Result<Start, Failure> {
    let fail = |error| write.failure(error);
    let contexts = layout::contexts(config);
    let named = id.split_once('/').filter(|(context, _)| contexts.contains(context));
    if let Some((context, stream)) = named {
        return streams(write, &[context.to_owned()], stream).await?.ok_or_else(|| nothing(id));
    }
    let found = stream::contexts_of(&write.pool, &contexts, id).await.map_err(fail)?;
    if let Some(streams) = streams(write, &found, id).await? {
        return Ok(streams);
    }
    if let Ok(uuid) = id.parse::<Uuid>()
        && let Some(head) = outbox::head_of(&write.pool, uuid).await.map_err(fail)?
        && !is_command(config, &head)
    {
        return Ok(Start::Record(head));
    }
    match Receipts::new(config)?.find(id, None).await {
        Err(Failure::NotFound(_)) => Err(nothing(id)),
        found => found.map(Start::Commands),
    }
}

/// Whether a row is a command that a saga or an effect has sent.
pub(super) fn is_command(config: &Config, head: &Head) -> bool {
    head.version.is_none()
        && head.topic == config.namespace.topic(millrace_schemas::Kind::Command, &head.context)
}

async fn streams(write: &Database, contexts: &[String], id: &str) -> Result<Option<Start>, Failure> {
    let mut heads = Vec::new();
    for context in contexts {
        let found = outbox::heads_of_stream(&write.pool, (context, id), MOST).await;
        heads.extend(found.map_err(|error| write.failure(error))?);
    }
    let earlier = heads.iter().filter_map(|head| head.version).min().is_some_and(|first| first > 1);
    Ok((!heads.is_empty()).then_some(Start::Streams(heads, earlier)))
}

fn nothing(id: &str) -> Failure {
    Failure::NotFound(format!("neither a stream, a command nor an event has the id `{id}`"))
}
