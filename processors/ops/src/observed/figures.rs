//! Query results as figures.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::carried::Uncarried;
use super::family::{self, Figure, number, seconds_since};
use crate::setup::ConnectorState;
use crate::status::{Facts, Lag, Slot, UnderWay};

/// Postgres's values of `wal_status`, and ours for a missing slot.
const WAL_STATUSES: [&str; 5] = ["reserved", "extended", "unreserved", "lost", MISSING];
const CONNECTOR_STATES: [&str; 5] = ["running", "paused", "failed", "unassigned", MISSING];
const MISSING: &str = "missing";

/// The figures from one of the databases.
pub(super) fn of_facts(facts: &Facts, now: DateTime<Utc>) -> Vec<Figure> {
    let dead = facts.dead.iter().map(|dead| {
        family::OPEN_DEAD_LETTERS.is([dead.group.as_str(), dead.code.as_str()], number(dead.count))
    });
    let blocked = facts.blocked.iter().flat_map(|blocked| {
        let labels = [blocked.group.as_str(), blocked.status.as_str()];
        [
            family::BLOCKED_KEYS.is(labels, number(blocked.keys)),
            family::PARKED_RECORDS.is(labels, number(blocked.records)),
            family::BLOCKED_SECONDS.is(labels, seconds_since(blocked.since, now)),
        ]
    });
    dead.chain(blocked).collect()
}

/// The lag of groups. Rows that are still in the outbox count for the lag in seconds.
pub(super) fn of_lags(lags: &[Lag], uncarried: Option<&Uncarried>, now: DateTime<Utc>) -> Vec<Figure> {
    let figures = lags.iter().flat_map(|lag| {
        let labels = [lag.group.as_str(), lag.topic.as_str()];
        let held = uncarried.and_then(|uncarried| uncarried.seconds_of(&lag.topic, now));
        let seconds = lag.seconds.zip(held).map(|(in_kafka, in_outbox)| in_kafka.max(in_outbox));
        [
            Some(family::LAG_RECORDS.is(labels, number(lag.records))),
            seconds.map(|seconds| family::LAG_SECONDS.is(labels, seconds)),
            lag.unpublished.map(|records| family::UNPUBLISHED.is(labels, number(records))),
        ]
    });
    figures.flatten().collect()
}

/// The retention of topics.
pub(super) fn of_retentions(kept: &BTreeMap<String, f64>) -> Vec<Figure> {
    kept.iter().map(|(topic, seconds)| family::RETENTION.is([topic.as_str()], *seconds)).collect()
}

/// Rows that are still in the outbox.
pub(super) fn of_outbox(uncarried: &Uncarried, now: DateTime<Utc>) -> Vec<Figure> {
    let oldest = uncarried.oldest().map_or(0.0, |oldest| seconds_since(oldest, now));
    vec![family::OUTBOX_ROWS.is([], number(uncarried.rows())), family::OUTBOX_SECONDS.is([], oldest)]
}

/// The replication slot.
pub(super) fn of_slot(slot: Option<&Slot>) -> Vec<Figure> {
    let status = slot.map_or(MISSING, |slot| slot.wal_status.as_str());
    let states = WAL_STATUSES.map(|one| family::SLOT_STATUS.is([one], f64::from(u8::from(one == status))));
    let bytes = slot.into_iter().flat_map(|slot| {
        [
            family::SLOT_ACTIVE.is([], f64::from(u8::from(slot.active))),
            family::SLOT_LAG.is([], number(slot.lag_bytes)),
            family::SLOT_RETAINED.is([], number(slot.kept_bytes)),
        ]
    });
    states.into_iter().chain(bytes).collect()
}

/// The connector and its task.
pub(super) fn of_connector(connector: Option<&ConnectorState>) -> Vec<Figure> {
    let state = match connector {
        None => MISSING,
        Some(state) if state.failed() => "failed",
        Some(state) if state.is_paused() => "paused",
        Some(state) if state.running() => "running",
        Some(_) => "unassigned",
    };
    CONNECTOR_STATES.map(|one| family::CONNECTOR.is([one], f64::from(u8::from(one == state)))).into()
}

/// Sagas, calls and undecided commands.
pub(super) fn of_under_way(under_way: &[UnderWay], now: DateTime<Utc>) -> Vec<Figure> {
    let figures = under_way.iter().map(|one| {
        let (count, age) = (number(one.count), seconds_since(one.since, now));
        let labels = |name| [name, one.standing.as_str()];
        match one.what.split_once(' ') {
            Some(("saga", saga)) => {
                [family::SAGAS.is(labels(saga), count), family::SAGA_AGE.is(labels(saga), age)]
            }
            Some((_, effect)) => {
                [family::CALLS_WAITING.is(labels(effect), count), family::CALLS_AGE.is(labels(effect), age)]
            }
            None => {
                [family::COMMANDS_UNDECIDED.is([], count), family::COMMANDS_UNDECIDED_SECONDS.is([], age)]
            }
        }
    });
    figures.flatten().collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn value(figures: &[Figure], name: &str, labels: &[&str]) -> Option<f64> {
        let found = figures.iter().find(|one| one.family.name == name && one.labels == labels);
        found.map(|one| one.value)
    }

    fn lag(seconds: Option<f64>) -> Lag {
        Lag { group: "m.orders".to_owned(), topic: "t".to_owned(), records: 3, seconds, ..Lag::default() }
    }

    #[test]
    fn a_lag_in_seconds_grows_with_what_the_outbox_holds_back() {
        let now = Utc::now();
        let held = Uncarried::of([("t", 2, now - TimeDelta::seconds(60))]);
        let seconds = |lag, held: Option<&Uncarried>| {
            value(&of_lags(&[lag], held, now), "millrace_lag_seconds", &["m.orders", "t"])
        };
        assert_eq!(seconds(lag(Some(0.0)), Some(&held)), Some(60.0));
        assert_eq!(seconds(lag(Some(90.0)), Some(&held)), Some(90.0));
        assert_eq!(seconds(lag(Some(7.0)), Some(&Uncarried::default())), Some(7.0));
        assert_eq!(seconds(lag(Some(7.0)), None), None, "unknown is never zero");
        assert_eq!(seconds(lag(None), Some(&held)), None);
    }

    #[test]
    fn exactly_one_state_of_the_slot_and_of_the_connector_is_1() {
        let missing = of_slot(None);
        assert_eq!(value(&missing, "millrace_slot_wal_status", &["missing"]), Some(1.0));
        assert_eq!(missing.iter().map(|one| one.value).sum::<f64>(), 1.0, "and it keeps no bytes");
        let failed = ConnectorState {
            connector: "RUNNING".to_owned(),
            task: Some("FAILED".to_owned()),
            trace: None,
            offsets_ahead: 0,
            drops_rows: false,
        };
        let failed = of_connector(Some(&failed));
        assert_eq!(value(&failed, "millrace_connector_state", &["failed"]), Some(1.0));
        assert_eq!(failed.iter().map(|one| one.value).sum::<f64>(), 1.0);
    }

    #[test]
    fn what_is_under_way_is_told_apart() {
        let now = Utc::now();
        let one = |what: &str, standing: &str| UnderWay {
            what: what.to_owned(),
            standing: standing.to_owned(),
            count: 2,
            since: now - TimeDelta::seconds(5),
        };
        let all = [
            one("saga fulfilment", "paid"),
            one("effect mail", "waiting"),
            one("commands", "sent and not decided"),
        ];
        let figures = of_under_way(&all, now);
        assert_eq!(value(&figures, "millrace_sagas", &["fulfilment", "paid"]), Some(2.0));
        assert_eq!(value(&figures, "millrace_effect_calls_waiting_seconds", &["mail", "waiting"]), Some(5.0));
        assert_eq!(value(&figures, "millrace_sent_commands_undecided", &[]), Some(2.0));
    }
}
