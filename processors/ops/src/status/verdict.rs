//! The verdict of a report: whether anything is missing, lost or needs an operator.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::databases::{Blocked, Unfit};
use super::lag::{Kafka, Lag};
use super::report::{Report, missing_connector, missing_slot, shown_connector, shown_slot};
use crate::failure::Failure;

/// A gap that is older will not be closed by an event that is still on its way.
const GAP_MAX: TimeDelta = TimeDelta::minutes(1);
/// Groups that a line names.
const NAMED_MAX: usize = 3;

impl Report {
    /// The result for the exit code: first components that do not answer, then problems that waiting does not resolve. It is only that
    /// no process works when nothing else is wrong.
    pub fn verdict(&self) -> Result<(), Failure> {
        let (problems, idle) = (self.problems(), self.idle());
        let problem = match problems.len() {
            0 => None,
            all if all == idle.len() => Some(Failure::Idle(problems.join("\n"))),
            _ => Some(Failure::Blocked(problems.join("\n"))),
        };
        let failures = self.failures().into_iter();
        let worst = failures.min_by_key(|failure| !matches!(failure, Failure::Unreachable { .. }));
        worst.cloned().or(problem).map_or(Ok(()), Err)
    }

    /// Whether no group is further behind than this.
    ///
    /// # Errors
    /// [`Failure::Behind`], which names the groups.
    pub fn within(&self, most: Duration) -> Result<(), Failure> {
        let late = |lag: &&Lag| lag.records > 0 && lag.seconds.is_none_or(|age| age > most.as_secs_f64());
        let lags = self.kafka.iter().flat_map(|kafka| &kafka.lags).filter(late);
        // Not known, if any is not.
        let mut late: BTreeMap<&str, Option<f64>> = BTreeMap::new();
        for lag in lags {
            let age = late.entry(&lag.group).or_insert(Some(0.0));
            *age = age.zip(lag.seconds).map(|(age, seconds)| age.max(seconds));
        }
        let line = |(group, age): (&&str, &Option<f64>)| match age {
            Some(age) => format!("{group} is {age:.1} s behind"),
            None => format!("{group}: how far it is behind is not known"),
        };
        let lines: Vec<String> = late.iter().map(line).collect();
        if lines.is_empty() { Ok(()) } else { Err(Failure::Behind(lines.join("\n"))) }
    }

    /// The first line of the output.
    pub fn headline(&self) -> String {
        let wrong = [self.problems(), self.unknown()].concat();
        let name = &self.namespace;
        if wrong.is_empty() {
            format!("{name}: well")
        } else {
            format!("{name}: NOT WELL: {}", wrong.join("; "))
        }
    }

    /// Whether every component answers and there is no problem.
    pub fn is_well(&self) -> bool {
        self.problems().is_empty() && self.unknown().is_empty()
    }

    /// The parts that have not answered, with the errors.
    pub fn unknown(&self) -> Vec<String> {
        let mut unknown: Vec<String> = Vec::new();
        for failure in self.failures().into_iter().map(ToString::to_string) {
            if !unknown.contains(&failure) {
                unknown.push(failure);
            }
        }
        unknown
    }

    fn failures(&self) -> Vec<&Failure> {
        let parts = [
            self.sound.as_ref().err(),
            self.kafka.as_ref().err(),
            self.members.as_ref().err(),
            self.write.as_ref().err(),
            self.read.as_ref().err(),
            self.slot.as_ref().err(),
            self.connector.as_ref().err(),
            self.subjects.as_ref().err(),
            self.indices.as_ref().err(),
            self.generations.as_ref().err(),
            self.unfit.as_ref().err(),
            self.under_way.as_ref().err(),
        ];
        parts.into_iter().flatten().collect()
    }

    /// Problems that waiting does not resolve.
    pub fn problems(&self) -> Vec<String> {
        let feed = self.feed().into_iter().collect();
        let waits = [self.unfit(), self.too_old(), self.refused(), self.idle(), self.blocked()].concat();
        [self.missing(), feed, self.deleted(), waits].concat()
    }

    /// Missing things that `millrace setup` creates.
    fn missing(&self) -> Vec<String> {
        let topics = self.kafka.iter().flat_map(|kafka| &kafka.topics).filter(|topic| topic.partitions == 0);
        let indices = self.indices.iter().flatten().filter(|index| index.index.is_none());
        let schemas = self.subjects.as_ref().map_or(0, |subjects| subjects.missing.len());
        let counts = [(topics.count(), "topics"), (indices.count(), "indices"), (schemas, "schemas")];
        let missing = counts.into_iter().filter(|(count, _)| *count > 0);
        missing.map(|(count, what)| format!("{count} {what} are missing: run `millrace setup`")).collect()
    }

    /// Problems between the outbox and Kafka.
    fn feed(&self) -> Option<String> {
        let slot = match &self.slot {
            Ok(None) => Some(missing_slot()),
            Ok(Some(slot)) if slot.is_lost() => Some(shown_slot(slot)),
            _ => None,
        };
        let connector = match &self.connector {
            Ok(None) => Some(missing_connector()),
            Ok(Some(state)) if state.is_wrong() => Some(format!("connector: {}", shown_connector(state))),
            _ => None,
        };
        slot.or(connector).map(|alarm| alarm.trim_end().to_owned())
    }

    /// Records that were deleted before they were read.
    fn deleted(&self) -> Vec<String> {
        self.kafka.iter().flat_map(Kafka::deleted).collect()
    }

    /// Resets that the next start refuses.
    fn refused(&self) -> Vec<String> {
        let refused = self.resets.iter().flatten().filter(|wish| wish.refused);
        refused.map(|wish| format!("{}: {}", wish.group, wish.what)).collect()
    }

    /// Views of another shape that are not being rebuilt, or whose next generation waits for an operator.
    fn unfit(&self) -> Vec<String> {
        let problem = |Unfit { view, why, other, differs }: &Unfit| match other {
            None => Some(format!("{view}: {why}")),
            Some(other) => differs.then(|| {
                format!(
                    "{view}: generation {other} differs and is not swapped: `millrace replay {view} --status`"
                )
            }),
        };
        self.unfit.iter().flatten().filter_map(problem).collect()
    }

    /// Partitions of the process on this machine that wait for a later build.
    fn too_old(&self) -> Vec<String> {
        let waiting = self.process.iter().flat_map(|process| &process.too_old);
        let problem = |place: &String| {
            format!("{place}: build-too-old: its next record is of a later release: start processes of that")
        };
        waiting.map(problem).collect()
    }

    /// The age of a view's data in seconds: the lag of its serving generation; 0 when it has applied all records, `None` when it
    /// is not known.
    pub fn age_of(&self, view: &str) -> Option<f64> {
        let group = format!("{}.{view}", self.namespace);
        let lags = self.kafka.as_ref().ok()?.lags.iter().filter(|lag| lag.group == group && lag.records > 0);
        lags.map(|lag| lag.seconds).try_fold(0.0, |oldest: f64, seconds| seconds.map(|age| oldest.max(age)))
    }

    /// Whether another generation of the group's view is being built or follows; then no process of this build works in the
    /// group.
    fn is_replaced(&self, group: &str) -> bool {
        let unfit = self.unfit.iter().flatten().filter(|unfit| unfit.other.is_some());
        unfit.into_iter().any(|unfit| group == format!("{}.{}", self.namespace, unfit.view))
    }

    /// Groups that are behind and have no member.
    fn idle(&self) -> Vec<String> {
        let (Ok(kafka), Ok(members)) = (&self.kafka, &self.members) else { return Vec::new() };
        let mut idle: BTreeMap<&str, i64> = BTreeMap::new();
        let is_idle = |lag: &&Lag| lag.records > 0 && members.get(&lag.group) == Some(&0);
        for lag in kafka.lags.iter().filter(is_idle).filter(|lag| !self.is_replaced(&lag.group)) {
            *idle.entry(lag.group.as_str()).or_default() += lag.records;
        }
        if idle.is_empty() {
            return Vec::new();
        }
        let named: Vec<&str> = idle.keys().copied().take(NAMED_MAX).collect();
        let more = idle.len() - named.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let records: i64 = idle.values().sum();
        vec![format!(
            "no process works on {}{more}, where {records} records wait: is `millrace run` running?",
            named.join(", ")
        )]
    }

    /// Blocked keys that need an operator.
    fn blocked(&self) -> Vec<String> {
        let facts = [&self.write, &self.read].into_iter().flatten();
        let blocked = facts.flat_map(|facts| &facts.blocked);
        let problems =
            blocked.filter_map(|Blocked { group, status, keys, since, .. }| match status.as_str() {
                "dead" => {
                    Some(format!("{keys} keys of {group} wait behind a dead letter: `millrace dlq list`"))
                }
                "gap" if Utc::now() - *since > GAP_MAX => Some(format!(
                    "{keys} keys of {group} wait for a version that is missing: `millrace verify`"
                )),
                _ => None,
            });
        problems.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::databases::{Facts, Slot};
    use super::super::lag::Topic;
    use super::super::services::{Index, Process, Subjects};
    use super::*;
    use crate::examples::{connector as running, report_in_part as report, report_that_is_well as well};
    use crate::setup::ConnectorState;

    #[test]
    fn a_partition_that_waits_for_a_later_build_is_a_problem() {
        let process = Process {
            address: "127.0.0.1:9464".to_owned(),
            resident_bytes: None,
            state_cache: BTreeMap::new(),
            outages: Vec::new(),
            too_old: vec!["m.orders at m.evt.orders.v1[3]".to_owned()],
        };
        let problems = Report { process: Some(process), ..well() }.problems();
        assert!(
            problems
                .iter()
                .any(|problem| problem.starts_with("m.orders at m.evt.orders.v1[3]: build-too-old"))
        );
    }

    #[test]
    fn what_could_not_be_asked_decides_the_exit_code_before_all_else() {
        assert!(matches!(report().verdict(), Err(Failure::Unreachable { .. })));
        let refused = Report { read: Err(Failure::refused("no")), ..report() };
        assert!(matches!(refused.verdict(), Err(Failure::Refused(_))));
    }

    #[test]
    fn records_that_are_worked_on_are_no_problem_and_those_that_no_process_works_on_are() {
        assert_eq!((well().headline().as_str(), well().is_well()), ("m: well", true));
        assert!(well().verdict().is_ok());
        let idle = Report { members: Ok(BTreeMap::from([("m.commands".to_owned(), 0)])), ..well() };
        let problem = "no process works on m.commands, where 3 records wait: is `millrace run` running?";
        assert_eq!(idle.headline(), format!("m: NOT WELL: {problem}"));
        assert!(matches!(idle.verdict(), Err(Failure::Idle(reason)) if reason == problem));
        let blocked = Report { slot: Ok(None), ..idle };
        assert!(matches!(blocked.verdict(), Err(Failure::Blocked(reason)) if reason.contains(problem)));
    }

    #[test]
    fn a_lag_is_beyond_what_was_asked_for_or_within_it() {
        assert!(well().within(Duration::from_millis(1_250)).is_ok());
        let behind = well().within(Duration::from_secs(1));
        assert!(matches!(behind, Err(Failure::Behind(what)) if what == "m.commands is 1.2 s behind"));
    }

    #[test]
    fn a_view_whose_next_generation_is_built_is_no_problem_unless_it_differs() {
        let unfit = |other, differs| Unfit {
            view: "commands".to_owned(),
            why: "another-shape".to_owned(),
            other,
            differs,
        };
        let with = |unfit| Report {
            members: Ok(BTreeMap::from([("m.commands".to_owned(), 0)])),
            unfit: Ok(vec![unfit]),
            ..well()
        };
        assert_eq!(with(unfit(Some(2), false)).problems(), Vec::<String>::new());
        assert_eq!(with(unfit(Some(2), false)).age_of("commands"), Some(1.25));
        assert!(with(unfit(Some(2), true)).problems()[0].contains("generation 2 differs and is not swapped"));
        assert_eq!(with(unfit(None, false)).problems().len(), 2, "and no process works on it");
    }

    #[test]
    fn what_setup_would_make_is_missed() {
        let topic =
            |name: &str, partitions| Topic { name: name.to_owned(), partitions, records: 0, written: 0 };
        let kafka = Kafka { topics: vec![topic("a", 2), topic("b", 0)], lags: Vec::new() };
        let index = Index { alias: "m-orders".to_owned(), index: None, health: None, documents: None };
        let subjects = Subjects { count: 1, missing: vec!["millrace.orders.OrderPlaced"] };
        let report = Report { kafka: Ok(kafka), indices: Ok(vec![index]), subjects: Ok(subjects), ..well() };
        let problems: Vec<String> = report.problems().iter().map(|problem| problem[..9].to_owned()).collect();
        assert_eq!(problems, ["1 topics ", "1 indices", "1 schemas"]);
    }

    #[test]
    fn keys_that_wait_for_an_operator_are_a_problem_and_those_that_are_retried_are_none() {
        let problems = |status: &str, age: TimeDelta| {
            let (group, status, since) = ("m.orders".to_owned(), status.to_owned(), Utc::now() - age);
            let blocked = vec![Blocked { group, status, keys: 2, records: 5, since }];
            Report { read: Ok(Facts { blocked, ..Facts::default() }), ..well() }.problems()
        };
        let long = TimeDelta::hours(1);
        assert_eq!(problems("retrying", long), Vec::<String>::new());
        assert_eq!(problems("gap", TimeDelta::zero()), Vec::<String>::new(), "the version is on its way");
        assert!(problems("gap", long)[0].starts_with("2 keys of m.orders wait for a version"));
        assert!(
            problems("dead", TimeDelta::zero())[0]
                .starts_with("2 keys of m.orders wait behind a dead letter")
        );
    }

    #[test]
    fn whatever_keeps_the_outbox_from_kafka_is_an_alarm() {
        let slot = |wal_status: &str| Slot {
            name: "m_outbox".to_owned(),
            active: false,
            lag_bytes: 0,
            kept_bytes: 0,
            wal_status: wal_status.to_owned(),
        };
        let alarm = |slot, connector| Report { slot: Ok(slot), connector: Ok(connector), ..report() }.feed();
        assert_eq!(alarm(Some(slot("reserved")), Some(running())), None);
        assert!(alarm(None, Some(running())).unwrap().contains("no replication slot"));
        assert!(
            alarm(Some(slot("lost")), Some(running())).unwrap().contains("(lost): the outbox is not carried")
        );
        assert!(alarm(Some(slot("reserved")), None).unwrap().contains("no connector"));
        let failed = ConnectorState { trace: Some("no such slot".to_owned()), ..running() };
        assert!(alarm(Some(slot("reserved")), Some(failed)).unwrap().contains("no such slot"));
        let ahead = ConnectorState { offsets_ahead: 2_048, ..running() };
        assert!(alarm(Some(slot("reserved")), Some(ahead)).unwrap().contains("offsets are 2.0 KiB ahead"));
        let drops = ConnectorState { drops_rows: true, ..running() };
        assert!(alarm(Some(slot("reserved")), Some(drops)).unwrap().contains("skips rows"));
        let state = |name: &str| Some(ConnectorState { connector: name.to_owned(), ..running() });
        for paused in ["PAUSED", "STOPPED"] {
            assert!(alarm(Some(slot("reserved")), state(paused)).unwrap().contains("until it is resumed"));
        }
        assert_eq!(alarm(Some(slot("reserved")), state("UNASSIGNED")), None, "soon a worker takes it");
    }
}
