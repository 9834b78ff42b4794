//! The program that is measured, while it runs.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const STARTS_WITHIN: Duration = Duration::from_secs(30);
const STOPS_WITHIN: Duration = Duration::from_secs(60);
const LOG_LINES_SHOWN: usize = 20;

/// A `millrace run`. Ends with this value.
pub(crate) struct Running {
    child: Child,
    port: u16,
    log: PathBuf,
    client: reqwest::Client,
}

/// Resident memory in MB.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Memory {
    pub(crate) now_mb: f64,
    pub(crate) peak_mb: f64,
}

impl Running {
    /// Starts the program and waits until it serves its figures.
    pub(crate) async fn start(program: &Path, arguments: &[String], log: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let file = File::create(log)?;
        let child = Command::new(program)
            .args(["--set", &format!("listen=127.0.0.1:{port}")])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        let mut running = Self { child, port, log: log.to_owned(), client };
        running.wait_until_it_serves().await?;
        Ok(running)
    }

    async fn wait_until_it_serves(&mut self) -> Result<()> {
        let until = Instant::now() + STARTS_WITHIN;
        while self.metrics().await.is_err() {
            self.check()?;
            if Instant::now() > until {
                bail!("millrace run does not serve /metrics after {STARTS_WITHIN:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the end of its log when it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("millrace run ended with {status}:\n{}", self.log_tail()),
            None => Ok(()),
        }
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(LOG_LINES_SHOWN).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    async fn metrics(&self) -> Result<String> {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        Ok(self.client.get(url).send().await?.text().await?)
    }

    /// The sum of a figure over all series with this label.
    pub(crate) async fn figure(&self, name: &str, label: &str) -> Result<f64> {
        Ok(sum(&self.metrics().await?, name, label))
    }

    /// Its resident memory.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let megabytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
            kilobytes.map(|kb| kb / 1024.0).with_context(|| format!("{name} is not in /proc"))
        };
        Ok(Memory { now_mb: megabytes("VmRSS:")?, peak_mb: megabytes("VmHWM:")? })
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
                bail!("millrace run did not stop within {STOPS_WITHIN:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error}");
        }
    }
}

fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let series = metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    let series = series.filter(|line| line.contains(label));
    series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_summed_over_its_series() {
        let metrics = "# TYPE a counter\na{g=\"x\"} 1\na{g=\"y\"} 2\nab{g=\"x\"} 9\n";
        assert_eq!((sum(metrics, "a", ""), sum(metrics, "a", "\"x\"")), (3.0, 1.0));
    }
}
