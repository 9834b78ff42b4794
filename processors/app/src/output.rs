//! Standard output: text for people, or one JSON document.

use std::io::{self, Write as _};

use clap::ValueEnum;
use millrace_ops::failure::Failure;
use millrace_ops::page::Page;
use schemars::JsonSchema;
use serde::Serialize;

/// The largest width of a column; a longer cell exceeds it only in its row.
const WIDTH_MAX: usize = 120;

/// The format of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// A document that a command prints for programs; `docs/output.schema.json` says which command prints which.
pub trait Document: Serialize + JsonSchema {}

/// Columns of text, each as wide as its widest cell.
#[derive(Debug, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|cell| cell.to_uppercase()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        // Control characters are replaced: line breaks would break the table, and escape sequences could control the terminal.
        let clean = |cell: C| cell.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text; empty when it has no rows.
    pub fn render_rows(&self) -> String {
        if self.is_empty() { String::new() } else { self.render() }
    }

    /// The text, with a line break after each row.
    pub fn render(&self) -> String {
        let lines: Vec<&Vec<String>> =
            Some(&self.head).into_iter().filter(|head| !head.is_empty()).chain(&self.rows).collect();
        let columns = lines.iter().map(|line| line.len()).max().unwrap_or(0);
        let width =
            |column: usize| lines.iter().filter_map(|line| Some(line.get(column)?.chars().count())).max();
        let widths: Vec<usize> =
            (0..columns).map(|column| width(column).unwrap_or(0).min(WIDTH_MAX)).collect();
        let line = |cells: &Vec<String>| {
            let padded: Vec<String> = cells.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}")).collect();
            format!("{}\n", padded.join("  ").trim_end())
        };
        lines.into_iter().map(line).collect()
    }
}

/// Prints the text or the document, depending on the format.
///
/// # Errors
/// When standard output cannot be written, except when its reader has closed it.
pub fn print(format: Format, text: &str, document: &impl Document) -> Result<(), Failure> {
    match format {
        Format::Text => write(text),
        Format::Json => {
            let json = serde_json::to_value(document);
            let json = json.map_err(|error| Failure::refused("the document").caused_by(error))?;
            write(&format!("{json:#}\n"))
        }
    }
}

/// Writes text to standard output unchanged.
///
/// # Errors
/// As [`print()`].
pub fn write(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::refused("standard output").caused_by(error))
        }
        _ => Ok(()),
    }
}

/// The rows of a page; prints a note on standard error when there are more.
pub fn first<T>(Page { rows, limit, more }: Page<T>) -> Vec<T> {
    if more {
        say(&format!("there are more than these {limit}: --limit shows more"));
    }
    rows
}

/// Prints a line on standard error; ignores that it is closed.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_cell_makes_no_other_row_long() {
        let mut table = Table::new(&["key", "code"]);
        table.row(["k".repeat(100_000), "a".to_owned()]);
        table.row(["k".to_owned(), "b".to_owned()]);
        let lines: Vec<String> = table.render().lines().map(str::to_owned).collect();
        assert_eq!((lines[1].len(), lines[2].len()), (100_003, WIDTH_MAX + 3));
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["name", "n"]);
        table.row(["short", "1"]);
        table.row(["much longer", "22"]);
        assert_eq!(table.render(), "NAME         N\nshort        1\nmuch longer  22\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new(&[]);
        table.row(["a\u{1b}[31mb\nc"]);
        assert_eq!(table.render(), "a [31mb c\n");
    }
}
