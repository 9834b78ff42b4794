//! A running `millrace run` that can be killed, frozen and asked for its figures.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::patience::eventually;
use crate::stack::http;

const STOP_PATIENCE: Duration = Duration::from_secs(30);
const LOG_LINES_SHOWN: usize = 40;
/// In characters.
const LOG_LINE_SHOWN: usize = 400;

/// One process. Ends with its story: by SIGTERM, so that its groups are empty afterwards.
pub struct Process {
    child: Child,
    port: u16,
    log: PathBuf,
    frozen: bool,
}

/// The process's own figures at one moment.
pub struct Metrics(String);

impl Process {
    /// Starts a program whose `http.listen` is a free port and whose log goes to a file.
    pub fn start(mut command: Command, log: PathBuf) -> Self {
        let port = free_port();
        let file = File::create(&log).expect("a log file");
        command.env("MILLRACE_HTTP__LISTEN", format!("127.0.0.1:{port}"));
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("the same log file")).stderr(file);
        Self { child: command.spawn().expect("the binary under test starts"), port, log, frozen: false }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log file")
    }

    /// SIGKILL: no clean-up of any kind.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process ends");
    }

    /// SIGTERM: asks it to stop.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGSTOP: every thread stands still, whatever it was doing.
    pub fn freeze(&mut self) {
        self.signal("STOP");
        self.frozen = true;
    }

    /// SIGCONT: goes on as if nothing had happened.
    pub fn thaw(&mut self) {
        self.signal("CONT");
        self.frozen = false;
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("the program kill");
        assert!(sent.success(), "SIG{signal} for the process {pid}");
    }

    /// Whether it is still there.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().expect("the state of the process").is_none()
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the process has ended", async || {
            self.child.try_wait().expect("the state of the process").ok_or_else(|| "it still runs".to_owned())
        })
        .await
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

    /// Its figures, when it answers.
    pub async fn metrics(&self) -> Result<Metrics, String> {
        Ok(Metrics(self.asked("metrics").await?.1))
    }

    /// Status and text of `healthz` or `readyz`, when it answers.
    pub async fn asked(&self, path: &str) -> Result<(u16, String), String> {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        let asked = http().get(url).timeout(Duration::from_secs(10)).send().await;
        let answer = asked.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.map_err(|error| error.to_string())?))
    }

    /// Waits until a figure is at least this large.
    pub async fn reports(&self, name: &str, labels: &[(&str, &str)], at_least: f64) {
        eventually(&format!("{name} {labels:?} is {at_least} or more"), async || {
            let value = self.metrics().await?.sum(name, labels);
            if value >= at_least { Ok(()) } else { Err(value.to_string()) }
        })
        .await;
    }

    /// Asserts that it has counted no attempt and made no dead letter: an outage is no fault of a record.
    ///
    /// # Panics
    /// When it has, or does not answer.
    pub async fn has_counted_no_faults(&self) {
        let figures = self.metrics().await.expect("figures");
        let counted =
            ["millrace_retries_total", "millrace_dead_letters_total"].map(|name| figures.sum(name, &[]));
        assert_eq!(counted, [0.0, 0.0], "an outage is no fault of a record: attempts, dead letters");
    }

    /// The most memory that it has ever had resident, in MB.
    pub fn memory_peak_mb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") / 1024
    }

    fn end(&mut self) {
        if self.frozen {
            self.thaw();
        }
        self.terminate();
        let asked = Instant::now();
        while self.lives() && asked.elapsed() < STOP_PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        if self.lives() {
            eprintln!("the process did not end within {STOP_PATIENCE:?} of SIGTERM: {}", self.log.display());
            self.kill();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lives() {
            self.end();
        }
        if std::thread::panicking() {
            eprintln!("--- the end of {}:\n{}", self.log.display(), tail(&self.log));
        }
    }
}

impl Metrics {
    /// The series, a line each.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.lines()
    }

    /// The sum of a metric over all its series that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let series = self.0.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let series = series.filter(|line| wanted.iter().all(|label| line.contains(label)));
        series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

/// A port that nobody listens on at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its number").port()
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<String> = text.lines().map(|line| line.chars().take(LOG_LINE_SHOWN).collect()).collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
