//! What each problem means and what to do: the table of docs/http.md.

use super::Kind;

/// The rows of the table.
const TABLE: &str = include_str!("table.md");

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// The name of the problem.
    pub(crate) name: &'static str,
    /// The status of its answer.
    pub(crate) status: &'static str,
    /// What it means.
    pub(crate) meaning: &'static str,
    /// What to do.
    pub(crate) remedy: &'static str,
}

impl Meaning {
    /// That of a problem; `None` when there is no such problem.
    pub(crate) fn of(name: &str) -> Option<Self> {
        rows().find(|row| row.name == name)
    }

    /// The title of the problem.
    pub(crate) fn title(self) -> &'static str {
        Kind::ALL.iter().find(|kind| kind.1 == self.name).map_or(self.name, |kind| kind.2)
    }
}

fn rows() -> impl Iterator<Item = Meaning> {
    TABLE.lines().skip(2).filter_map(|row| {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        let (status, name) = (cells.next()?, cells.next()?.trim_matches('`'));
        Some(Meaning { name, status, meaning: cells.next()?, remedy: cells.next()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_its_row_and_no_other_has_one() {
        let known: Vec<(String, &str)> =
            Kind::ALL.iter().map(|kind| (kind.status().to_string(), kind.1)).collect();
        for (status, name) in &known {
            let row = Meaning::of(name).unwrap_or_else(|| panic!("no row for {name}"));
            assert_eq!(row.status, status, "{name}");
            assert!(!row.meaning.is_empty() && !row.remedy.is_empty(), "{name}");
        }
        assert_eq!(rows().count(), known.len());
    }

    #[test]
    fn the_table_is_in_the_documentation() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http.md");
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains(TABLE), "copy processors/gateway/src/problem/table.md into docs/http.md");
    }
}
