//! The tasks of this process that run until it stops, as `/livez` shows them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::Instant;

use super::Watch;

/// A member's loop goes on every second; it waits longest for batches in flight whose partitions are revoked.
const STILL_MAX: Duration = Duration::from_secs(120);
/// Characters of a reason, at most.
const WHY_MAX: usize = 300;

/// The state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs.
    Running,
    /// It runs, but its loop has not gone on for two minutes.
    Hanging,
    /// It has panicked, and begins again after a delay.
    Panicked,
    /// It has ended before the process.
    Dead,
}

/// A task.
#[derive(Debug, Clone, Serialize)]
pub struct Task {
    /// Its name; that of a member is its group.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Since when it has this state.
    pub since: DateTime<Utc>,
    /// Why it does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The number of tasks of a member that run, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<&'static str, usize>,
    /// Partitions of a member that another process has claimed and that it has not claimed again, with the time.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fenced: BTreeMap<String, DateTime<Utc>>,
}

#[derive(Debug)]
struct Known {
    state: State,
    since: DateTime<Utc>,
    why: Option<String>,
    watch: Option<Watch>,
}

/// The tasks of a process by name.
#[derive(Debug, Clone, Default)]
pub struct Tasks(Arc<Mutex<BTreeMap<String, Known>>>);

impl Tasks {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It begins, or begins again; a member with its own tasks.
    pub fn runs(&self, name: &str, watch: Option<Watch>) {
        let known = Known { state: State::Running, since: Utc::now(), why: None, watch };
        self.known().insert(name.to_owned(), known);
    }

    /// It goes on after all.
    pub fn goes_on(&self, name: &str) {
        if self.known().get(name).is_some_and(|known| known.state != State::Running) {
            self.runs(name, None);
        }
    }

    /// It has panicked. Tasks that are not among these have an end of their own.
    pub(super) fn panicked(&self, name: &str, why: &str) {
        self.becomes(name, State::Panicked, why);
    }

    /// It has ended, and this is why.
    pub fn dead(&self, name: &str, why: &str) {
        self.becomes(name, State::Dead, why);
    }

    fn becomes(&self, name: &str, state: State, why: &str) {
        if let Some(known) = self.known().get_mut(name) {
            let why = why.chars().take(WHY_MAX).collect();
            *known = Known { state, since: Utc::now(), why: Some(why), watch: None };
        }
    }

    /// It has nothing more to do.
    pub fn done(&self, name: &str) {
        let mut known = self.known();
        if known.get(name).is_some_and(|known| known.state == State::Running) {
            known.remove(name);
        }
    }

    /// It is not wanted any more.
    pub fn forget(&self, name: &str) {
        self.known().remove(name);
    }

    /// All of them.
    pub fn all(&self) -> Vec<Task> {
        self.all_at(Instant::now())
    }

    fn all_at(&self, now: Instant) -> Vec<Task> {
        self.known().iter().map(|(name, known)| known.shown(name, now)).collect()
    }
}

impl Known {
    fn shown(&self, name: &str, now: Instant) -> Task {
        let Self { state, since, why, watch } = self;
        let mut task = Task {
            name: name.to_owned(),
            state: *state,
            since: *since,
            why: why.clone(),
            tasks: watch.as_ref().map(Watch::tasks).unwrap_or_default(),
            fenced: watch.as_ref().map(Watch::fenced).unwrap_or_default(),
        };
        let still = watch.as_ref().map(|watch| now.saturating_duration_since(watch.turned()));
        if let Some(still) = still.filter(|still| *still > STILL_MAX) {
            task.state = State::Hanging;
            task.since = Utc::now() - still;
            task.why = Some("its loop has not gone on since then".to_owned());
        }
        task
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn states(tasks: &Tasks) -> Vec<(String, State)> {
        tasks.all().into_iter().map(|task| (task.name, task.state)).collect()
    }

    #[test]
    fn a_task_that_has_ended_is_shown_and_one_that_is_done_is_not() {
        let tasks = Tasks::default();
        for name in ["auditor", "observer", "m.orders"] {
            tasks.runs(name, None);
        }
        tasks.done("auditor");
        tasks.dead("observer", &"x".repeat(1_000));
        tasks.done("observer");
        tasks.panicked("m.orders", "at once");
        tasks.panicked("tending orders", "a task with an end of its own");
        let shown = [("m.orders", State::Panicked), ("observer", State::Dead)];
        assert_eq!(states(&tasks), shown.map(|(name, state)| (name.to_owned(), state)));
        assert_eq!(tasks.all()[1].why.as_ref().map(String::len), Some(WHY_MAX));
        tasks.goes_on("observer");
        tasks.forget("m.orders");
        assert_eq!(states(&tasks), [("observer".to_owned(), State::Running)]);
    }

    #[test]
    fn a_member_that_does_not_go_on_hangs_and_its_fenced_partitions_are_shown() {
        let (tasks, watch) = (Tasks::default(), Watch::new(&CancellationToken::new()));
        tasks.runs("m.orders", Some(watch.clone()));
        watch.is_fenced("m.evt.orders.v1[3]");
        let (soon, late) = (watch.turned() + STILL_MAX, watch.turned() + STILL_MAX + Duration::from_secs(1));
        assert_eq!(tasks.all_at(soon)[0].state, State::Running);
        assert!(tasks.all_at(soon)[0].fenced.contains_key("m.evt.orders.v1[3]"));
        assert_eq!(tasks.all_at(late)[0].state, State::Hanging);
        watch.turns();
        watch.is_settled("m.evt.orders.v1[3]");
        let task = &tasks.all()[0];
        assert_eq!((task.state, task.fenced.len()), (State::Running, 0));
    }
}
