//! A running `millrace run`, with assertions.

use std::ops::{Deref, DerefMut};
use std::os::unix::process::ExitStatusExt as _;

use millrace_testkit::{Metrics, Running};
use serde_json::Value;

use crate::patience::eventually;

/// A process. It is ended by SIGTERM with its story, so that its groups are empty afterwards.
pub struct Process(pub(crate) Running);

impl Process {
    /// SIGKILL: no clean-up of any kind.
    pub fn kill(&mut self) {
        self.0.kill().expect("a killed process");
    }

    /// SIGTERM: asks it to stop.
    pub fn terminate(&self) {
        self.0.terminate().expect("a signal");
    }

    /// SIGSTOP: every thread is suspended.
    pub fn freeze(&mut self) {
        self.0.freeze().expect("a signal");
    }

    /// SIGCONT: resumes.
    pub fn thaw(&mut self) {
        self.0.thaw().expect("a signal");
    }

    /// Whether it is still there.
    pub fn lives(&mut self) -> bool {
        self.status().expect("the state of the process").is_none()
    }

    /// Its metrics, if it answers.
    pub async fn metrics(&self) -> Result<Metrics, String> {
        self.0.metrics().await.map_err(|error| error.to_string())
    }

    /// Status and answer of `livez` or `readyz`, if it answers.
    pub async fn probed(&self, path: &str) -> Result<(u16, Value), String> {
        let (status, text) = self.asked(path).await?;
        Ok((status, serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?))
    }

    /// Waits until `/readyz` shows a component in this state.
    pub async fn shows(&self, component: &str, state: &str) {
        eventually(&format!("{component}: {state}"), async || {
            let (_, told) = self.probed("readyz").await?;
            let of = told["dependencies"].as_array().into_iter().flatten().find(|of| of["name"] == component);
            if of.is_some_and(|of| of["state"] == state) { Ok(()) } else { Err(told.to_string()) }
        })
        .await;
    }

    /// Waits until `/livez` shows that a task runs.
    pub async fn runs(&self, task: &str) {
        eventually(&format!("{task} runs"), async || {
            let (_, told) = self.probed("livez").await?;
            let mut tasks = told["tasks"].as_array().into_iter().flatten();
            let runs = tasks.any(|of| of["name"] == task && of["state"] == "running");
            if runs { Ok(()) } else { Err(told.to_string()) }
        })
        .await;
    }

    /// Status and text of a path, if it answers.
    pub async fn asked(&self, path: &str) -> Result<(u16, String), String> {
        self.0.asked(path).await.map_err(|error| error.to_string())
    }

    /// Its peak resident memory, in MB.
    pub fn memory_peak_mb(&self) -> f64 {
        self.memory().expect("a process that runs").peak_mb
    }

    /// Waits until a failpoint has killed it.
    pub async fn killed_by_failpoint(&mut self, moment: &str) {
        let status = self.ended().await;
        assert_eq!(status.signal(), Some(6), "aborted at {moment}, not {status}");
        assert!(
            self.log().contains("killed by a failpoint"),
            "the log of a process killed at {moment} says so"
        );
    }

    /// Sends SIGTERM and expects exit code 0.
    pub async fn stops(&mut self) {
        self.terminate();
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "exit code after SIGTERM");
    }

    /// Waits until a metric has at least this value.
    pub async fn reports(&self, name: &str, labels: &[(&str, &str)], at_least: f64) {
        eventually(&format!("{name} {labels:?} is {at_least} or more"), async || {
            let value = self.metrics().await?.sum(name, labels);
            if value >= at_least { Ok(()) } else { Err(value.to_string()) }
        })
        .await;
    }

    /// Asserts that it has counted no attempt and made no dead letter: an outage is not a fault of a record.
    ///
    /// # Panics
    /// When it has, or does not answer.
    pub async fn has_counted_no_faults(&self) {
        let figures = self.metrics().await.expect("figures");
        let counted =
            ["millrace_retries_total", "millrace_dead_letters_total"].map(|name| figures.sum(name, &[]));
        assert_eq!(counted, [0.0, 0.0], "an outage is no fault of a record: attempts, dead letters");
    }
}

impl Deref for Process {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Running {
        &mut self.0
    }
}
