//! The program that is measured, while it runs.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::memory::Memory;
use crate::process::Process;

const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A `millrace run`. Ends with this value.
pub(crate) struct Running {
    process: Process,
    port: u16,
    client: reqwest::Client,
}

impl Running {
    /// Starts the program and waits until it serves its figures.
    pub(crate) async fn start(program: &Path, arguments: &[String], log: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args(["--set", &format!("http.listen=127.0.0.1:{port}")]).args(arguments);
        let process = Process::start("millrace run", &mut command, log)?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        let mut running = Self { process, port, client };
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
        self.process.pid()
    }

    /// Fails with the end of its log when it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        self.process.log_tail()
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
        Memory::of(self.pid())
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(self) -> Result<()> {
        self.process.stop()
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
