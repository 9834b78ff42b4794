//! Descriptions of SQL views and their columns: for the pages of analysts, and as comments in Postgres.

/// A section for each read model and each further SQL view.
const COLUMNS: &str = include_str!("views/columns.txt");
/// The section of the columns that every read model has.
const EVERYWHERE: &str = "";

/// The description of a column of an SQL view; `of` is the read model on which the view is based.
pub fn meaning(view: &str, of: &str, column: &str) -> Option<&'static str> {
    let sections = [view, of, EVERYWHERE];
    sections
        .iter()
        .find_map(|section| columns(section).find(|(name, _)| *name == column))
        .map(|(_, text)| text)
}

/// The columns that a section describes, in its order.
pub fn columns(section: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let begin = format!("[{section}]");
    let mut lines = COLUMNS.lines().skip_while(move |line| *line != begin);
    lines.next();
    lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once(": "))
}

/// An SQL view with the comment above it: a text, and an indented example query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlView {
    /// Its name; `{view}` for the read model's own.
    pub name: String,
    /// The description, if there is one.
    pub words: String,
    /// The example query, if there is one.
    pub query: String,
}

/// The SQL views of a read model, in the order in which they are created.
pub fn sql_views(sql: &str) -> Vec<SqlView> {
    let (mut comment, mut views) = (Vec::new(), Vec::new());
    for line in sql.lines() {
        match (line.strip_prefix("-- "), line.strip_prefix("CREATE OR REPLACE VIEW ")) {
            (Some(text), _) => comment.push(text),
            (None, Some(name)) => views.push(view(name, std::mem::take(&mut comment))),
            (None, None) => comment.clear(),
        }
    }
    views
}

fn view(rest: &str, comment: Vec<&str>) -> SqlView {
    let name = rest.split_whitespace().next().unwrap_or_default().trim_start_matches("{schema}.").to_owned();
    let (query, words): (Vec<&str>, Vec<&str>) =
        comment.into_iter().partition(|text| text.starts_with(INDENT));
    let query: Vec<&str> =
        query.into_iter().filter_map(|line| line.trim_end().strip_prefix(INDENT)).collect();
    SqlView { name, words: words.join(" "), query: query.join("\n") }
}

/// The indentation of a query's lines.
const INDENT: &str = "    ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_view_says_what_is_its_own_and_the_read_model_the_rest() {
        assert_eq!(meaning("order_lines", "orders", "quantity"), Some("Units."));
        assert_eq!(meaning("order_lines", "orders", "customer_id"), Some("The customer who ordered."));
        assert!(meaning("orders", "orders", "version").is_some_and(|text| text.starts_with("The number of")));
        assert_eq!(meaning("orders", "orders", "rank"), None);
    }

    #[test]
    fn a_comment_above_a_view_has_words_and_a_query() {
        let sql = "-- Entries in order:\n--     SELECT 1\n--       FROM a\nCREATE OR REPLACE VIEW {view} AS\nSELECT 1;\n\n\
                   -- lost\n\nCREATE OR REPLACE VIEW {schema}.more AS SELECT 2;";
        let [own, more] = &sql_views(sql)[..] else { panic!("two views") };
        assert_eq!((own.name.as_str(), own.words.as_str()), ("{view}", "Entries in order:"));
        assert_eq!(own.query, "SELECT 1\n  FROM a");
        assert_eq!((more.name.as_str(), more.words.as_str()), ("more", ""));
    }
}
