//! What must be known before rows of a kind are removed: what Kafka still has, and what Debezium has carried.

use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_schemas::Kind as RecordKind;
use millrace_store::command::First;
use millrace_store::prune::Aged;
use millrace_store::{audit, command, dead_letter, effect, outbox, saga_step};
use sqlx::PgPool;

use super::kind::Kind;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::Reader;
use crate::layout::{self, Side};
use crate::postgres::Database;
use crate::verify::horizon;

/// How long to wait for Debezium before the rows of the outbox are left to the next run.
const PATIENCE: Duration = Duration::from_secs(60);

/// The limit up to which rows of a kind may be removed.
pub(super) struct Horizon {
    /// For receipts: the first existing offset of each partition of the topics of commands. Empty for other kinds.
    pub(super) firsts: Vec<First>,
}

/// Determines the limit from Kafka.
pub(super) fn horizon(config: &Config, kind: Kind) -> Result<Horizon, Failure> {
    let firsts = match kind {
        Kind::Receipts => tokio::task::block_in_place(|| firsts(config))?,
        _ => Vec::new(),
    };
    Ok(Horizon { firsts })
}

/// Waits until Debezium has carried the rows that are to be removed and may not be in Kafka yet.
pub(super) async fn carried(
    config: &Config,
    write: &Database,
    kind: Kind,
    before: DateTime<Utc>,
) -> Result<(), Failure> {
    let asked = kind == Kind::Outbox
        && outbox::has_prunable_answers(&write.pool, before).await.map_err(|error| write.failure(error))?;
    if asked { horizon::carried(config, write, PATIENCE).await } else { Ok(()) }
}

/// The first offsets of partitions from which records were deleted.
fn firsts(config: &Config) -> Result<Vec<First>, Failure> {
    let reader = Reader::new(&config.kafka)?;
    let contexts = layout::contexts(config).into_iter();
    let topics = contexts.map(|context| config.namespace.topic(RecordKind::Command, context));
    let ends = reader.ends_of_topics(topics)?.into_iter();
    Ok(ends
        .filter_map(|((topic, partition), (first, _))| (first > 0).then_some((topic, partition, first)))
        .collect())
}

impl Horizon {
    /// The number and age of rows of a kind that would be removed.
    pub(super) async fn count(
        &self,
        pool: &PgPool,
        (kind, side): (Kind, Side),
        before: DateTime<Utc>,
    ) -> sqlx::Result<Aged> {
        match kind {
            Kind::Receipts if self.firsts.is_empty() => Ok(Aged::default()),
            Kind::Receipts => command::prunable(pool, &self.firsts, before).await,
            Kind::Outbox => outbox::prunable(pool, before).await,
            Kind::SagaSteps => saga_step::prunable(pool, before).await,
            Kind::EffectBodies => effect::prunable(pool, before).await,
            Kind::DeadLetters => dead_letter::prunable(pool, before, side == Side::Write).await,
            Kind::Audit => audit::prunable(pool, before).await,
        }
    }
}
