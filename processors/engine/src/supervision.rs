//! Panics: each is logged with its place, counted, shown by `/readyz`, and what panicked begins again, later each time.
//!
//! A panic is a mistake of this program. It may cost what it happened in, and nothing beside it: a record whose fold
//! panics is isolated like one that Postgres refuses; anything else in a member of a group lets that member leave and join
//! again.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// How long what has panicked rests before it begins again; twice as long after each further panic.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);
/// What has gone well for so long since it began again is sound.
const SOUND_AFTER: Duration = Duration::from_secs(30);

thread_local! {
    /// Where this thread panicked last: a caught panic does not say.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// What it says.
    pub message: String,
    /// Source file and line.
    pub place: String,
}

impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "panicked at {}: {}", self.place, self.message)
    }
}

/// Logs every panic of the process with its place, as a line of the log like any other.
pub fn log_panics() {
    set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        // Only when `RUST_BACKTRACE` asks for it.
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

/// Runs to the end or to a panic, which is counted as one of `task`.
///
/// # Errors
/// [`Panic`].
pub async fn caught<T>(task: &str, work: impl Future<Output = T>) -> Result<T, Panic> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|payload| panic_of(task, &*payload))
}

/// As [`caught`], of what waits for nothing.
///
/// # Errors
/// [`Panic`].
pub fn caught_at_once<T>(task: &str, work: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| panic_of(task, &*payload))
}

/// Over all that works for one group in this process: when one of it panics, all of it leaves.
#[derive(Debug, Clone)]
pub struct Watch {
    leave: CancellationToken,
    panicked: Arc<OnceLock<Panic>>,
}

impl Watch {
    /// What it is over leaves at the latest with `stop`.
    pub fn new(stop: &CancellationToken) -> Self {
        Self { leave: stop.child_token(), panicked: Arc::default() }
    }

    /// Tells all of it to leave.
    pub fn leave(&self) -> &CancellationToken {
        &self.leave
    }

    /// The first panic; what made it leave.
    pub fn panicked(&self) -> Option<&Panic> {
        self.panicked.get()
    }

    /// Runs a part of it.
    pub async fn over(&self, task: &str, work: impl Future<Output = ()>) {
        if let Err(panic) = caught(task, work).await {
            let _ = self.panicked.set(panic);
            self.leave.cancel();
        }
    }
}

/// What has panicked, how often in a row, and when it may begin again.
#[derive(Debug, Clone, Default)]
pub struct Setbacks(Arc<Mutex<BTreeMap<String, Setback>>>);

#[derive(Debug)]
struct Setback {
    panic: Panic,
    times: u32,
    rests_until: Instant,
}

impl Setback {
    fn is_over(&self, now: Instant) -> bool {
        now > self.rests_until + SOUND_AFTER
    }
}

impl Setbacks {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Setback>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a panic; for how long to rest.
    pub fn note(&self, what: &str, panic: &Panic) -> Duration {
        self.note_at(Instant::now(), what, panic)
    }

    fn note_at(&self, now: Instant, what: &str, panic: &Panic) -> Duration {
        let mut all = self.all();
        let times = all.get(what).filter(|last| !last.is_over(now)).map_or(0, |last| last.times) + 1;
        let rest = REST_MIN.saturating_mul(1 << (times - 1).min(16)).min(REST_MAX);
        tracing::error!(what, %panic, times, rest_ms = rest.as_millis(), "it panicked, and begins again after a rest");
        let setback = Setback { panic: panic.clone(), times, rests_until: now + rest };
        all.insert(what.to_owned(), setback);
        rest
    }

    /// Whether it has rested enough, or never panicked.
    pub fn may_begin(&self, what: &str) -> bool {
        self.all().get(what).is_none_or(|setback| setback.rests_until <= Instant::now())
    }

    /// For people, what is not known to be sound again.
    pub fn told(&self) -> Vec<String> {
        self.told_at(Instant::now())
    }

    fn told_at(&self, now: Instant) -> Vec<String> {
        let mut all = self.all();
        all.retain(|_, setback| !setback.is_over(now));
        let line = |(what, Setback { panic, times, .. }): (&String, &Setback)| {
            format!("{what}: {panic} (in a row: {times})")
        };
        all.iter().map(line).collect()
    }
}

/// Runs something to its end, again after each panic, unless `stop` comes first.
pub async fn restarted<F: Future<Output = ()>>(
    what: &str,
    setbacks: &Setbacks,
    stop: &CancellationToken,
    mut begin: impl FnMut() -> F,
) {
    while let Err(panic) = caught(what, begin()).await {
        let rest = setbacks.note(what, &panic);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_one_part_lets_all_of_it_leave() {
        let watch = Watch::new(&CancellationToken::new());
        watch.over("worker", async {}).await;
        assert!(watch.panicked().is_none() && !watch.leave().is_cancelled());
        watch.over("worker", async { panic!("at record {}", 7) }).await;
        assert_eq!(watch.panicked().unwrap().message, "at record 7");
        assert!(watch.leave().is_cancelled());
    }

    #[test]
    fn what_panics_again_rests_longer_and_is_sound_after_a_while() {
        let (setbacks, panic) =
            (Setbacks::default(), caught_at_once("timer", || panic!("again")).unwrap_err());
        let now = Instant::now();
        let rests: Vec<u64> = (0..8).map(|_| setbacks.note_at(now, "orders", &panic).as_secs()).collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(!setbacks.may_begin("orders") && setbacks.may_begin("customers"));
        let told = setbacks.told_at(now + REST_MAX + SOUND_AFTER);
        assert!(told.iter().any(|line| line.contains("orders") && line.contains("again")), "{told:?}");
        let later = now + REST_MAX + SOUND_AFTER + REST_MIN;
        assert_eq!(setbacks.told_at(later), Vec::<String>::new());
        assert_eq!(setbacks.note_at(later, "orders", &panic), REST_MIN);
    }

    #[tokio::test]
    async fn what_panics_begins_again() {
        let (mut times, setbacks) = (0, Setbacks::default());
        restarted("auditor", &setbacks, &CancellationToken::new(), || {
            times += 1;
            let times = times;
            async move { assert!(times > 1, "not yet") }
        })
        .await;
        assert_eq!(times, 2);
    }
}
