//! A peer's process: it prints how many records it has committed, a line whenever that has changed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::process::Process;

/// A peer that runs. Ends with this value.
pub(super) struct Peer {
    process: Process,
    committed: Arc<AtomicU64>,
}

impl Peer {
    /// Starts it.
    pub(super) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let mut process = Process::start_read(name, command, log)?;
        let (output, committed) = (process.output()?, Arc::new(AtomicU64::new(0)));
        let told = committed.clone();
        std::thread::spawn(move || listen(output, &told));
        Ok(Self { process, committed })
    }

    /// What it has committed, as far as it has told. Fails when it has ended.
    pub(super) fn committed(&mut self) -> Result<u64> {
        self.process.check()?;
        Ok(self.committed.load(Ordering::Relaxed))
    }

    /// The last lines of its log.
    pub(super) fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Asks it to stop and waits until it has.
    pub(super) fn stop(self) -> Result<()> {
        self.process.stop()
    }
}

fn listen(output: ChildStdout, committed: &AtomicU64) {
    for number in BufReader::new(output).lines().map_while(Result::ok).filter_map(|line| line.parse().ok()) {
        committed.store(number, Ordering::Relaxed);
    }
}
