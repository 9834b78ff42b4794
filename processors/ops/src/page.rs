//! The first rows of a list, and whether there are more.

/// The first rows of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// In the list's order.
    pub rows: Vec<T>,
    /// The requested limit.
    pub limit: i64,
    /// Whether there are further rows.
    pub more: bool,
}

/// The limit of the query, so that [`Page::of`] can tell whether there are more than `limit` rows.
pub(crate) fn one_more(limit: i64) -> i64 {
    limit.saturating_add(1)
}

impl<T> Page<T> {
    /// The first `limit` of the rows that were queried with [`one_more`].
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
