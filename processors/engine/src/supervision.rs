//! Panics: each is logged with its place in the code, counted and shown by `/readyz`, and the task is restarted after a growing
//! delay. `/livez` shows which tasks run.
//!
//! A panic is a bug of this program. It must affect only its task: a record whose fold panics is isolated like one that Postgres
//! refuses; after any other panic in a member, that member leaves its group and joins again.

mod tasks;
mod watch;

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics;
pub use tasks::{State, Task, Tasks};
pub use watch::Watch;

/// The delay before a task is restarted after a panic; it doubles with each further panic.
const DELAY_MIN: Duration = Duration::from_secs(1);
const DELAY_MAX: Duration = Duration::from_secs(60);
/// A task that has not panicked for this long since its restart is healthy.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);

thread_local! {
    /// The place of this thread's last panic, which a caught panic does not include.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// Its message.
    pub message: String,
    /// Source file and line.
    pub place: String,
}

impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "panicked at {}: {}", self.place, self.message)
    }
}

/// Logs every panic of the process with its place, in the format of the log.
pub fn log_panics() {
    set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        // Captures only with `RUST_BACKTRACE`.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let (thread, message) = (thread.name().unwrap_or_default(), text(info.payload()));
        tracing::error!(place, thread, message, backtrace, "panicked");
        PLACE.set(place);
    }));
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn panic_of(task: &str, payload: &(dyn Any + Send)) -> Panic {
    metrics::PANICS.with_label_values(&[task]).inc();
    Panic { message: text(payload), place: PLACE.with_borrow(Clone::clone) }
}

/// Runs a future; a panic is caught and counted for `task`.
///
/// # Errors
/// [`Panic`].
pub async fn caught<T>(task: &str, work: impl Future<Output = T>) -> Result<T, Panic> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|payload| panic_of(task, &*payload))
}

/// As [`caught`], for a function that is not async.
///
/// # Errors
/// [`Panic`].
pub fn caught_at_once<T>(task: &str, work: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| panic_of(task, &*payload))
}

/// Tasks that have panicked, how often in a row, and when each may be restarted.
#[derive(Debug, Clone, Default)]
pub struct Restarts {
    panicked: Arc<Mutex<BTreeMap<String, Restart>>>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Restart {
    panic: Panic,
    times: u32,
    not_before: Instant,
}

impl Restart {
    fn is_healthy(&self, now: Instant) -> bool {
        now > self.not_before + HEALTHY_AFTER
    }
}

impl Restarts {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Restart>> {
        self.panicked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tasks of this process.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Records a panic and returns the delay before the restart.
    pub fn note(&self, what: &str, panic: &Panic) -> Duration {
        self.note_at(Instant::now(), what, panic)
    }

    fn note_at(&self, now: Instant, what: &str, panic: &Panic) -> Duration {
        let mut all = self.all();
        let times = all.get(what).filter(|last| !last.is_healthy(now)).map_or(0, |last| last.times) + 1;
        let delay = DELAY_MIN.saturating_mul(1 << (times - 1).min(16)).min(DELAY_MAX);
        tracing::error!(what, %panic, times, delay_ms = delay.as_millis(), "a task panicked and is restarted after a delay");
        self.tasks.panicked(what, &panic.to_string());
        let restart = Restart { panic: panic.clone(), times, not_before: now + delay };
        all.insert(what.to_owned(), restart);
        delay
    }

    /// Whether a task may be started: it never panicked, or its delay is over.
    pub fn may_start(&self, what: &str) -> bool {
        self.all().get(what).is_none_or(|restart| restart.not_before <= Instant::now())
    }

    /// Texts for people: the panics of tasks that are not healthy again yet.
    pub fn recent_panics(&self) -> Vec<String> {
        self.recent_panics_at(Instant::now())
    }

    fn recent_panics_at(&self, now: Instant) -> Vec<String> {
        let mut all = self.all();
        all.retain(|_, restart| !restart.is_healthy(now));
        let line = |(what, Restart { panic, times, .. }): (&String, &Restart)| {
            format!("{what}: {panic} (in a row: {times})")
        };
        all.iter().map(line).collect()
    }
}

/// Runs a task to its end and restarts it after each panic, unless `stop` is cancelled first.
pub async fn restarted<F: Future<Output = ()>>(
    what: &str,
    restarts: &Restarts,
    stop: &CancellationToken,
    mut begin: impl FnMut() -> F,
) {
    restarts.tasks().runs(what, None);
    while let Err(panic) = caught(what, begin()).await {
        let delay = restarts.note(what, &panic);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
        restarts.tasks().runs(what, None);
    }
    restarts.tasks().done(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_panics_again_waits_longer_and_is_healthy_after_a_while() {
        let (restarts, panic) =
            (Restarts::default(), caught_at_once("timer", || panic!("again")).unwrap_err());
        let now = Instant::now();
        let delays: Vec<u64> = (0..8).map(|_| restarts.note_at(now, "orders", &panic).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(!restarts.may_start("orders") && restarts.may_start("customers"));
        let shown = restarts.recent_panics_at(now + DELAY_MAX + HEALTHY_AFTER);
        assert!(shown.iter().any(|line| line.contains("orders") && line.contains("again")), "{shown:?}");
        let later = now + DELAY_MAX + HEALTHY_AFTER + DELAY_MIN;
        assert_eq!(restarts.recent_panics_at(later), Vec::<String>::new());
        assert_eq!(restarts.note_at(later, "orders", &panic), DELAY_MIN);
    }

    #[tokio::test]
    async fn a_task_that_panics_is_restarted() {
        let (mut times, restarts) = (0, Restarts::default());
        restarted("auditor", &restarts, &CancellationToken::new(), || {
            times += 1;
            let times = times;
            async move { assert!(times > 1, "not yet") }
        })
        .await;
        assert_eq!(times, 2);
    }
}
