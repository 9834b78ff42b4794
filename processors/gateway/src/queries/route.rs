//! A route of the read side: what it takes, where its answer comes from, and who may ask.

use millrace_ops::config::Subject;

use super::parameter::{Kind, Parameter};

/// Items of a page, at most.
pub(crate) const PAGE_MAX: i64 = 200;
/// Items of a page when the caller does not say.
pub(crate) const PAGE: i64 = 50;
/// How many items a page has, at most.
pub(crate) const LIMIT: Parameter = Parameter {
    name: "limit",
    kind: Kind::Integer { min: 1, max: PAGE_MAX },
    meaning: "The items of the page, at most; 50 by default.",
};
/// Where the page begins.
pub(crate) const AFTER: Parameter =
    Parameter { name: "after", kind: Kind::Cursor, meaning: "`next` of the page before." };

/// A query.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its path; a parameter stands in braces.
    pub(crate) path: &'static str,
    /// What it answers.
    pub(crate) summary: &'static str,
    /// What a client must be allowed to query.
    pub(crate) subject: Subject,
    /// Its parameters, without those that every list has.
    pub(crate) parameters: &'static [Parameter],
    /// Where its answer comes from.
    pub(crate) source: Source,
}

/// Where an answer comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Rows of SQL views.
    Rows(Rows),
    /// Documents of an index.
    Documents(Documents),
    /// The customers of a segment.
    Segment,
}

/// A statement on the SQL views.
#[derive(Debug)]
pub(crate) struct Rows {
    /// The read models whose SQL views it reads, the one of its rows first.
    pub(crate) views: &'static [&'static str],
    /// The SQL view of its rows, for the meaning of their columns.
    pub(crate) of: &'static str,
    /// The context of the stream that the path names, when the first read model folds it.
    pub(crate) stream: Option<&'static str>,
    /// The statement. Its parameters: that of the path, those of the route, the sort values of the item before the page, and the number
    /// of rows; the last two for lists only.
    pub(crate) sql: &'static str,
    /// What it returns.
    pub(crate) shape: Shape,
}

/// One item or several.
#[derive(Debug)]
pub(crate) enum Shape {
    /// The one that the path names.
    One,
    /// A list in the order of these columns, which are never null.
    List(&'static [(&'static str, Kind)]),
}

/// A search in the index of a view.
#[derive(Debug)]
pub(crate) struct Documents {
    /// The view.
    pub(crate) view: &'static str,
    /// The query for a text and filters.
    pub(crate) search: fn(&super::search::Given<'_>) -> serde_json::Value,
}

impl Route {
    /// The name of the parameter in its path.
    pub(crate) fn named(&self) -> Option<&'static str> {
        self.path.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(name, _)| name)
    }

    /// Whether it answers with a list, page by page.
    pub(crate) fn is_list(&self) -> bool {
        match &self.source {
            Source::Rows(rows) => matches!(rows.shape, Shape::List(_)),
            Source::Documents(_) => true,
            Source::Segment => false,
        }
    }

    /// The parameters of its query string.
    pub(crate) fn in_query(&self) -> Vec<Parameter> {
        let paging: &[Parameter] = if self.is_list() { &[LIMIT, AFTER] } else { &[] };
        self.parameters.iter().chain(paging).copied().collect()
    }

    /// The read models that it reads.
    pub(crate) fn views(&self) -> &[&'static str] {
        match &self.source {
            Source::Rows(rows) => rows.views,
            Source::Documents(documents) => std::slice::from_ref(&documents.view),
            Source::Segment => &["customers", "segments"],
        }
    }
}
