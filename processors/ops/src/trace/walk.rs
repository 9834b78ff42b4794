//! From causes to effects: rows of the outbox by what caused them, steps of sagas, calls, receipts.

use std::collections::{BTreeMap, BTreeSet};

use millrace_engine::effects;
use millrace_store::effect::{self, Made};
use millrace_store::outbox::{self, Head};
use millrace_store::parked::Waiting;
use millrace_store::saga_step::{self, Taken};
use millrace_store::{command, saga};

use super::MOST;
use super::start::{Start, is_command};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout;
use crate::postgres::Database;
use crate::receipts::{self, Receipt};

/// Everything that was found.
#[derive(Default)]
pub(super) struct Walked {
    /// Rows of the outbox by id.
    pub(super) heads: BTreeMap<String, Head>,
    /// Steps of sagas.
    pub(super) steps: Vec<Taken>,
    /// Receipts of the commands.
    pub(super) receipts: Vec<Receipt>,
    /// Commands that are being retried, or wait behind one that is.
    pub(super) waiting: Vec<Waiting>,
    /// Calls that the events requested.
    pub(super) calls: Vec<Made>,
    /// The instances of sagas that go on by themselves.
    pub(super) under_way: Vec<String>,
    /// Whether there is more.
    pub(super) more: bool,
}

impl Walked {
    /// The streams of all records, as context and id.
    pub(super) fn streams(&self) -> BTreeSet<(&str, &str)> {
        let heads = self.heads.values().map(|head| (head.context.as_str(), head.stream.as_str()));
        heads.chain(self.receipts.iter().map(|one| (one.context.as_str(), one.stream.as_str()))).collect()
    }

    /// The ids of these streams, which are the keys of their records.
    pub(super) fn stream_ids(&self) -> BTreeSet<String> {
        self.streams().into_iter().map(|(_, id)| id.to_owned()).collect()
    }

    /// The instances of sagas that took steps.
    pub(super) fn instances(&self) -> BTreeSet<(&str, &str)> {
        self.steps.iter().map(|step| (step.saga.as_str(), step.instance.as_str())).collect()
    }

    /// Adds rows; returns the ids of new ones.
    fn add(&mut self, heads: Vec<Head>) -> Vec<String> {
        let mut new = Vec::new();
        for head in heads {
            let id = head.id.to_string();
            if self.heads.insert(id.clone(), head).is_none() {
                new.push(id);
            }
        }
        new
    }

    fn is_full(&self) -> bool {
        i64::try_from(self.heads.len()).unwrap_or(i64::MAX) > MOST
    }
}

/// Walks from a start to everything that followed.
pub(super) async fn from(config: &Config, write: &Database, start: Start) -> Result<Walked, Failure> {
    let mut walked = Walked::default();
    let mut commands = BTreeSet::new();
    let first = match start {
        Start::Streams(heads, earlier) => {
            walked.more = earlier;
            commands.extend(heads.iter().filter_map(|head| head.causation_id.clone()));
            walked.add(heads)
        }
        Start::Commands(receipts) => {
            walked.receipts = receipts;
            walked.receipts.iter().map(|receipt| receipt.id.clone()).collect()
        }
        Start::Record(head) => {
            commands.extend(head.causation_id.clone());
            walked.add(vec![head])
        }
    };
    let found = follow(config, write, &mut walked, first, commands).await;
    found.map_err(|error| write.failure(error))?;
    Ok(walked)
}

async fn follow(
    config: &Config,
    write: &Database,
    walked: &mut Walked,
    first: Vec<String>,
    mut commands: BTreeSet<String>,
) -> sqlx::Result<()> {
    let mut known: BTreeSet<String> = first.iter().cloned().collect();
    let mut causes = first;
    while !causes.is_empty() && !walked.is_full() {
        let found = outbox::caused_by(&write.pool, &causes, MOST + 1).await?;
        causes = walked.add(found);
        walked.steps = steps(config, write, walked, &known).await?;
        // Timers lead to commands, too.
        causes.extend(walked.steps.iter().map(|step| step.input_id.clone()));
        causes.retain(|id| known.insert(id.clone()));
    }
    walked.more |= walked.is_full();
    let sent = walked.heads.values().filter(|head| is_command(config, head));
    commands.extend(sent.map(|head| head.id.to_string()));
    outcomes(config, write, walked, &commands).await?;
    walked.calls = calls(config, write, walked).await?;
    walked.under_way = under_way(write, walked).await?;
    Ok(())
}

/// The steps of the sagas whose instances are named like the streams: from the first on that received one of the records.
async fn steps(
    config: &Config,
    write: &Database,
    walked: &Walked,
    known: &BTreeSet<String>,
) -> sqlx::Result<Vec<Taken>> {
    let sagas: Vec<&str> = layout::sagas(config).iter().map(|saga| saga.name).collect();
    let ids = walked.stream_ids();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut steps = saga_step::of_instances(&write.pool, (&sagas, &ids), MOST).await?;
    let mut begun = BTreeSet::new();
    steps.retain(|step| {
        let instance = (step.saga.clone(), step.instance.clone());
        let received = walked.heads.contains_key(&step.input_id) || known.contains(&step.input_id);
        begun.contains(&instance) || received && begun.insert(instance)
    });
    Ok(steps)
}

/// Adds receipts of these commands, and what those wait for that have none.
async fn outcomes(
    config: &Config,
    write: &Database,
    walked: &mut Walked,
    commands: &BTreeSet<String>,
) -> sqlx::Result<()> {
    let ids: Vec<&str> = commands.iter().map(String::as_str).collect();
    let known: BTreeSet<(String, String)> =
        walked.receipts.iter().map(|one| (one.id.clone(), one.source.clone())).collect();
    let mut found: Vec<Receipt> = command::receipts(&write.pool, &ids, None).await?;
    found.retain(|one| !known.contains(&(one.id.clone(), one.source.clone())));
    walked.receipts.extend(found);
    walked.waiting = receipts::waiting(config, &write.pool, &ids).await?;
    Ok(())
}

async fn calls(config: &Config, write: &Database, walked: &Walked) -> sqlx::Result<Vec<Made>> {
    let effects = layout::effects(config);
    let events = walked.heads.iter().filter(|(_, head)| head.version.is_some());
    let keys = events.flat_map(|(id, _)| {
        effects.iter().map(|effect| (effect.name, effects::key(&config.namespace.group(effect.name), id)))
    });
    effect::calls(&write.pool, &keys.collect::<Vec<_>>()).await
}

async fn under_way(write: &Database, walked: &Walked) -> sqlx::Result<Vec<String>> {
    let (sagas, instances): (Vec<&str>, Vec<&str>) = walked.instances().into_iter().unzip();
    let mut found = saga::under_way(&write.pool, &sagas, &instances).await?;
    let of_these = walked.instances();
    found.retain(|(saga, instance, _)| of_these.contains(&(saga.as_str(), instance.as_str())));
    Ok(found.into_iter().map(|(saga, instance, standing)| format!("{saga}/{instance}: {standing}")).collect())
}
