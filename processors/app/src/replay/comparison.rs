//! The result of a comparison of two generations, as text for people.

use millrace_ops::replay::compare::{Comparison, Difference};

use crate::output::Table;

/// The verdict, and the fields of the first rows that differ.
pub(super) fn text(comparison: &Comparison) -> String {
    if comparison.equal() {
        return format!("{comparison}\n");
    }
    let mut table = Table::new(&["key", "field", "serving", "built"]);
    for Difference { key, field, serving, building } in &comparison.fields {
        table.row([key.clone(), field.clone(), serving.to_string(), building.to_string()]);
    }
    format!("{comparison}\n{}", table.render())
}
