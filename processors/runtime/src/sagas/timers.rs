//! Timers that are due, by the database's clock. Several processes may look at once: the instance's lock decides.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_domain::{Awaited, Saga};
use millrace_schemas::Kind;
use millrace_store::database::milliseconds;
use millrace_store::names::Namespace;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::heard::Input;
use super::{Instances, SagaRole, store};
use crate::backoff::Backoff;
use crate::error::{Fault, WorkError};
use crate::metrics;
use crate::moments;
use crate::supervision::caught_at_once;

/// Timers that are taken at a time.
const AT_ONCE: i64 = 200;
/// How often timers are looked for when none is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So long before a timer is due it is looked up where its instance's commands are in the WAL: longer than Connect takes
/// to say how far it is (`offset.flush.interval.ms`), and shorter than most answers are waited for.
const SOON: Duration = Duration::from_secs(15);
/// A timer that is put off is put off for so long at least, in milliseconds.
const PUT_OFF_MIN_MS: i64 = 1_000;
/// A timer that fails is tried again after these times; then it waits for somebody who looks at it.
const RETRY_AFTER: [Duration; 3] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];

/// A timer that is due.
struct Due {
    instance: String,
    name: String,
    id: Uuid,
    attempts: i32,
    /// The database's clock.
    now: DateTime<Utc>,
}

/// What becomes of a timer.
enum Fate {
    /// Its instance has heard it.
    Fired,
    /// An answer is on its way: its time begins again.
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
                    tracing::warn!(saga = S::NAME, %error, "timers wait");
                    outage.wait_unless(&stop).await;
                }
            }
        }
    }

    async fn look(&self) -> Result<usize, WorkError> {
        self.mark_sent().await?;
        self.fire().await
    }

    /// Looks up where the commands are in the WAL that instances wait for whose timers are due soon.
    async fn mark_sent(&self) -> Result<(), WorkError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT instance FROM saga_timer AS t WHERE saga = $1 AND due_at <= now() + $2 * interval '1 ms' AND EXISTS (
                 SELECT FROM saga AS s WHERE s.saga = t.saga AND s.instance = t.instance AND sent_at IS NULL
                                         AND awaiting::text <> '{}')
             ORDER BY due_at LIMIT $3",
        )
        .bind(S::NAME)
        .bind(milliseconds(SOON))
        .bind(AT_ONCE)
        .fetch_all(&*self.shared.pool)
        .await?;
        if names.is_empty() {
            return Ok(());
        }
        let mut transaction = self.shared.pool.begin().await?;
        store::mark_sent::<S>(&mut transaction, &names).await?;
        Ok(transaction.commit().await?)
    }

    /// Fires the timers that are due, some at a time; how many were looked at.
    ///
    /// # Errors
    /// [`WorkError`]; nothing has happened then.
    pub async fn fire(&self) -> Result<usize, WorkError> {
        let ids = self.schema_ids().await?;
        let mut transaction = self.shared.pool.begin().await?;
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT instance FROM saga_timer WHERE saga = $1 AND due_at <= now() AND attempts <= $2
             ORDER BY due_at LIMIT $3",
        )
        .bind(S::NAME)
        .bind(RETRY_AFTER.len() as i64)
        .bind(AT_ONCE)
        .fetch_all(&mut *transaction)
        .await?;
        if names.is_empty() {
            return Ok(0);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut instances = store::lock::<S>(&mut transaction, &names).await?;
        let due = due::<S>(&mut transaction, &names).await?;
        let mut on_their_way = self.on_their_way(&mut transaction, &instances).await?;
        on_their_way.extend(self.not_carried(&mut transaction, &names).await?);
        let fates = due.iter().map(|timer| fate(timer, &mut instances, &on_their_way, ids));
        let fates: Vec<Fate> = fates.collect();
        settle::<S>(&mut transaction, &due, &fates, &self.shared.timers).await?;
        self.save(&mut transaction, instances).await?;
        moments::pass(moments::BEFORE_COMMIT);
        transaction.commit().await?;
        Ok(due.len())
    }

    /// The instances whose commands Debezium has not carried yet: nobody could answer them.
    async fn not_carried(
        &self,
        connection: &mut PgConnection,
        names: &[&str],
    ) -> Result<Vec<String>, WorkError> {
        let names = sqlx::query_scalar(
            "SELECT instance FROM saga
             WHERE saga = $1 AND instance = ANY($2) AND awaiting::text <> '{}' AND (sent_at IS NULL OR sent_at > coalesce(
                 (SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $3), '0/0'))",
        )
        .bind(S::NAME)
        .bind(names)
        .bind(self.shared.namespace.outbox());
        Ok(names.fetch_all(connection).await?)
    }

    /// The instances whose answer Postgres has already: a decided command, or a later version of a stream.
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
        // In this order, so that a command which is decided meanwhile shows in one of the two. To a dead one there is no
        // answer on its way.
        let mut names: HashSet<String> =
            moved_on(&mut *connection, &self.shared.namespace, &streams).await?.into_iter().collect();
        let decided: Vec<String> = sqlx::query_scalar(
            "SELECT id FROM command WHERE source = $1 AND id = ANY($2) AND status <> 'dead'",
        )
        .bind(self.shared.namespace.source())
        .bind(commands.keys().collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
        names.extend(decided.iter().filter_map(|id| commands.get(id)).map(|name| (*name).clone()));
        Ok(names)
    }
}

/// The instances of which a stream has a later version than they have heard, or is about to: a command to it that was
/// sent here is not decided.
async fn moved_on(
    connection: &mut PgConnection,
    namespace: &Namespace,
    streams: &[(&String, Awaited)],
) -> Result<Vec<String>, WorkError> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT r.instance FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
                                AS r(instance, context, stream, version, topic)
         WHERE EXISTS (SELECT FROM stream AS s
                       WHERE s.context = r.context AND s.id = r.stream AND s.version > r.version)
            OR EXISTS (SELECT FROM outbox AS o
                       WHERE o.aggregatetype = r.context AND o.aggregateid = r.stream AND o.version IS NULL
                         AND o.topic = r.topic
                         AND NOT EXISTS (SELECT FROM command AS c WHERE c.id = o.id::text AND c.source = $6))",
    )
    .bind(streams.iter().map(|(instance, _)| instance.as_str()).collect::<Vec<_>>())
    .bind(streams.iter().map(|(_, awaited)| awaited.context).collect::<Vec<_>>())
    .bind(streams.iter().map(|(_, awaited)| awaited.stream.as_str()).collect::<Vec<_>>())
    .bind(streams.iter().map(|(_, awaited)| awaited.version).collect::<Vec<_>>())
    .bind(streams.iter().map(|(_, awaited)| namespace.topic(Kind::Command, awaited.context)).collect::<Vec<_>>())
    .bind(namespace.source())
    .fetch_all(connection)
    .await?;
    Ok(names)
}

/// Looked at again behind the instances' locks: a step may have cancelled a timer, or set it anew.
async fn due<S: Saga>(connection: &mut PgConnection, names: &[&str]) -> Result<Vec<Due>, WorkError> {
    let due = sqlx::query_as::<_, (String, String, Uuid, i32, DateTime<Utc>)>(
        "SELECT instance, name, id, attempts, now() FROM saga_timer
         WHERE saga = $1 AND instance = ANY($2) AND due_at <= now() AND attempts <= $3 ORDER BY due_at",
    );
    let due = due.bind(S::NAME).bind(names).bind(RETRY_AFTER.len() as i64);
    let due = due.fetch_all(connection).await?.into_iter();
    Ok(due.map(|(instance, name, id, attempts, now)| Due { instance, name, id, attempts, now }).collect())
}

fn fate<S: Saga>(
    timer: &Due,
    instances: &mut Instances<S>,
    on_their_way: &HashSet<String>,
    ids: &crate::outbox::SchemaIds,
) -> Fate {
    if on_their_way.contains(&timer.instance) {
        return Fate::PutOff;
    }
    // A timer without instance has nobody to hear it.
    let Some(instance) = instances.get_mut(&timer.instance) else { return Fate::Fired };
    // Nothing of the instance has changed when a saga panics: it is asked first.
    let input = Input::timer(&timer.instance, &timer.name, timer.id, timer.now);
    match caught_at_once("timer", || instance.hear(&input, ids)) {
        Ok(Ok(_)) => Fate::Fired,
        Ok(Err(fault)) => Fate::Failed(fault),
        Err(panic) => Fate::Failed(Fault::panicked(&panic)),
    }
}

/// Removes the timers that have fired, and puts the others off. A timer that a step has set anew has another id.
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
                    reason = fault.message,
                    "a timer failed"
                );
                later.push((timer.id, after, timer.attempts + 1, Some(fault.message.as_str())));
                "failed"
            }
        };
        metrics::SAGA_TIMERS.with_label_values(&[S::NAME, outcome]).inc();
    }
    sqlx::query("DELETE FROM saga_timer WHERE saga = $1 AND id = ANY($2)")
        .bind(S::NAME)
        .bind(&fired)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE saga_timer SET due_at = now() + r.after * interval '1 ms', attempts = r.attempts, error = r.error
         FROM UNNEST($2::uuid[], $3::bigint[], $4::int[], $5::text[]) AS r(id, after, attempts, error)
         WHERE saga = $1 AND saga_timer.id = r.id",
    )
    .bind(S::NAME)
    .bind(later.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
    .bind(later.iter().map(|(_, after, ..)| *after).collect::<Vec<_>>())
    .bind(later.iter().map(|(_, _, attempts, _)| *attempts).collect::<Vec<_>>())
    .bind(later.iter().map(|(.., error)| *error).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
