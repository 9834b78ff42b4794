//! How rows get into a statement: one array for each column, of which its `UNNEST` makes rows again.

/// Binds what is listed of each row, an array for each: `bind_columns!(query, rows, row => row.id, row.version)`.
macro_rules! bind_columns {
    ($query:expr, $rows:expr, $row:pat => $($column:expr),+) => {
        $query$(.bind(
            $rows
                .iter()
                .map(|row| {
                    // A column needs not all parts of a row.
                    #[allow(unused_variables)]
                    let $row = row;
                    $column
                })
                .collect::<Vec<_>>(),
        ))+
    };
}

pub(crate) use bind_columns;

/// The place of a row among those that were bound: `WITH ORDINALITY` counts from 1.
pub(crate) fn place(ordinality: i64) -> Option<usize> {
    usize::try_from(ordinality - 1).ok()
}
