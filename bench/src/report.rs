//! A table for people and a file for programs.

use std::path::{Path, PathBuf};

use anyhow::Result;
use millrace_testkit::Stack;
use serde_json::{Value, json};

use crate::machine;

/// The figures of a measurement.
pub(crate) struct Report {
    /// What was done, a line or two.
    pub(crate) title: String,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
    /// What must be known to read the table.
    pub(crate) notes: Vec<String>,
    /// Every figure.
    pub(crate) figures: Value,
}

impl Report {
    /// Prints the table.
    pub(crate) fn print(&self) {
        println!("\n{}\n", self.title);
        let head: Vec<String> = self.columns.iter().map(|column| (*column).to_owned()).collect();
        let widths = self.widths(&head);
        for row in std::iter::once(&head).chain(&self.rows) {
            println!("{}", line(row, &widths));
        }
        for note in &self.notes {
            println!("\n{note}");
        }
    }

    fn widths(&self, head: &[String]) -> Vec<usize> {
        let rows = || std::iter::once(head).chain(self.rows.iter().map(Vec::as_slice));
        let width =
            |column: usize| rows().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        (0..head.len()).map(|column| width(column).unwrap_or(0)).collect()
    }

    /// Writes all figures, with the machine that they were measured on.
    pub(crate) async fn write(&self, folder: &Path, name: &str, stack: &Stack) -> Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let now = chrono::Utc::now().format("%Y%m%dT%H%M%SZ");
        let file = folder.join(format!("{name}-{now}.json"));
        let content = json!({
            "measurement": name, "title": self.title, "notes": self.notes, "machine": machine::describe(stack).await?,
            "columns": self.columns, "rows": self.rows, "figures": self.figures,
        });
        std::fs::write(&file, serde_json::to_string_pretty(&content)?)?;
        Ok(file)
    }
}

/// The first column is text, the others are figures.
fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).enumerate().map(|(place, (cell, width))| match place {
        0 => format!("{cell:<width$}"),
        _ => format!("{cell:>width$}"),
    });
    cells.collect::<Vec<_>>().join("  ")
}

/// A whole number with thousands apart: `12,345`.
pub(crate) fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let grouped = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    grouped.collect::<Vec<_>>().join(",")
}

/// The middle of some figures; of an even number the mean of both.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => at(length / 2),
        length => f64::midpoint(at(length / 2 - 1), at(length / 2)),
    }
}

/// The median and the range of some figures: `5.1 (4.8 to 5.6)`.
pub(crate) fn spread(figures: &[f64]) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.2} ({least:.2} to {greatest:.2})", median(figures.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!([7.0, 999.6, 1_234_567.0].map(whole), ["7", "1,000", "1,234,567"]);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!([median([3.0, 1.0, 2.0].into_iter()), median([4.0, 1.0].into_iter())], [2.0, 2.5]);
    }

    #[test]
    fn a_spread_is_the_median_and_the_range() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), "2.00 (1.00 to 3.00)");
    }
}
