//! A peer's process: it prints a line with the number of committed records whenever that has changed, followed by what it has
//! found in them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Command};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use millrace_testkit::Process;

/// A running peer. Dropping it ends it.
pub(super) struct Peer {
    process: Process,
    told: Arc<Mutex<String>>,
}

impl Peer {
    /// Starts it.
    pub(super) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let mut process = Process::start_read(name, command, log)?;
        let (output, told) = (process.output()?, Arc::new(Mutex::default()));
        let heard = told.clone();
        std::thread::spawn(move || listen(output, &heard));
        Ok(Self { process, told })
    }

    /// The number of committed records that it has reported. Fails when it has ended.
    pub(super) fn committed(&mut self) -> Result<u64> {
        self.process.check()?;
        Ok(committed(&self.told()).unwrap_or(0))
    }

    /// Its last line.
    pub(super) fn told(&self) -> String {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

fn listen(output: ChildStdout, told: &Mutex<String>) {
    let lines = BufReader::new(output).lines().map_while(Result::ok);
    for line in lines.filter(|line| committed(line).is_some()) {
        *told.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }
}

/// The number that a line begins with.
fn committed(line: &str) -> Option<u64> {
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_how_many_records_are_committed() {
        assert_eq!([committed("7"), committed("7 8 9"), committed("SLF4J: 7")], [Some(7), Some(7), None]);
    }
}
