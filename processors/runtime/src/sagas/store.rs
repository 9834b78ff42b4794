//! Instances in Postgres: locked and loaded together, written together.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use millrace_domain::{Saga, Standing, raised};
use millrace_store::database::milliseconds;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::Instances;
use super::heard::Input;
use super::instance::{Instance, Taken};
use crate::error::{Fault, WorkError};

type Row = (String, i64, i32, Json<Value>, Json<Value>, Json<Value>, Option<String>, Option<String>);

/// Says where the last commands of some instances are in the WAL: not behind where it ends now, since they can be seen.
/// What the transaction that sends them sees of the WAL is before its commit, which is what Debezium carries.
pub(super) async fn mark_sent<S: Saga>(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<(), WorkError> {
    for statement in [
        "SELECT FROM saga WHERE saga = $1 AND instance = ANY($2) AND sent_at IS NULL ORDER BY instance FOR UPDATE",
        "UPDATE saga SET sent_at = pg_current_wal_insert_lsn()
         WHERE saga = $1 AND instance = ANY($2) AND sent_at IS NULL",
    ] {
        sqlx::query(statement).bind(S::NAME).bind(names).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Locks and loads the instances of these names that there are.
pub(super) async fn lock<S: Saga>(
    connection: &mut PgConnection,
    names: &[&str],
) -> Result<Instances<S>, WorkError> {
    let names: BTreeSet<&str> = names.iter().copied().collect();
    if names.is_empty() {
        return Ok(Instances::new());
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT instance, version, state_version, state, awaiting, sent, correlation_id, traceparent
         FROM saga WHERE saga = $1 AND instance = ANY($2) ORDER BY instance FOR UPDATE",
    )
    .bind(S::NAME)
    .bind(names.into_iter().collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| instance::<S>(row)).map(|one| (one.name.clone(), one)).collect())
}

fn instance<S: Saga>(row: Row) -> Instance<S> {
    let (name, version, state_version, state, awaiting, sent, correlation_id, traceparent) = row;
    let state = read::<S>(state_version, state.0);
    let counts = field(awaiting.0, "awaiting").and_then(|awaiting| Ok((awaiting, field(sent.0, "sent")?)));
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
        ..Instance::new(&name)
    }
}

/// A stored state, brought up to this build's version.
fn read<S: Saga>(version: i32, stored: Value) -> Result<S::State, Fault> {
    if version > S::STATE_VERSION {
        let ours = S::STATE_VERSION;
        return Err(unreadable(&format!(
            "version {version} was written by a newer build, this one knows {ours}"
        )));
    }
    field(raised::<S>(version, stored).map_err(|reason| unreadable(&reason))?, "state")
}

/// Reads JSON; the fault names the field that is wrong.
fn field<T: serde::de::DeserializeOwned>(json: Value, what: &str) -> Result<T, Fault> {
    serde_path_to_error::deserialize(json)
        .map_err(|error| unreadable(&format!("{what}.{}: {}", error.path(), error.inner())))
}

fn unreadable(reason: &str) -> Fault {
    Fault::new("state-unreadable", format!("the instance's stored state cannot be read: {reason}"))
}

/// Which inputs their instances have heard before. Read behind the lock: nobody else takes a step meanwhile.
pub(super) async fn known<S: Saga>(
    connection: &mut PgConnection,
    inputs: &[&Input],
) -> Result<HashSet<(String, String)>, WorkError> {
    if inputs.is_empty() {
        return Ok(HashSet::new());
    }
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT instance, input FROM saga_step
         WHERE saga = $1 AND (instance, input) IN (SELECT * FROM UNNEST($2::text[], $3::text[]))",
    )
    .bind(S::NAME)
    .bind(inputs.iter().map(|input| input.instance.as_str()).collect::<Vec<_>>())
    .bind(inputs.iter().map(|input| input.id.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
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
    write(connection, UPDATE, &known).await?;
    write(connection, INSERT, &new).await?;
    write_steps(connection, &moved).await?;
    write_timers(connection, &moved, timers).await
}

const UPDATE: &str = "
    UPDATE saga SET version = r.version, state_version = $2, state = r.state, standing = r.standing, ended = r.ended,
                    awaiting = r.awaiting, sent = r.sent, updated_at = now(),
                    sent_at = CASE WHEN r.sends THEN NULL ELSE saga.sent_at END
    FROM UNNEST($3::text[], $4::bigint[], $5::json[], $6::text[], $7::bool[], $8::json[], $9::json[], $10::text[],
                $11::text[], $12::bool[])
         AS r(instance, version, state, standing, ended, awaiting, sent, correlation_id, traceparent, sends)
    WHERE saga.saga = $1 AND saga.instance = r.instance";
const INSERT: &str = "
    INSERT INTO saga (saga, state_version, instance, version, state, standing, ended, awaiting, sent, correlation_id,
                      traceparent)
    SELECT $1, $2, r.instance, r.version, r.state, r.standing, r.ended, r.awaiting, r.sent, r.correlation_id, r.traceparent
    FROM UNNEST($3::text[], $4::bigint[], $5::json[], $6::text[], $7::bool[], $8::json[], $9::json[], $10::text[],
                $11::text[], $12::bool[])
         AS r(instance, version, state, standing, ended, awaiting, sent, correlation_id, traceparent, sends)
    ON CONFLICT DO NOTHING";

async fn write<S: Saga>(
    connection: &mut PgConnection,
    statement: &'static str,
    instances: &[&Instance<S>],
) -> Result<(), WorkError> {
    if instances.is_empty() {
        return Ok(());
    }
    let states = instances.iter().map(|one| stored(one)).collect::<Result<Vec<_>, _>>()?;
    let (states, standings): (Vec<_>, Vec<_>) = states.into_iter().unzip();
    let written = sqlx::query(statement)
        .bind(S::NAME)
        .bind(S::STATE_VERSION)
        .bind(instances.iter().map(|one| one.name.as_str()).collect::<Vec<_>>())
        .bind(instances.iter().map(|one| one.version).collect::<Vec<_>>())
        .bind(states)
        .bind(standings.iter().map(|standing: &Standing| standing.name).collect::<Vec<_>>())
        .bind(standings.iter().map(|standing| standing.ended).collect::<Vec<_>>())
        .bind(instances.iter().map(|one| Json(&one.awaiting)).collect::<Vec<_>>())
        .bind(instances.iter().map(|one| Json(&one.sent)).collect::<Vec<_>>())
        .bind(instances.iter().map(|one| one.correlation_id.as_deref()).collect::<Vec<_>>())
        .bind(instances.iter().map(|one| one.traceparent.as_deref()).collect::<Vec<_>>())
        .bind(instances.iter().map(|one| !one.outbox.is_empty()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    if written.rows_affected() == instances.len() as u64 {
        return Ok(());
    }
    Err(WorkError::Contended(format!("an instance of {} was begun by another worker", S::NAME)))
}

fn stored<S: Saga>(instance: &Instance<S>) -> Result<(Json<Value>, Standing), WorkError> {
    let unwritable = |why: String| WorkError::Refused(format!("the instance `{}`: {why}", instance.name));
    let state = match &instance.state {
        Ok(Some(state)) => state,
        Ok(None) => return Err(unwritable("it took a step to no state".to_owned())),
        Err(fault) => return Err(unwritable(fault.message.clone())),
    };
    let json = serde_json::to_value(state).map_err(|error| unwritable(error.to_string()))?;
    Ok((Json(json), S::standing(state)))
}

async fn write_steps<S: Saga>(
    connection: &mut PgConnection,
    instances: &[&Instance<S>],
) -> Result<(), WorkError> {
    let steps: Vec<(&str, &Taken)> =
        instances.iter().flat_map(|one| one.steps.iter().map(|step| (one.name.as_str(), step))).collect();
    sqlx::query(
        "INSERT INTO saga_step (saga, instance, input, number, heard, standing, sent)
         SELECT $1, * FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::json[])",
    )
    .bind(S::NAME)
    .bind(steps.iter().map(|(name, _)| *name).collect::<Vec<_>>())
    .bind(steps.iter().map(|(_, step)| step.input.as_str()).collect::<Vec<_>>())
    .bind(steps.iter().map(|(_, step)| step.number).collect::<Vec<_>>())
    .bind(steps.iter().map(|(_, step)| step.heard.as_str()).collect::<Vec<_>>())
    .bind(steps.iter().map(|(_, step)| step.standing).collect::<Vec<_>>())
    .bind(steps.iter().map(|(_, step)| Json(&step.sent)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_timers<S: Saga>(
    connection: &mut PgConnection,
    instances: &[&Instance<S>],
    configured: &HashMap<String, Duration>,
) -> Result<(), WorkError> {
    let (mut set, mut cancelled) = (Vec::new(), Vec::new());
    for one in instances {
        let (sets, cancels) = one.timers();
        let due = |(timer, at)| (one.name.as_str(), timer, after::<S>(timer, configured), at);
        set.extend(sets.into_iter().map(due));
        cancelled.extend(cancels.into_iter().map(|timer| (one.name.as_str(), timer)));
    }
    if !set.is_empty() {
        sqlx::query(
            "INSERT INTO saga_timer (saga, instance, name, due_at, by_calendar)
             SELECT $1, instance, name, coalesce(due, now() + after * interval '1 ms'), due IS NOT NULL
             FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::timestamptz[]) AS r(instance, name, after, due)
             ON CONFLICT (saga, instance, name) DO UPDATE
             SET id = excluded.id, set_at = excluded.set_at, due_at = excluded.due_at, by_calendar = excluded.by_calendar,
                 attempts = 0, error = NULL",
        )
        .bind(S::NAME)
        .bind(set.iter().map(|(instance, ..)| *instance).collect::<Vec<_>>())
        .bind(set.iter().map(|(_, timer, ..)| *timer).collect::<Vec<_>>())
        .bind(set.iter().map(|(.., after, _)| *after).collect::<Vec<_>>())
        .bind(set.iter().map(|(.., due)| *due).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    if !cancelled.is_empty() {
        sqlx::query(
            "DELETE FROM saga_timer USING UNNEST($2::text[], $3::text[]) AS r(instance, name)
             WHERE saga_timer.saga = $1 AND saga_timer.instance = r.instance AND saga_timer.name = r.name",
        )
        .bind(S::NAME)
        .bind(cancelled.iter().map(|(instance, _)| *instance).collect::<Vec<_>>())
        .bind(cancelled.iter().map(|(_, timer)| *timer).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// How long a timer takes, in milliseconds; one that is due at a time of the calendar takes none.
pub(super) fn after<S: Saga>(timer: &str, configured: &HashMap<String, Duration>) -> i64 {
    let own = || S::TIMERS.iter().find(|(name, _)| *name == timer).map(|(_, after)| *after);
    let after = configured.get(&format!("{}.{timer}", S::NAME)).copied().or_else(own).unwrap_or_default();
    milliseconds(after)
}

#[cfg(test)]
mod tests {
    use millrace_domain::{Awaited, Heard, Reaction};
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    /// Its first version had no currency, its second one called the amount a sum.
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

        fn instance(_: &Heard<'_>) -> Option<String> {
            None
        }

        fn react(_: Option<Paying>, _: &Heard<'_>) -> Reaction<Paying> {
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
    }

    #[test]
    fn a_timer_takes_the_time_that_is_configured_or_its_own() {
        let configured = HashMap::from([("toy.deadline".to_owned(), Duration::from_millis(7))]);
        assert_eq!(after::<Toy>("deadline", &configured), 7);
        assert_eq!(after::<Toy>("deadline", &HashMap::new()), 5_000);
    }
}
