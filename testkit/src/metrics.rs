//! The metrics of a process.

/// The metrics at one moment, in Prometheus's text format.
#[derive(Debug)]
pub struct Metrics(pub(crate) String);

impl Metrics {
    /// The series, one per line.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_series() {
        let metrics = Metrics("# TYPE a counter\na{g=\"x\"} 1\na{g=\"y\"} 2\nab{g=\"x\"} 9\n".to_owned());
        assert_eq!((metrics.sum("a", &[]), metrics.sum("a", &[("g", "x")])), (3.0, 1.0));
    }
}
