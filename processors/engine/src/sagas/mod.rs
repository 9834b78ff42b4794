//! Sagas: each event, rejection or timer is one step of its instance; state, commands, timers and the offset are
//! committed together.
//!
//! An instance is a row of `saga`, which is locked during a step, since its inputs come from several partitions and from timers.
//! Each step is a row of `saga_step` under the id of its input, so that a second copy is recognised. The ordering key of a record is
//! its instance, not its Kafka key: the events of a product belong to many orders.

mod input;
mod instance;
#[cfg(test)]
mod model;
mod store;
mod timers;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_domain::{Saga, Standing};
use millrace_store::Group;
use millrace_store::names::Namespace;
use sqlx::PgConnection;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::database::Pool;
use crate::dead_letters;
use crate::error::{Fault, WorkError};
use crate::metrics;
use crate::outbox::{self, OutboxRow, SchemaIds};
use crate::outcome::{Outcome, Stuck};
use crate::record::Record;
use crate::registry::Registry;
use crate::role::{Folded, Role};
use crate::spans;
use input::Received;
use instance::{Instance, Reacted};

/// Shared by all sagas.
#[derive(Clone)]
pub struct Shared {
    /// The write side.
    pub pool: Pool,
    /// The schema registry.
    pub registry: Arc<Registry>,
    /// The namespace of the topics.
    pub namespace: Namespace,
    /// Configured durations of timers, such as `fulfilment.deadline`; other timers have the default of their saga.
    pub timers: Arc<HashMap<String, Duration>>,
}

/// Runs the instances of the saga `S`.
pub struct SagaRole<S> {
    shared: Shared,
    group: Group,
    schema_ids: OnceCell<SchemaIds>,
    saga: std::marker::PhantomData<fn() -> S>,
}

/// The instances of a batch, by name.
type Instances<S> = BTreeMap<String, Instance<S>>;

impl<S: Saga> SagaRole<S> {
    /// The role of the saga.
    pub fn new(shared: Shared) -> Self {
        let group = Group { id: shared.namespace.group(S::NAME), generation: 1 };
        Self { shared, group, schema_ids: OnceCell::new(), saga: std::marker::PhantomData }
    }

    /// The schema ids of the commands that may be sent, requested once.
    async fn schema_ids(&self) -> Result<&SchemaIds, WorkError> {
        self.schema_ids.get_or_try_init(|| self.shared.registry.command_ids(S::SENDS_TO)).await
    }

    async fn save(&self, connection: &mut PgConnection, instances: Instances<S>) -> Result<(), WorkError> {
        let rows: Vec<&OutboxRow> = instances.values().flat_map(|instance| &instance.outbox).collect();
        outbox::insert(connection, &self.shared.namespace, &rows).await?;
        store::save::<S>(connection, &instances, &self.shared.timers).await
    }
}

/// The tasks of a saga that no record triggers.
#[async_trait]
pub trait Process: Send + Sync {
    /// Fires timers until stopped.
    async fn keep_time(&self, stop: CancellationToken);

    /// Cancels an instance for an operator; the saga decides what follows. `None` when there is no such instance.
    ///
    /// # Errors
    /// [`WorkError`], and nothing is changed; [`WorkError::Refused`] when the saga does not allow it.
    async fn cancel(
        &self,
        connection: &mut PgConnection,
        instance: &str,
        why: &str,
    ) -> Result<Option<Cancelled>, WorkError>;
}

/// The outcome of cancelling an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// A step was taken.
    Step,
    /// The instance ignores it in its current standing.
    Nothing,
    /// The instance has already ended, with this standing.
    Ended(&'static str),
}

#[async_trait]
impl<S: Saga> Process for SagaRole<S> {
    async fn keep_time(&self, stop: CancellationToken) {
        self.fire_until(stop).await;
    }

    async fn cancel(
        &self,
        connection: &mut PgConnection,
        name: &str,
        why: &str,
    ) -> Result<Option<Cancelled>, WorkError> {
        let ids = self.schema_ids().await?;
        let mut instances = store::lock::<S>(connection, &[name]).await?;
        let Some(instance) = instances.get_mut(name) else { return Ok(None) };
        if let Ok(Some(state)) = &instance.state
            && let Standing { name, ended: true } = S::standing(state)
        {
            return Ok(Some(Cancelled::Ended(name)));
        }
        let reacted = instance.react(&Received::by_hand(name, why), ids);
        let reacted = reacted.map_err(|fault| WorkError::Refused(fault.message.into()))?;
        self.save(connection, instances).await?;
        Ok(Some(if reacted == Reacted::Step { Cancelled::Step } else { Cancelled::Nothing }))
    }
}

#[async_trait]
impl<S: Saga> Role for SagaRole<S> {
    fn group(&self) -> &Group {
        &self.group
    }

    fn database(&self) -> &Pool {
        &self.shared.pool
    }

    /// Later events may depend on a dead-lettered one.
    fn waits_behind_dead(&self) -> bool {
        true
    }

    async fn assign_ordering_keys(&self, batch: &[&Record]) -> Result<(), WorkError> {
        for record in batch.iter().filter(|record| record.ordering_key.get().is_none()) {
            // A fault is reported when the record is folded, not here.
            let _ = input::decode::<S>(&self.shared, record).await?;
        }
        Ok(())
    }

    async fn fold(&self, connection: &mut PgConnection, batch: &[&Record]) -> Result<Folded, WorkError> {
        let ids = self.schema_ids().await?;
        let mut inputs = Vec::with_capacity(batch.len());
        for record in batch {
            let mut input = input::decode::<S>(&self.shared, record).await?;
            if let Ok(Some(input)) = &mut input {
                input.traceparent = spans::continued(&self.group, record);
            }
            inputs.push(input);
        }
        let ours: Vec<&Received> = inputs.iter().flatten().flatten().collect();
        let names: Vec<&str> = ours.iter().map(|input| input.instance.as_str()).collect();
        let mut instances = store::lock::<S>(connection, &names).await?;
        let known = store::known::<S>(connection, &ours).await?;
        let ended = dead_letters::ended(connection, &self.group, batch).await?;
        let mut stuck = Stuck::default();
        let outcomes = batch.iter().zip(&inputs).map(|(record, input)| {
            let outcome = match input {
                _ if ended.contains(&record.place()) => Ok(Outcome::Duplicate),
                Ok(Some(_)) if stuck.contains(record) => Ok(Outcome::Waits),
                Ok(Some(input)) => step::<S>(input, &mut instances, &known, ids),
                Ok(None) => Ok(Outcome::Applied),
                Err(fault) => Err(fault.clone()),
            };
            outcome.unwrap_or_else(|fault| stuck.failed(record, fault))
        });
        let outcomes = outcomes.collect();
        let noted = spans::is_on().then(|| noted(&inputs, &instances));
        let standings: Vec<&'static str> =
            instances.values().flat_map(|one| one.steps.iter().map(|step| step.standing)).collect();
        self.save(connection, instances).await?;
        let remember = move || {
            for standing in standings {
                metrics::SAGA_STEPS.with_label_values(&[S::NAME, standing]).inc();
            }
        };
        Ok(Folded { outcomes, remember: Some(Box::new(remember)), noted, ..Folded::default() })
    }

    fn forget(&self) {}
}

/// The standings after the steps of a batch, by the places of their inputs.
fn noted<S: Saga>(
    inputs: &[Result<Option<Received>, Fault>],
    instances: &Instances<S>,
) -> BTreeMap<usize, String> {
    let step = |input: &Received| {
        let taken = &instances.get(&input.instance)?.steps;
        Some(taken.iter().find(|step| step.input_id == input.id)?.standing.to_owned())
    };
    let received = inputs.iter().enumerate();
    received.filter_map(|(at, input)| Some((at, step(input.as_ref().ok()?.as_ref()?)?))).collect()
}

/// Gives a record to its instance.
fn step<S: Saga>(
    input: &Received,
    instances: &mut Instances<S>,
    known: &HashSet<(String, String)>,
    ids: &SchemaIds,
) -> Result<Outcome, Fault> {
    let name = input.instance.as_str();
    if known.contains(&(input.instance.clone(), input.id.clone())) {
        return Ok(Outcome::Duplicate);
    }
    let instance = instances.entry(name.to_owned()).or_insert_with(|| Instance::new(name));
    Ok(match instance.react(input, ids)? {
        Reacted::Step | Reacted::Ignored => Outcome::Applied,
        Reacted::Before => Outcome::Duplicate,
    })
}
