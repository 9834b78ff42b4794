//! A process of Millrace, which serves metrics and probes.

use std::net::TcpListener;
use std::ops::{Deref, DerefMut, Range};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{Memory, Metrics, Process};

const SERVES_WITHIN: Duration = Duration::from_secs(30);
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A process of Millrace. Dropping it sends SIGTERM.
#[derive(Debug)]
pub struct Running {
    process: Process,
    port: u16,
    client: reqwest::Client,
}

impl Running {
    /// Starts one on a free port, without waiting until it serves.
    ///
    /// # Errors
    /// When the program or the log cannot be opened.
    pub(crate) fn start(
        name: &str,
        command: &mut Command,
        log: &Path,
        client: &reqwest::Client,
    ) -> Result<Self> {
        let port = free_port()?;
        command.env("MILLRACE_HTTP__LISTEN", format!("127.0.0.1:{port}"));
        Ok(Self { process: Process::start(name, command, log)?, port, client: client.clone() })
    }

    /// Waits until it serves its metrics.
    ///
    /// # Errors
    /// When it ends, or does not serve for half a minute.
    pub async fn serves(&mut self) -> Result<()> {
        let until = Instant::now() + SERVES_WITHIN;
        while self.metrics().await.is_err() {
            self.check()?;
            if Instant::now() > until {
                bail!("it does not serve /metrics after {SERVES_WITHIN:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Its address: `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its metrics.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics(self.asked("metrics").await?.1))
    }

    /// Status and text of `metrics`, `livez` or `readyz`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn asked(&self, path: &str) -> Result<(u16, String)> {
        let url = format!("http://{}/{path}", self.address());
        let answer = self.client.get(url).timeout(ANSWERS_WITHIN).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Its resident memory.
    ///
    /// # Errors
    /// When it does not run.
    pub fn memory(&self) -> Result<Memory> {
        Memory::of(self.pid())
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(self) -> Result<()> {
        self.process.stop()
    }
}

impl Deref for Running {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Ports that the kernel gives to no client by itself (`ip_local_port_range` begins at 32768): one of those may be taken
/// between the look at it and its use.
const PORTS: Range<u16> = 20_000..30_000;

/// A port on which nothing listens, another one at each call.
///
/// # Errors
/// When there is none.
pub fn free_port() -> std::io::Result<u16> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let ports = PORTS.clone().cycle().skip(std::process::id() as usize % PORTS.len());
    let mut ports = ports.skip(CALLS.fetch_add(1, Ordering::Relaxed) as usize).take(PORTS.len());
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.ok_or_else(|| std::io::ErrorKind::AddrInUse.into())
}
