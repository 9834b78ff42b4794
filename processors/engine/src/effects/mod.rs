//! Effects: calls to external systems; each is requested by an event and answered by a command.
//!
//! The role writes requests into the ledger, in the transaction that moves the offset. The [`Caller`] takes due calls under a lease
//! that is committed before the call, and writes the answer together with the resulting command. A reset does not change the
//! ledger: an event that is read again finds its call.

mod breaker;
mod caller;
mod calls;
mod ledger;
mod policy;
mod provider;
mod webhook_outcome;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_domain::{Effect, Recorded};
use millrace_store::Group;
use millrace_store::effect::{self, Asked, Place};
use millrace_store::names::Namespace;
use sqlx::PgConnection;
use tokio::sync::watch;
use uuid::Uuid;

pub use caller::Caller;
pub use provider::{CallError, Provider};
pub use webhook_outcome::WebhookOutcome;

use crate::database::Pool;
use crate::dead_letters;
use crate::error::{Fault, WorkError};
use crate::outcome::Outcome;
use crate::record::Record;
use crate::registry::Registry;
use crate::role::{Folded, Role};
use crate::spans;
use crate::views::intake;

/// The UUID namespace of all keys of calls.
const DERIVED: Uuid = Uuid::from_u128(0x6d69_6c6c_7261_6365_8000_0000_0000_0003);

/// Shared by all effects of a process.
#[derive(Clone)]
pub struct Shared {
    /// The write side.
    pub pool: Pool,
    /// The schema registry.
    pub registry: Arc<Registry>,
    /// The namespace of the topics.
    pub namespace: Namespace,
    /// Limits of calls.
    pub settings: Settings,
    /// Wakes the callers of this process when the ledger has a new call.
    pub wake: watch::Sender<()>,
}

/// Limits of calls.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Concurrent calls of one effect in each process.
    pub calls_max: usize,
    /// The timeout of a call.
    pub call_timeout: Duration,
    /// The age at which a call without outcome is given up.
    pub age_max: Duration,
    /// The number of different failed calls in a row that opens the circuit breaker.
    pub breaker_failures: usize,
}

/// Writes the calls of the effect `E` into the ledger.
pub struct EffectRole<E> {
    shared: Shared,
    group: Group,
    effect: std::marker::PhantomData<fn() -> E>,
}

impl<E: Effect> EffectRole<E> {
    /// The role of the effect.
    pub fn new(shared: Shared) -> Self {
        let group = Group { id: shared.namespace.group(E::NAME), generation: 1 };
        Self { shared, group, effect: std::marker::PhantomData }
    }

    fn asked(&self, event: &Recorded, record: Option<&&Record>) -> Result<Option<Asked>, Fault> {
        let Some(request) = E::request(event) else { return Ok(None) };
        let request = serde_json::to_string(&request);
        let request = request.map_err(|error| Fault::hopeless("unwritable", error.to_string()))?;
        let Recorded { id, correlation_id, .. } = event;
        Ok(Some(Asked {
            key: key(&self.group.id, id),
            place: place(event),
            request,
            event_id: id.clone(),
            correlation_id: correlation_id.clone(),
            traceparent: record.and_then(|record| spans::continued(&self.group, record)),
        }))
    }
}

/// The key of the call that an event requests of an effect, by the effect's group: the same at every attempt, and different in
/// every instance of Millrace.
pub fn key(group: &str, event_id: &str) -> Uuid {
    Uuid::new_v5(&DERIVED, format!("{group}\0{event_id}").as_bytes())
}

fn place(event: &Recorded) -> Place {
    Place { context: event.event.context(), stream: event.stream.clone(), version: event.version }
}

#[async_trait]
impl<E: Effect> Role for EffectRole<E> {
    fn group(&self) -> &Group {
        &self.group
    }

    fn database(&self) -> &Pool {
        &self.shared.pool
    }

    async fn fold(&self, connection: &mut PgConnection, batch: &[&Record]) -> Result<Folded, WorkError> {
        let (mut events, mut outcomes) =
            intake::decode(&self.shared.registry, &self.shared.namespace, batch).await?;
        let ended = dead_letters::ended(connection, &self.group, batch).await?;
        for (outcome, record) in outcomes.iter_mut().zip(batch) {
            if ended.contains(&record.place()) {
                *outcome = Outcome::Duplicate;
            }
        }
        events.retain(|(at, _)| outcomes.get(*at) == Some(&Outcome::Applied));
        let (mut calls, mut superfluous) = (Vec::new(), Vec::new());
        let mut noted = BTreeMap::new();
        for (at, event) in &events {
            match self.asked(event, batch.get(*at)) {
                Ok(asked) => {
                    let asked_for = asked.iter().filter(|_| spans::is_on());
                    noted.extend(asked_for.map(|asked| (*at, asked.key.to_string())));
                    calls.extend(asked);
                }
                Err(fault) => {
                    if let Some(outcome) = outcomes.get_mut(*at) {
                        *outcome = Outcome::Failed(fault);
                    }
                }
            }
            superfluous.extend(E::withdraws(event).then(|| place(event)));
        }
        effect::record(connection, (E::NAME, E::REQUEST_VERSION), &calls).await?;
        effect::withdraw(connection, E::NAME, &superfluous).await?;
        let wake = self.shared.wake.clone();
        let remember = move || wake.send_replace(());
        let noted = Some(noted);
        Ok(Folded { outcomes, remember: Some(Box::new(remember)), noted, ..Folded::default() })
    }

    fn forget(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_key_for_its_event_effect_and_instance() {
        assert_eq!(key("a.payment", "e1"), key("a.payment", "e1"));
        let keys = [("a.payment", "e1"), ("a.payment", "e2"), ("a.mail", "e1"), ("b.payment", "e1")];
        let distinct: std::collections::HashSet<Uuid> =
            keys.iter().map(|(group, event)| key(group, event)).collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
