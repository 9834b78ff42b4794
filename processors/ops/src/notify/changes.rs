//! What has changed since operators were last told.

use chrono::{DateTime, TimeDelta, Utc};
use millrace_store::notified::Notified;

use super::problem::Problem;

/// A count that has grown, and not doubled, is told again after this time.
const TOLD_AGAIN_AFTER: TimeDelta = TimeDelta::hours(1);

/// What to tell, and what to remember without telling.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes<'c> {
    pub(super) new: Vec<&'c Problem>,
    pub(super) worse: Vec<(&'c Problem, DateTime<Utc>)>,
    pub(super) over: Vec<&'c Notified>,
    pub(super) lower: Vec<(&'c str, i64)>,
}

impl<'c> Changes<'c> {
    /// `would_show` says of a problem that is not among them whether it is over or unknown.
    pub(super) fn of(
        told: &'c [Notified],
        problems: &'c [Problem],
        would_show: impl Fn(&str) -> bool,
        now: DateTime<Utc>,
    ) -> Self {
        let mut changes = Self::default();
        for problem in problems {
            let Some(known) = told.iter().find(|known| known.problem == problem.name) else {
                changes.new.push(problem);
                continue;
            };
            let grown = problem.level > known.level;
            if problem.level < known.level {
                changes.lower.push((&problem.name, problem.level));
            } else if grown && (problem.level >= known.level * 2 || now - known.told_at > TOLD_AGAIN_AFTER) {
                changes.worse.push((problem, known.since));
            }
        }
        let is_over = |known: &&Notified| {
            problems.iter().all(|problem| problem.name != known.problem) && would_show(&known.problem)
        };
        changes.over = told.iter().filter(is_over).collect();
        changes
    }

    /// Whether nothing is to be told.
    pub(super) fn is_quiet(&self) -> bool {
        self.new.is_empty() && self.worse.is_empty() && self.over.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(problem: &str, level: i64, minutes_ago: i64) -> Notified {
        let at = Utc::now() - TimeDelta::minutes(minutes_ago);
        Notified { problem: problem.to_owned(), level, since: at, told_at: at }
    }

    fn problem(name: &str, level: i64) -> Problem {
        Problem { name: name.to_owned(), level, ..Problem::outage("x") }
    }

    /// The names of what is new, worse, over and lower.
    fn changes(told: &[Notified], problems: &[Problem]) -> [Vec<String>; 4] {
        let found = Changes::of(told, problems, |name| name != "unknown", Utc::now());
        [
            found.new.iter().map(|problem| problem.name.clone()).collect(),
            found.worse.iter().map(|(problem, _)| problem.name.clone()).collect(),
            found.over.iter().map(|known| known.problem.clone()).collect(),
            found.lower.iter().map(|(name, level)| format!("{name} {level}")).collect(),
        ]
    }

    #[test]
    fn a_problem_is_told_once_and_its_end_once_unless_it_is_unknown() {
        let [new, worse, over, lower] = changes(
            &[told("a", 1, 1), told("gone", 1, 1), told("unknown", 1, 1)],
            &[problem("a", 1), problem("b", 1)],
        );
        assert_eq!((new, over), (vec!["b".to_owned()], vec!["gone".to_owned()]));
        assert!(worse.is_empty() && lower.is_empty());
    }

    #[test]
    fn a_count_is_told_again_when_it_has_doubled_or_has_grown_for_an_hour() {
        let known = [told("soon", 10, 5), told("late", 10, 61), told("twice", 10, 5), told("less", 10, 5)];
        let now = [problem("soon", 19), problem("late", 11), problem("twice", 20), problem("less", 4)];
        let [_, worse, _, lower] = changes(&known, &now);
        assert_eq!((worse, lower), (vec!["late".to_owned(), "twice".to_owned()], vec!["less 4".to_owned()]));
    }
}
