//! Instances in Postgres: locked and loaded together, written together.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use millrace_domain::{Saga, Standing, raised};
use millrace_store::database::milliseconds;
use millrace_store::{saga, saga_step, saga_timer};
use serde_json::Value;
use sqlx::PgConnection;

use super::Instances;
use super::input::Received;
use super::instance::{Instance, Taken};
use crate::error::{Fault, WorkError};
use crate::metrics::timed;
use crate::reason::Reason;

/// Locks and loads the existing instances of these names.
pub(super) async fn lock<S: Saga>(
    connection: &mut PgConnection,
    names: &[&str],
) -> Result<Instances<S>, WorkError> {
    let names: BTreeSet<&str> = names.iter().copied().collect();
    if names.is_empty() {
        return Ok(Instances::new());
    }
    let rows = timed("saga lock", saga::lock(connection, S::NAME, names.into_iter().collect())).await?;
    Ok(rows.into_iter().map(|row| instance::<S>(row)).map(|one| (one.name.clone(), one)).collect())
}

fn instance<S: Saga>(row: saga::Locked) -> Instance<S> {
    let saga::Locked { instance, version, state_version, state, awaiting, sent, correlation_id, traceparent } =
        row;
    let state = read::<S>(state_version, state);
    let counts = field(awaiting, "awaiting").and_then(|awaiting| Ok((awaiting, field(sent, "sent")?)));
    let (state, (awaiting, sent)) = match counts {
        Ok(counts) => (state.map(Some), counts),
        Err(fault) => (Err(fault), Default::default()),
    };
    Instance {
        stored: true,
        version,
        state,
        awaiting,
        sent,
        correlation_id,
        traceparent,
        ..Instance::new(&instance)
    }
}

/// A stored state, converted to this build's version.
fn read<S: Saga>(version: i32, stored: Value) -> Result<S::State, Fault> {
    if version > S::STATE_VERSION {
        let ours = S::STATE_VERSION;
        let newer =
            unreadable(&format!("version {version} was written by a newer build, this one knows {ours}"));
        return Err(Fault { unknown_here: true, ..newer });
    }
    field(raised::<S>(version, stored).map_err(|reason| unreadable(&reason))?, "state")
}

/// Reads JSON; the fault names the invalid field.
fn field<T: serde::de::DeserializeOwned>(json: Value, what: &str) -> Result<T, Fault> {
    serde_path_to_error::deserialize(json)
        .map_err(|error| unreadable(&format!("{what}.{}: {}", error.path(), error.inner())))
}

fn unreadable(reason: &str) -> Fault {
    Fault::new("state-unreadable", format!("the instance's stored state cannot be read: {reason}"))
}

/// The inputs that their instances have received before. Read after the lock is taken, so that no other step is taken meanwhile.
pub(super) async fn known<S: Saga>(
    connection: &mut PgConnection,
    inputs: &[&Received],
) -> Result<HashSet<(String, String)>, WorkError> {
    let inputs: Vec<(&str, &str)> =
        inputs.iter().map(|input| (input.instance.as_str(), input.id.as_str())).collect();
    let rows = timed("saga_step known", saga_step::known(connection, S::NAME, &inputs)).await?;
    Ok(rows.into_iter().collect())
}

/// Writes the instances that have taken steps, their steps and their timers.
pub(super) async fn save<S: Saga>(
    connection: &mut PgConnection,
    instances: &Instances<S>,
    timers: &HashMap<String, Duration>,
) -> Result<(), WorkError> {
    let moved: Vec<&Instance<S>> = instances.values().filter(|one| !one.steps.is_empty()).collect();
    if moved.is_empty() {
        return Ok(());
    }
    let (known, new): (Vec<_>, Vec<_>) = moved.iter().copied().partition(|one| one.stored);
    if !known.is_empty() {
        let written =
            timed("saga update", saga::update(connection, (S::NAME, S::STATE_VERSION), &rows(&known)?))
                .await?;
        all_of::<S>(known.len(), written)?;
    }
    if !new.is_empty() {
        let written =
            timed("saga insert", saga::insert(connection, (S::NAME, S::STATE_VERSION), &rows(&new)?)).await?;
        all_of::<S>(new.len(), written)?;
    }
    write_steps(connection, &moved).await?;
    write_timers(connection, &moved, timers).await
}

/// An error when another worker has created one of the instances; the batch is tried again.
fn all_of<S: Saga>(instances: usize, written: u64) -> Result<(), WorkError> {
    if written == instances as u64 {
        return Ok(());
    }
    Err(WorkError::Contended(format!("an instance of {} was begun by another worker", S::NAME).into()))
}

fn rows<'i, S: Saga>(instances: &[&'i Instance<S>]) -> Result<Vec<saga::Moved<'i>>, WorkError> {
    instances.iter().map(|one| row(one)).collect()
}

fn row<S: Saga>(one: &Instance<S>) -> Result<saga::Moved<'_>, WorkError> {
    let (state, standing) = stored(one)?;
    Ok(saga::Moved {
        instance: &one.name,
        version: one.version,
        state,
        standing: standing.name,
        ended: standing.ended,
        awaiting: &one.awaiting,
        sent: &one.sent,
        correlation_id: one.correlation_id.as_deref(),
        traceparent: one.traceparent.as_deref(),
        sends: !one.outbox.is_empty(),
    })
}

fn stored<S: Saga>(instance: &Instance<S>) -> Result<(Value, Standing), WorkError> {
    let named = |why: &str| format!("the instance `{}`: {why}", instance.name);
    let unwritable = |why: &str| WorkError::Refused(named(why).into());
    let state = match &instance.state {
        Ok(Some(state)) => state,
        Ok(None) => return Err(unwritable("it took a step to no state")),
        Err(fault) => return Err(unwritable(&fault.message)),
    };
    let json = serde_json::to_value(state);
    let json = json.map_err(|error| WorkError::Refused(Reason::of(error).with_text(named)))?;
    Ok((json, S::standing(state)))
}

async fn write_steps<S: Saga>(
    connection: &mut PgConnection,
    instances: &[&Instance<S>],
) -> Result<(), WorkError> {
    let of = |one| steps_of::<S>(one);
    let steps: Vec<saga_step::New<'_>> = instances.iter().copied().flat_map(of).collect();
    Ok(timed("saga_step insert", saga_step::insert(connection, S::NAME, &steps)).await?)
}

fn steps_of<S: Saga>(one: &Instance<S>) -> impl Iterator<Item = saga_step::New<'_>> {
    one.steps.iter().map(|Taken { number, input_id, input, standing, sent }| saga_step::New {
        instance: &one.name,
        input_id,
        number: *number,
        input,
        standing,
        sent,
    })
}

async fn write_timers<S: Saga>(
    connection: &mut PgConnection,
    instances: &[&Instance<S>],
    configured: &HashMap<String, Duration>,
) -> Result<(), WorkError> {
    let (mut set, mut cancelled) = (Vec::new(), Vec::new());
    for one in instances {
        let (sets, cancels) = one.timers();
        let due = |(name, due)| {
            let after = after::<S>(name, configured);
            saga_timer::New { instance: &one.name, name, after, due }
        };
        set.extend(sets.into_iter().map(due));
        cancelled.extend(cancels.into_iter().map(|timer| (one.name.as_str(), timer)));
    }
    saga_timer::set(connection, S::NAME, &set).await?;
    Ok(saga_timer::cancel(connection, S::NAME, &cancelled).await?)
}

/// The duration of a timer in milliseconds; 0 for a timer with an absolute time.
pub(super) fn after<S: Saga>(timer: &str, configured: &HashMap<String, Duration>) -> i64 {
    let own = || S::TIMERS.iter().find(|(name, _)| *name == timer).map(|(_, after)| *after);
    let after = configured.get(&format!("{}.{timer}", S::NAME)).copied().or_else(own).unwrap_or_default();
    milliseconds(after)
}

#[cfg(test)]
mod tests {
    use millrace_domain::{Awaited, Input, Reaction};
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    /// A saga whose state had no currency in version 1, and another name for the amount in version 2.
    struct Toy;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Paying {
        amount: i64,
        currency: String,
    }

    impl Saga for Toy {
        const NAME: &'static str = "toy";
        const CONTEXTS: &'static [&'static str] = &[];
        const SENDS_TO: &'static [&'static str] = &[];
        const STATE_VERSION: i32 = 3;
        const TIMERS: &'static [(&'static str, Duration)] = &[("deadline", Duration::from_secs(5))];
        const STANDINGS: &'static [&'static str] = &["paying"];
        type State = Paying;

        fn instance(_: &Input<'_>) -> Option<String> {
            None
        }

        fn react(_: Option<Paying>, _: &Input<'_>) -> Reaction<Paying> {
            Reaction::Ignore
        }

        fn awaits(_: &Paying) -> Vec<Awaited> {
            Vec::new()
        }

        fn standing(_: &Paying) -> Standing {
            Standing { name: "paying", ended: false }
        }

        fn upcast(version: i32, mut stored: Value) -> Result<Value, String> {
            match version {
                1 => stored["currency"] = json!("EUR"),
                2 => stored["amount"] = stored["sum"].take(),
                other => return Err(format!("no version {other} was ever written")),
            }
            Ok(stored)
        }
    }

    #[test]
    fn a_stored_state_of_every_version_is_raised_to_this_builds() {
        let now = Paying { amount: 5, currency: "EUR".to_owned() };
        assert_eq!(read::<Toy>(1, json!({"sum": 5})), Ok(now.clone()));
        assert_eq!(read::<Toy>(2, json!({"sum": 5, "currency": "EUR"})), Ok(now.clone()));
        assert_eq!(read::<Toy>(3, json!({"amount": 5, "currency": "EUR"})), Ok(now));
    }

    #[test]
    fn a_state_that_cannot_be_read_is_a_fault_that_names_the_field() {
        let message = |version, stored| {
            let fault = read::<Toy>(version, stored).unwrap_err();
            assert_eq!((fault.code, fault.hopeless), ("state-unreadable", false));
            fault.message
        };
        assert!(message(3, json!({"amount": "five", "currency": "EUR"})).contains("state.amount"));
        assert!(message(0, json!({})).contains("no version 0"));
        assert!(message(4, json!({})).contains("written by a newer build"));
        let unknown = |version| read::<Toy>(version, json!({})).unwrap_err().unknown_here;
        assert!(unknown(4) && !unknown(3) && !unknown(0));
    }

    #[test]
    fn a_timer_takes_the_time_that_is_configured_or_its_own() {
        let configured = HashMap::from([("toy.deadline".to_owned(), Duration::from_millis(7))]);
        assert_eq!(after::<Toy>("deadline", &configured), 7);
        assert_eq!(after::<Toy>("deadline", &HashMap::new()), 5_000);
    }
}
