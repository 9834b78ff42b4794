//! Deciding commands: each once, in the order of its key, on the newest state of every stream that it touches.
//!
//! A batch has a fixed number of statements whatever its size: fence, ledger look-up, missing streams, locks, states, references;
//! then streams, outbox and ledger are written, and everything is committed at once. A batch with commands of this instance's own
//! source also reads the outbox.

mod arrived;
mod cache;
mod decide;
mod dry_run;
mod identity;
mod ledger;
mod long;
mod outcomes;
mod own;
mod refold;
mod streams;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millrace_domain::Context;
use millrace_schemas::{Definition, Kind, short_name};
use millrace_store::Group;
use millrace_store::names::Namespace;
use sqlx::PgConnection;
use tokio::sync::OnceCell;

pub use cache::{CacheFigures, StateCache};
pub use dry_run::{Decider, Verdict, WouldBe};
pub use identity::{Identity, is_content};
pub use long::{IN_BATCH_MAX, fold_ahead};
pub use refold::Refolders;

use crate::database::Pool;
use crate::error::{Fault, WorkError};
use crate::metrics;
use crate::outbox::{self, SchemaIds};
use crate::record::Record;
use crate::registry::Registry;
use crate::role::{Folded, Role};
use ledger::DEAD;
use outcomes::Answers;

/// Shared by the deciders of all contexts.
#[derive(Clone)]
pub struct Shared {
    /// The consumer group of the commands.
    pub group: Group,
    /// The write side.
    pub pool: Pool,
    /// The schema registry.
    pub registry: Arc<Registry>,
    /// States of streams of all contexts.
    pub cache: Arc<StateCache>,
    /// How to fold a stream of any context again.
    pub refolders: Arc<Refolders>,
    /// Whether a task folds streams again that are too long for a batch; a dry run has no task, and waits for that of the group.
    pub folds_long: bool,
    /// The namespace of the topics.
    pub namespace: Namespace,
    /// Whether the outcome of each command is written.
    pub outcomes: bool,
}

/// Decides the commands of one context.
pub struct Commands<C> {
    shared: Shared,
    schema_ids: OnceCell<SchemaIds>,
    context: std::marker::PhantomData<fn() -> C>,
}

impl<C: Context> Commands<C> {
    /// A decider of the context `C`.
    pub fn new(shared: Shared) -> Self {
        // Export the series with 0: Prometheus sees no increase in a series that begins with 1.
        metrics::DECISIONS.with_label_values(&[C::NAME, DEAD]);
        Self { shared, schema_ids: OnceCell::new(), context: std::marker::PhantomData }
    }

    /// The schema ids of the records that this context writes, requested once.
    async fn schema_ids(&self) -> Result<&SchemaIds, WorkError> {
        let writes = |definition: &Definition| match definition.kind {
            Kind::Command => false,
            Kind::Event => definition.context == C::NAME,
            Kind::Rejection | Kind::Outcome => true,
        };
        self.schema_ids.get_or_try_init(|| self.shared.registry.ids(writes)).await
    }

    async fn answers(&self) -> Result<Answers<'_>, WorkError> {
        let ids = self.schema_ids().await?;
        Ok(Answers { ids, outcomes: self.shared.outcomes, decided_at: Utc::now() })
    }
}

#[async_trait]
impl<C: Context> Role for Commands<C> {
    fn group(&self) -> &Group {
        &self.shared.group
    }

    fn database(&self) -> &Pool {
        &self.shared.pool
    }

    async fn assign_ordering_keys(&self, batch: &[&Record]) -> Result<(), WorkError> {
        arrived::assign_ordering_keys::<C>(&self.shared.registry, batch).await
    }

    async fn fold(&self, connection: &mut PgConnection, batch: &[&Record]) -> Result<Folded, WorkError> {
        let received_at = Utc::now();
        let answers = self.answers().await?;
        let (arrived, mut outcomes) =
            arrived::decode::<C>(&self.shared.registry, &self.shared.group, batch).await?;
        let arrived = own::vouched(connection, &self.shared.namespace, arrived, &mut outcomes).await?;
        let (fresh, died) = ledger::fresh(connection, &self.shared.group, arrived, &mut outcomes).await?;
        let mut streams = streams::lock_and_load::<C>(connection, &self.shared, &fresh).await?;
        let (references, read) = streams::references::<C>(connection, &self.shared, &fresh).await?;
        let decided = decide::all::<C>(&fresh, &mut streams, &references, &answers, &mut outcomes);
        let mut stored = streams::store::<C>(connection, streams).await?;
        stored.extend(read);
        outbox::insert(connection, &self.shared.namespace, &decided.outbox).await?;
        ledger::insert(connection, C::NAME, received_at, &decided.receipts).await?;
        ledger::settle_letters(connection, &self.shared.group, &died, &decided.receipts).await?;
        Ok(Folded {
            outcomes,
            documents: Vec::new(),
            remember: Some(self.remember(stored, decided.receipts, received_at)),
            noted: decided.noted,
        })
    }

    /// Writes a receipt and an outcome for a dead-lettered command, for its producer.
    async fn dead_lettered(
        &self,
        connection: &mut PgConnection,
        record: &Record,
        fault: &Fault,
    ) -> Result<(), WorkError> {
        metrics::DECISIONS.with_label_values(&[C::NAME, DEAD]).inc();
        let identity = own::identity_of_dead(connection, &self.shared.namespace, C::NAME, record).await?;
        let life = ledger::insert_dead(connection, C::NAME, &identity, record, fault).await?;
        let Some(life) = life else { return Ok(()) };
        let died = outcomes::Died { identity: &identity, life, record, fault };
        let outcome = outcomes::dead::<C>(&died, &self.answers().await?).map_err(WorkError::Faulty)?;
        outbox::insert(connection, &self.shared.namespace, outcome.as_slice()).await
    }

    async fn waited(&self, connection: &mut PgConnection, records: &[&Record]) -> Result<(), WorkError> {
        ledger::correct_waited(connection, &self.shared.group, records).await
    }

    fn forget(&self) {
        self.shared.cache.clear();
    }
}

impl<C: Context> Commands<C> {
    fn remember(
        &self,
        stored: Vec<streams::Stored>,
        receipts: Vec<ledger::Receipt>,
        received_at: DateTime<Utc>,
    ) -> Box<dyn FnOnce() + Send> {
        let cache = self.shared.cache.clone();
        Box::new(move || {
            for stream in stored {
                cache.put(stream.context, stream.id, stream.version, stream.state);
            }
            cache.export();
            let now = Utc::now();
            for receipt in receipts {
                let outcome = receipt.status.as_str();
                metrics::DECISIONS.with_label_values(&[C::NAME, outcome]).inc();
                if let Some(produced_at) = receipt.produced_at {
                    let labels = [short_name(receipt.record_type), outcome];
                    let until = |time: DateTime<Utc>| (time - produced_at).as_seconds_f64().max(0.0);
                    metrics::COMMAND_SECONDS.with_label_values(&labels).observe(until(now));
                    metrics::COMMAND_WAIT_SECONDS.with_label_values(&labels).observe(until(received_at));
                }
            }
        })
    }
}
