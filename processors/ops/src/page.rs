//! The first rows of a list, and whether there are more.

/// At most as many rows as were asked for.
#[derive(Debug)]
pub struct Page<T> {
    /// In the list's order.
    pub rows: Vec<T>,
    /// How many were asked for at most.
    pub limit: i64,
    /// Whether the list goes on behind them.
    pub more: bool,
}

/// What to ask a database for, so that [`Page::of`] knows whether there are more than `limit`.
pub(crate) fn one_more(limit: i64) -> i64 {
    limit.saturating_add(1)
}

impl<T> Page<T> {
    /// The first `limit` rows of what was found with [`one_more`].
    pub(crate) fn of(mut rows: Vec<T>, limit: i64) -> Self {
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > most;
        rows.truncate(most);
        Self { rows, limit, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_knows_whether_the_list_goes_on() {
        let page = Page::of(vec![1, 2, 3], 2);
        assert_eq!((page.rows, page.more), (vec![1, 2], true));
        let page = Page::of(vec![1, 2], 2);
        assert_eq!((page.rows, page.more), (vec![1, 2], false));
    }
}
