//! A child process: its output goes to a log; it can be stopped, killed and frozen, and is ended when its value is dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::patience::eventually;

const STOPS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOG_LINES_SHOWN: usize = 40;
/// In characters.
const LOG_LINE_SHOWN: usize = 400;

/// A child process. Dropping it sends SIGTERM, so that it can leave its groups.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    frozen: bool,
}

impl Process {
    /// Starts a program whose output goes to a log.
    ///
    /// # Errors
    /// When the program or the log cannot be opened.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        command.stdout(file.try_clone()?);
        Self::spawn(name, command, file, log)
    }

    /// Starts a program whose standard output is read here; only its errors go to the log.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_read(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        command.stdout(Stdio::piped());
        Self::spawn(name, command, File::create(log)?, log)
    }

    fn spawn(name: &str, command: &mut Command, errors: File, log: &Path) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stderr(errors).spawn();
        let child =
            child.with_context(|| format!("{} cannot be started", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), frozen: false })
    }

    /// Its output; can be taken once.
    ///
    /// # Errors
    /// When its output goes to the log.
    pub fn output(&mut self) -> Result<ChildStdout> {
        self.child.stdout.take().context("its output is not read here")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<String> = log
            .lines()
            .rev()
            .take(LOG_LINES_SHOWN)
            .map(|line| line.chars().take(LOG_LINE_SHOWN).collect())
            .collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Its exit status; `None` while it runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// An error with the end of its log when it has ended.
    ///
    /// # Errors
    /// When it has.
    pub fn check(&mut self) -> Result<()> {
        match self.status()? {
            Some(status) => bail!("{} ended with {status}:\n{}", self.name, self.log_tail()),
            None => Ok(()),
        }
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it takes longer than two minutes.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("{} has ended", self.name);
        eventually(&what, async || match self.status() {
            Ok(status) => status.ok_or_else(|| "it still runs".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// SIGKILL: no clean-up of any kind.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM: asks it to stop.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub fn terminate(&self) -> Result<()> {
        self.signal("TERM")
    }

    /// SIGSTOP: every thread is suspended.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub fn freeze(&mut self) -> Result<()> {
        self.frozen = true;
        self.signal("STOP")
    }

    /// SIGCONT: resumes.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub fn thaw(&mut self) -> Result<()> {
        self.frozen = false;
        self.signal("CONT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let sent = Command::new("kill").args(["-s", signal, &self.pid().to_string()]).status()?;
        ensure!(sent.success(), "SIG{signal} for {}, process {}", self.name, self.pid());
        Ok(())
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.status()?.is_some() {
            return Ok(());
        }
        if self.frozen {
            self.thaw()?;
        }
        self.terminate()?;
        let until = Instant::now() + STOPS_WITHIN;
        while self.status()?.is_none() {
            if Instant::now() > until {
                self.kill()?;
                bail!("{} did not stop within {STOPS_WITHIN:?}: {}", self.name, self.log.display());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error}");
        }
        if std::thread::panicking() {
            eprintln!("--- the end of {}:\n{}", self.log.display(), self.log_tail());
        }
    }
}
