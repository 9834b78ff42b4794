//! Due timers, by the database's clock. Several processes may fire concurrently: the lock on the instance decides.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_domain::Saga;
use millrace_schemas::Kind;
use millrace_store::database::milliseconds;
use millrace_store::names::Namespace;
use millrace_store::write_side::{self, Awaited};
use millrace_store::{command, saga, saga_timer};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::input::Received;
use super::{Instances, SagaRole, store};
use crate::backoff::Backoff;
use crate::error::{Fault, WorkError};
use crate::failpoints;
use crate::metrics;
use crate::release::release;
use crate::spans;
use crate::supervision::caught_at_once;

/// Timers of a transaction, at most.
const AT_ONCE: i64 = 200;
/// How often the table is queried when no timer is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long before a timer is due the WAL position of its instance's commands is determined: longer than Connect takes to flush its
/// offsets (`offset.flush.interval.ms`), and shorter than most timers.
const SOON: Duration = Duration::from_secs(15);
/// The shortest time by which a timer is put off, in milliseconds.
const PUT_OFF_MIN_MS: i64 = 1_000;
/// The delays before the retries of a failed timer; then it waits for an operator.
const RETRY_AFTER: [Duration; 3] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];

/// The number of retries of a timer.
const TRIES_MAX: i64 = RETRY_AFTER.len() as i64;

/// A timer that is due.
struct Due {
    instance: String,
    name: String,
    id: Uuid,
    attempts: i32,
    /// The database's clock.
    now: DateTime<Utc>,
}

/// The outcome of a timer that was due.
enum Fate {
    /// Its instance has reacted to it.
    Fired,
    /// An answer is on its way: the timer is set again with its full duration.
    PutOff,
    Failed(Fault),
}

impl<S: Saga> SagaRole<S> {
    /// Fires timers until stopped.
    pub(super) async fn fire_until(&self, stop: CancellationToken) {
        let (mut outage, mut contention) = (Backoff::new(), Backoff::after_contention());
        while !stop.is_cancelled() {
            let fired = self.shared.pool.in_time(self.look()).await;
            if fired.is_ok() {
                (outage, contention) = (Backoff::new(), Backoff::after_contention());
            }
            match fired {
                Ok(0) => tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                },
                Ok(_) => {}
                Err(WorkError::Contended(_) | WorkError::Outdated(_)) => {
                    contention.wait_unless(&stop).await;
                }
                Err(error) => {
                    let logs = || tracing::warn!(saga = S::NAME, %error, "timers wait");
                    outage.wait_after((S::NAME, &error), &stop, logs).await;
                }
            }
        }
    }

    async fn look(&self) -> Result<usize, WorkError> {
        self.mark_sent().await?;
        self.fire().await
    }

    /// For instances whose timers will be due soon: stores the WAL positions of the commands whose answers they wait for.
    async fn mark_sent(&self) -> Result<(), WorkError> {
        let names = saga_timer::soon(&*self.shared.pool, S::NAME, SOON, AT_ONCE).await?;
        if names.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut transaction = self.shared.pool.begin().await?;
        saga::mark_sent(&mut transaction, S::NAME, &names).await?;
        Ok(transaction.commit().await?)
    }

    /// Fires due timers, at most `AT_ONCE`; returns how many were due.
    ///
    /// # Errors
    /// [`WorkError`], and nothing is changed.
    #[tracing::instrument(level = "debug", name = "timers", skip_all, fields(saga = S::NAME))]
    pub async fn fire(&self) -> Result<usize, WorkError> {
        let ids = self.schema_ids().await?;
        let mut transaction = self.shared.pool.begin().await?;
        let ours = (S::STATE_VERSION, release());
        let names = saga_timer::instances_due(&mut transaction, S::NAME, ours, TRIES_MAX, AT_ONCE).await?;
        if names.is_empty() {
            return Ok(0);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut instances = store::lock::<S>(&mut transaction, &names).await?;
        let due = due::<S>(&mut transaction, &names).await?;
        let mut on_their_way = self.on_their_way(&mut transaction, &instances).await?;
        // An instance whose commands Debezium has not carried yet cannot have an answer yet. When no process looked before the
        // timer was due, the position is not known yet.
        saga::mark_sent(&mut transaction, S::NAME, &names).await?;
        let slot = self.shared.namespace.outbox();
        on_their_way.extend(saga::not_carried(&mut transaction, S::NAME, &names, &slot).await?);
        let mut spans = Vec::new();
        let fates = due.iter().map(|timer| fate(timer, &mut instances, &on_their_way, ids, &mut spans));
        let fates: Vec<Fate> = fates.collect();
        settle::<S>(&mut transaction, &due, &fates, &self.shared.timers).await?;
        self.save(&mut transaction, instances).await?;
        failpoints::pass(failpoints::BEFORE_COMMIT);
        transaction.commit().await?;
        spans.into_iter().for_each(spans::Timer::end);
        Ok(due.len())
    }

    /// The instances for which Postgres already has an answer: a decided command, or a later version of a stream.
    async fn on_their_way(
        &self,
        connection: &mut PgConnection,
        instances: &Instances<S>,
    ) -> Result<HashSet<String>, WorkError> {
        let (mut commands, mut streams) = (BTreeMap::new(), Vec::new());
        for (name, one) in instances {
            commands.extend(one.awaiting.keys().map(|id| (id.to_string(), name)));
            let awaited = one.state.iter().flatten().flat_map(S::awaits);
            streams.extend(awaited.map(|awaited| (name, awaited)));
        }
        // In this order, so that a command that is decided meanwhile is found by one of the two queries. A dead-lettered command has
        // no answer.
        let (namespace, source) = (&self.shared.namespace, self.shared.namespace.source());
        let awaited: Vec<Awaited<'_>> = streams.iter().map(|one| awaited(namespace, one)).collect();
        let moved_on = write_side::moved_on(&mut *connection, &awaited, &source).await?;
        let mut names: HashSet<String> = moved_on.into_iter().collect();
        let decided = command::decided(connection, &source, commands.keys().collect()).await?;
        names.extend(decided.iter().filter_map(|id| commands.get(id)).map(|name| (*name).clone()));
        Ok(names)
    }
}

fn awaited<'a>(
    namespace: &Namespace,
    (instance, awaited): &'a (&String, millrace_domain::Awaited),
) -> Awaited<'a> {
    let millrace_domain::Awaited { context, stream, version } = awaited;
    let topic = namespace.topic(Kind::Command, context);
    Awaited { instance, context, stream, version: *version, topic }
}

/// Reads due timers again after their instances are locked: a step may have cancelled a timer or set it again.
async fn due<S: Saga>(connection: &mut PgConnection, names: &[&str]) -> Result<Vec<Due>, WorkError> {
    let due = saga_timer::due(connection, S::NAME, names, TRIES_MAX).await?.into_iter();
    Ok(due.map(|(instance, name, id, attempts, now)| Due { instance, name, id, attempts, now }).collect())
}

fn fate<S: Saga>(
    timer: &Due,
    instances: &mut Instances<S>,
    on_their_way: &HashSet<String>,
    ids: &crate::outbox::SchemaIds,
    spans: &mut Vec<spans::Timer>,
) -> Fate {
    if on_their_way.contains(&timer.instance) {
        return Fate::PutOff;
    }
    // A timer without an instance is dropped.
    let Some(instance) = instances.get_mut(&timer.instance) else { return Fate::Fired };
    // The saga is called before the instance is changed, so that a panic changes nothing.
    let mut input = Received::timer(&timer.instance, &timer.name, timer.id, timer.now);
    let set = (timer.name.as_str(), &*timer.id.to_string());
    let span = spans::Timer::begin(S::NAME, &timer.instance, set, instance.traceparent.as_deref());
    input.traceparent = span.as_ref().map(spans::Timer::header);
    match caught_at_once("timer", || instance.react(&input, ids)) {
        Ok(Ok(_)) => {
            spans.extend(span);
            Fate::Fired
        }
        Ok(Err(fault)) => Fate::Failed(fault),
        Err(panic) => Fate::Failed(Fault::panicked(&panic)),
    }
}

/// Removes fired timers, and puts the others off. A timer that a step has set again has another id.
async fn settle<S: Saga>(
    connection: &mut PgConnection,
    due: &[Due],
    fates: &[Fate],
    configured: &HashMap<String, Duration>,
) -> Result<(), WorkError> {
    let (mut fired, mut later) = (Vec::new(), Vec::new());
    for (timer, fate) in due.iter().zip(fates) {
        let outcome = match fate {
            Fate::Fired => {
                fired.push(timer.id);
                "fired"
            }
            Fate::PutOff => {
                let again = store::after::<S>(&timer.name, configured).max(PUT_OFF_MIN_MS);
                later.push((timer.id, again, timer.attempts, None));
                "put-off"
            }
            Fate::Failed(fault) => {
                let tried = usize::try_from(timer.attempts).unwrap_or_default();
                let after = RETRY_AFTER.get(tried).map_or(0, |after| milliseconds(*after));
                tracing::warn!(
                    saga = S::NAME,
                    instance = timer.instance,
                    timer = timer.name,
                    id = %timer.id,
                    reason = fault.message,
                    "a timer failed"
                );
                later.push((timer.id, after, timer.attempts + 1, Some(fault.message.as_str())));
                "failed"
            }
        };
        metrics::SAGA_TIMERS.with_label_values(&[S::NAME, outcome]).inc();
    }
    saga_timer::remove(connection, S::NAME, &fired).await?;
    Ok(saga_timer::put_off(connection, S::NAME, &later).await?)
}
