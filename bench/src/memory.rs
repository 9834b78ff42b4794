//! The course of a process's resident memory.

use std::time::Duration;

use millrace_testkit::Memory;
use tokio::task::JoinHandle;

use crate::report::median;

const LOOK_EVERY: Duration = Duration::from_millis(500);
const PARTS: usize = 10;

/// Looks at a process's memory until it is told to stop.
pub(crate) struct Course(JoinHandle<()>, std::sync::Arc<std::sync::Mutex<Vec<f64>>>);

impl Course {
    /// Of a process that runs.
    pub(crate) fn watch(pid: u32) -> Self {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let looks = seen.clone();
        let looking = tokio::spawn(async move {
            while let Ok(memory) = Memory::of(pid) {
                looks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(memory.now_mb);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self(looking, seen)
    }

    /// The median in MB of each tenth of the time, and the most that was seen.
    pub(crate) fn finish(self) -> (Vec<f64>, f64) {
        self.0.abort();
        let seen = self.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (tenths(&seen), seen.iter().copied().fold(0.0, f64::max))
    }
}

fn tenths(seen: &[f64]) -> Vec<f64> {
    let part = |n: usize| seen.iter().copied().skip(n * seen.len() / PARTS).take(seen.len().div_ceil(PARTS));
    (0..PARTS).map(|n| median(part(n))).collect()
}

/// `Resident memory by tenths of the time: 40 41 41 … MB.`
pub(crate) fn told(tenths: &[f64]) -> String {
    let tenths: Vec<String> = tenths.iter().map(|mb| format!("{mb:.0}")).collect();
    format!("Resident memory by tenths of the time: {} MB.", tenths.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_its_median() {
        let seen: Vec<f64> = (0..30).map(f64::from).collect();
        assert_eq!(tenths(&seen).first(), Some(&1.0));
        assert_eq!(tenths(&seen).last(), Some(&28.0));
    }
}
