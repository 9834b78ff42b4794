//! Resident memory of a process, from /proc.

use anyhow::{Context as _, Result};

/// Resident memory in MB.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Memory {
    /// At this moment.
    pub now_mb: f64,
    /// The most that it has ever been.
    pub peak_mb: f64,
}

impl Memory {
    /// Of a process that runs.
    ///
    /// # Errors
    /// When it does not.
    pub fn of(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let megabytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
            kilobytes.map(|kb| kb / 1024.0).with_context(|| format!("{name} is not in /proc"))
        };
        Ok(Self { now_mb: megabytes("VmRSS:")?, peak_mb: megabytes("VmHWM:")? })
    }
}
