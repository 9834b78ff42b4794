//! Open loops at several rates, and comparisons of two contestants.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::latency::milliseconds;
use crate::report::{median, spread, whole};

/// What the cells of a loop are.
pub(super) const COLUMNS: [&str; 4] = ["arriving/s", "p50 ms", "p99 ms", "p99.9 ms"];

/// The results of an open loop.
#[derive(Debug, Serialize)]
pub(super) struct Loop {
    rate: u32,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// What did not arrive in time. It counts as if it had at that moment.
    late: usize,
}

impl Loop {
    /// Of latencies in microseconds.
    pub(super) fn of(rate: u32, latency: &Histogram<u64>, late: usize) -> Self {
        let at = |quantile: f64| milliseconds(latency.value_at_quantile(quantile));
        let max_ms = milliseconds(latency.max());
        Self { rate, p50_ms: at(0.5), p99_ms: at(0.99), p999_ms: at(0.999), max_ms, late }
    }

    fn cells(&self) -> Vec<String> {
        let ms = [self.p50_ms, self.p99_ms, self.p999_ms].map(|ms| format!("{ms:.1}"));
        [whole(f64::from(self.rate))].into_iter().chain(ms).collect()
    }
}

/// A row for each loop, the first of them behind these cells, the others behind as many empty ones.
pub(super) fn rows(first: &[String], loops: &[Loop]) -> Vec<Vec<String>> {
    let before = |place: usize| if place == 0 { first.to_vec() } else { vec![String::new(); first.len()] };
    loops.iter().enumerate().map(|(place, each)| [before(place), each.cells()].concat()).collect()
}

/// Ours by theirs, for each rate a line. A pair is the loops of both in one round.
pub(super) fn told(pairs: &[(&[Loop], &[Loop])]) -> String {
    let loops = pairs.first().map_or(0, |(ours, _)| ours.len());
    (0..loops).map(|place| told_of(pairs, place)).collect()
}

fn told_of(pairs: &[(&[Loop], &[Loop])], place: usize) -> String {
    let of = |loops: &[Loop], figure: fn(&Loop) -> f64| loops.get(place).map_or(f64::NAN, figure);
    let by = |figure: fn(&Loop) -> f64| {
        let ratio = |(ours, theirs): &(&[Loop], &[Loop])| of(ours, figure) / of(theirs, figure);
        spread(&pairs.iter().map(ratio).collect::<Vec<_>>())
    };
    format!(
        "\n  at {} a second: p50 {}, p99 {} ({:.0} ms and {:.0} ms), p99.9 {}",
        whole(pairs.first().map_or(f64::NAN, |(ours, _)| of(ours, |l| f64::from(l.rate)))),
        by(|l| l.p50_ms),
        by(|l| l.p99_ms),
        median(pairs.iter().map(|(ours, _)| of(ours, |l| l.p99_ms))),
        median(pairs.iter().map(|(_, theirs)| of(theirs, |l| l.p99_ms))),
        by(|l| l.p999_ms),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rate: u32, p99_ms: f64) -> Loop {
        Loop { rate, p50_ms: p99_ms / 2.0, p99_ms, p999_ms: p99_ms, max_ms: p99_ms, late: 0 }
    }

    #[test]
    fn each_rate_is_compared_with_its_own_of_the_same_round() {
        let (ours, theirs) = ([at(10, 5.0), at(50, 8.0)], [at(10, 10.0), at(50, 2.0)]);
        let told = told(&[(&ours, &theirs)]);
        let lines: Vec<&str> = told.trim().lines().collect();
        assert!(lines[0].contains("at 10 a second") && lines[0].contains("p99 0.50"), "{told}");
        assert!(lines[1].contains("at 50 a second") && lines[1].contains("p99 4.00"), "{told}");
    }

    #[test]
    fn what_a_run_did_stands_beside_its_first_rate() {
        let rows = rows(&["ours".to_owned()], &[at(10, 5.0), at(50, 8.0)]);
        assert_eq!(rows, [["ours", "10", "2.5", "5.0", "5.0"], ["", "50", "4.0", "8.0", "8.0"]]);
    }
}
