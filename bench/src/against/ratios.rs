//! Millrace's figure by the peer's, of each round.

use serde::Serialize;

use super::Run;
use super::contestant::Contestant;
use crate::report::spread;

/// Millrace against one peer, round by round.
#[derive(Debug, Serialize)]
pub(super) struct Ratio {
    peer: Contestant,
    per_second: Vec<f64>,
    per_cpu_second: Vec<f64>,
    per_writer_second: Vec<f64>,
    peak_mb: Vec<f64>,
}

/// Against each peer, and against itself.
pub(super) fn of(peers: &[Contestant], runs: &[Run]) -> Vec<Ratio> {
    let peers = peers.iter().copied().chain([Contestant::Again]);
    peers.map(|peer| Ratio::of(peer, runs)).collect()
}

impl Ratio {
    fn of(peer: Contestant, runs: &[Run]) -> Self {
        let millrace = runs.iter().filter(|run| run.who == Contestant::Millrace);
        let theirs = runs.iter().filter(|run| run.who == peer);
        let rounds: Vec<(&Run, &Run)> = millrace.zip(theirs).collect();
        let by = |figure: fn(&Run) -> f64| rounds.iter().map(|(a, b)| figure(a) / figure(b)).collect();
        Self {
            peer,
            per_second: by(|run| run.per_second),
            per_cpu_second: by(|run| run.per_cpu_second),
            per_writer_second: by(|run| run.per_writer_second),
            peak_mb: by(|run| run.peak_mb),
        }
    }

    /// In a line: medians and ranges.
    pub(super) fn told(&self) -> String {
        format!(
            "Millrace against {}, median (range) of {}: records/s {}; per CPU-second {}; per CPU-second of the writer {}; \
             resident memory {}",
            self.peer.name(),
            self.per_second.len(),
            spread(&self.per_second),
            spread(&self.per_cpu_second),
            spread(&self.per_writer_second),
            spread(&self.peak_mb),
        )
    }
}
