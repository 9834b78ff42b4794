//! The progress of a long command, on standard error.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use millrace_ops::listener::Listener;

use crate::output;

/// How often progress is reported without a terminal.
const REPORTED_EVERY: Duration = Duration::from_secs(5);

/// A progress bar on a terminal, lines otherwise.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    reported: Instant,
    begun: Instant,
}

impl Progress {
    /// Begins at 0 of `what`, such as `sent`.
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {human_pos} {msg}, {per_sec}, {elapsed}");
            let bar = ProgressBar::new_spinner().with_message(what);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Self { bar, what, reported: Instant::now(), begun: Instant::now() }
    }

    /// Sets the number that are done.
    pub(crate) fn at(&mut self, count: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(count),
            None if self.reported.elapsed() > REPORTED_EVERY => {
                self.reported = Instant::now();
                output::say(&format!("{count} {} after {} s", self.what, self.begun.elapsed().as_secs()));
            }
            None => (),
        }
    }

    /// Prints a line above the bar.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::say(text)),
            None => output::say(text),
        }
    }

    /// Ends the progress.
    pub(crate) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows the progress of long operations on standard error.
#[derive(Default)]
pub(crate) struct Terminal(Mutex<Option<Progress>>);

impl Terminal {
    fn progress(&self) -> MutexGuard<'_, Option<Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Terminal {
    fn say(&self, line: &str) {
        self.progress().as_ref().map_or_else(|| output::say(line), |progress| progress.say(line));
    }

    fn count(&self, what: &'static str, count: u64) {
        self.progress().get_or_insert_with(|| Progress::new(what)).at(count);
    }

    fn counted(&self) {
        if let Some(progress) = self.progress().take() {
            progress.done();
        }
    }
}
