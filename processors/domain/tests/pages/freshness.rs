//! The page of the SQL view that shows how far the others are.

use millrace_domain::dictionary::{columns, sql_views};

use crate::AGAIN;

const SQL: &str = include_str!("../../../store/src/freshness.sql");
const TYPES: [(&str, &str); 5] = [
    ("view", "text"),
    ("context", "text"),
    ("stream", "text"),
    ("version", "bigint"),
    ("applied_at", "timestamptz"),
];

/// The page: purpose, columns, a query.
pub(super) fn page() -> String {
    let [view] = &sql_views(SQL)[..] else { panic!("one SQL view") };
    let rows: String = columns(&view.name)
        .zip(TYPES)
        .map(|((name, meaning), (known, kind))| {
            assert_eq!(name, known, "columns.txt");
            format!("| `{name}` | {kind} | {meaning} |\n")
        })
        .collect();
    format!(
        "# Freshness\n\nFor analysts: since when a view shows an event. A view follows the events with a \
         delay, each stream of its own. `millrace trace ID` shows the same to operators.\n\n\
         Generated from `freshness.sql` and `columns.txt` by `{AGAIN}`.\n\n\
         In Postgres, `{}`. {}\n\n| column | type | |\n|---|---|---|\n{rows}\n```sql\n{};\n```\n",
        view.name, view.words, view.query
    )
}
