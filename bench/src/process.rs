//! A process that is measured: what it has to say goes to a log, and it ends with its value.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const STOPS_WITHIN: Duration = Duration::from_secs(60);
const LOG_LINES_SHOWN: usize = 20;

/// A child of this one. Ends with this value.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to a log.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        command.stdout(file.try_clone()?);
        Self::spawn(name, command, file, log)
    }

    /// Starts a program whose standard output is read here; only its errors go to the log.
    pub(crate) fn start_read(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        command.stdout(Stdio::piped());
        Self::spawn(name, command, File::create(log)?, log)
    }

    fn spawn(name: &'static str, command: &mut Command, errors: File, log: &Path) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stderr(errors).spawn();
        let child =
            child.with_context(|| format!("{} cannot be started", command.get_program().display()))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// What it prints, once.
    pub(crate) fn output(&mut self) -> Result<ChildStdout> {
        self.child.stdout.take().context("its output is not read here")
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the end of its log when it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended with {status}:\n{}", self.name, self.log_tail()),
            None => Ok(()),
        }
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(LOG_LINES_SHOWN).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        Command::new("kill").args(["-s", "TERM", &self.pid().to_string()]).status()?;
        let until = Instant::now() + STOPS_WITHIN;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > until {
                self.child.kill()?;
                bail!("{} did not stop within {STOPS_WITHIN:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error}");
        }
    }
}
