//! `millrace receipt` and `millrace commands`: what became of commands.

mod backlog;
mod receipt;

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::known;
use millrace_ops::layout::{self, Side};
use millrace_ops::postgres::Database;
use millrace_schemas::Kind;
use millrace_store::command::{self, Filter};
use millrace_store::names::COMMANDS;
use millrace_store::parked::{self, Waiting, Which};
use millrace_store::{dead_letter, write_side};
use serde_json::json;
use sqlx::PgPool;

use crate::cli;
use crate::output::{self, Format};
pub(crate) use receipt::waits_for;
use receipt::{Letter, Receipt};

/// Shows what became of a command.
///
/// # Errors
/// [`Failure::NotFound`] when it is neither in the ledger nor among the records that wait to be decided.
pub async fn receipt(config: &Config, format: Format, id: &str, source: Option<&str>) -> Result<(), Failure> {
    let ledger = Database::of(config, Side::Write)?;
    let mut found = recorded(config, &ledger, id, source).await?;
    if found.is_empty() {
        let waiting = backlog::backlog(config, &ledger).await?;
        found = tokio::task::block_in_place(|| backlog::pending(config, &waiting, id, source))?;
    }
    if found.is_empty() {
        // It may have been read while we looked where it was not any more.
        found = recorded(config, &ledger, id, source).await?;
    }
    if found.is_empty() {
        return Err(missing(config, &ledger, id, source).await?);
    }
    for dead in found.iter_mut().filter(|receipt| receipt.is_dead()) {
        dead.letter = letter(config, &ledger, dead).await?;
    }
    let text: Vec<String> = found.iter().map(receipt::shown).collect();
    output::print(format, &text.join("\n"), &json!(found))
}

async fn missing(
    config: &Config,
    ledger: &Database,
    id: &str,
    source: Option<&str>,
) -> Result<Failure, Failure> {
    let Some(source) = source else {
        let namespace = &config.namespace;
        return Ok(Failure::NotFound(format!(
            "no command `{id}` is in the ledger of `{namespace}` or waits to be decided"
        )));
    };
    let others = recorded(config, ledger, id, None).await?;
    let others: Vec<String> = others.into_iter().map(|receipt| format!("`{}`", receipt.source)).collect();
    let others =
        if others.is_empty() { String::new() } else { format!("; it is known of {}", others.join(", ")) };
    Ok(Failure::NotFound(format!(
        "no command `{id}` of the source `{source}` is in the ledger of `{}` or waits to be decided{others}",
        config.namespace
    )))
}

/// What Postgres knows: how it was decided; else what it waits for; else that it is dead. What waits is asked for first, so
/// that what is decided while we look is in the ledger.
async fn recorded(
    config: &Config,
    ledger: &Database,
    id: &str,
    source: Option<&str>,
) -> Result<Vec<Receipt>, Failure> {
    let fail = |error| ledger.failure(error);
    let waiting = waiting(config, &ledger.pool, &[id]).await.map_err(fail)?;
    let mut found = receipts(ledger, id, source).await?;
    for one in waiting.into_iter().filter(|one| source.is_none_or(|source| one.source == source)) {
        if found.iter().any(|receipt| receipt.source == one.source && !receipt.is_dead()) {
            continue;
        }
        found.retain(|receipt| receipt.source != one.source);
        found.push(Receipt::waiting(one, attempts_max(config)));
    }
    Ok(found)
}

/// Commands with these ids that are tried again, or wait behind one that is.
pub(crate) async fn waiting(config: &Config, write: &PgPool, ids: &[&str]) -> sqlx::Result<Vec<Waiting>> {
    parked::waiting(write, &group(config), &Which { ids: Some(ids), ..Which::default() }).await
}

fn group(config: &Config) -> millrace_store::Group {
    millrace_store::Group { id: config.namespace.group(COMMANDS), generation: 1 }
}

/// The first try, and as many as there are delays.
fn attempts_max(config: &Config) -> i32 {
    i32::try_from(config.retries.of(COMMANDS).len()).unwrap_or(i32::MAX).saturating_add(1)
}

async fn receipts(ledger: &Database, id: &str, source: Option<&str>) -> Result<Vec<Receipt>, Failure> {
    command::receipts(&ledger.pool, id, source).await.map_err(|error| ledger.failure(error))
}

/// The last letter of a dead command, and who dealt with it.
async fn letter(config: &Config, ledger: &Database, dead: &Receipt) -> Result<Option<Letter>, Failure> {
    let place = (dead.topic.as_deref(), dead.partition, dead.offset);
    let letters = dead_letter::letters_of(&ledger.pool, &config.namespace.group(COMMANDS), place).await;
    let letters = letters.map_err(|error| ledger.failure(error))?;
    let letter = |(id, status, who, why)| Letter { id, status, who, why };
    Ok(letters.into_iter().next_back().map(letter))
}

/// Lists decided commands, or those that wait for another try, the newest first.
///
/// # Errors
/// [`Failure::Usage`] or [`Failure::NotFound`] when there is no such stream; when the ledger cannot be read.
pub async fn commands(config: &Config, format: Format, options: &cli::Commands) -> Result<(), Failure> {
    let ledger = Database::of(config, Side::Write)?;
    let stream = options.stream.as_deref().map(|stream| Stream::of(config, stream));
    // One more, to know whether there are more.
    let limit = options.limit.saturating_add(1);
    let waiting = options.status == Some(cli::Status::Retrying);
    let found = if waiting {
        retrying(config, &ledger, stream, options, limit).await?
    } else {
        decided(&ledger, stream, options, limit).await?
    };
    if let Some(stream) = stream.filter(|_| found.is_empty()) {
        stream.refuse_unknown(config, &ledger).await?;
    }
    let found = output::first(found, options.limit);
    let shown = if waiting { receipt::list_waiting(&found) } else { receipt::list(&found) };
    output::print(format, &shown, &json!(found))
}

async fn decided(
    ledger: &Database,
    stream: Option<Stream<'_>>,
    options: &cli::Commands,
    limit: i64,
) -> Result<Vec<Receipt>, Failure> {
    let filter = Filter {
        context: stream.and_then(|stream| stream.context),
        stream: stream.map(|stream| stream.id),
        status: options.status.map(cli::Status::as_str),
        since: options.since,
    };
    let found = command::newest(&ledger.pool, &filter, limit).await;
    found.map_err(|error| ledger.failure(error))
}

async fn retrying(
    config: &Config,
    ledger: &Database,
    stream: Option<Stream<'_>>,
    options: &cli::Commands,
    limit: i64,
) -> Result<Vec<Receipt>, Failure> {
    let topic = stream.and_then(|stream| stream.context);
    let topic = topic.map(|context| config.namespace.topic(Kind::Command, context));
    let which = Which {
        topic: topic.as_deref(),
        key: stream.map(|stream| stream.id.as_bytes()),
        since: options.since,
        limit: Some(limit),
        ..Which::default()
    };
    let found = parked::waiting(&ledger.pool, &group(config), &which).await;
    let found = found.map_err(|error| ledger.failure(error))?;
    Ok(found.into_iter().map(|one| Receipt::waiting(one, attempts_max(config))).collect())
}

/// A stream as it is named: with its context or without.
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

    /// Refuses one that is not there, and of which no command speaks.
    async fn refuse_unknown(self, config: &Config, ledger: &Database) -> Result<(), Failure> {
        let group = config.namespace.group(COMMANDS);
        let known = write_side::knows_stream(&ledger.pool, (self.context, self.id), &group).await;
        let known = known.map_err(|error| ledger.failure(error))?;
        let contexts = layout::contexts(config);
        match self.named.split_once('/') {
            _ if known => Ok(()),
            Some((context, _)) if self.context.is_none() => known::among("context", context, &contexts),
            _ => Err(Failure::NotFound(format!("there is no stream `{}`, and no command of it", self.named))),
        }
    }
}
