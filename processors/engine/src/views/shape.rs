//! The shape of a view: its definition in a build. It has the columns of the table, SQL views, mapping, number of the fold, and the
//! contexts whose events the fold reads.

use millrace_domain::{Log, Tally, View};
use millrace_schemas::CONTEXTS;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Hexadecimal digits of the hash that are kept: enough to distinguish the shapes of a view.
const DIGITS: usize = 16;
/// Words that begin a constraint in a list of columns.
const CONSTRAINTS: [&str; 6] = ["constraint", "primary", "unique", "check", "foreign", "exclude"];
/// Words that end a column's type.
const AFTER_TYPE: [&str; 9] =
    ["not", "null", "primary", "unique", "default", "check", "references", "generated", "collate"];

/// The definition of a view in a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// The statement that creates its table, when it has one.
    pub table: Option<String>,
    /// The statements that create its SQL views.
    pub views: Option<String>,
    /// The properties of its mapping, when it is in Elasticsearch.
    pub mapping: Option<String>,
    /// The number of the fold, from 1.
    pub fold: u32,
    /// The contexts whose events it reads, whether the instance has them or not. A context that is added to the instance later has no
    /// earlier events, so no generation has missed any.
    pub contexts: Vec<&'static str>,
    /// The columns, or fields, whose meaning has changed since the previous shape.
    pub changed: Vec<&'static str>,
}

/// A column and its type, as its table's statement spells it.
pub type Column = (String, String);

impl Shape {
    /// The shape of a view of rows.
    pub fn of_view<V: View>() -> Self {
        let (table, views) = (Some(V::TABLE.to_owned()), Some(V::SQL_VIEW.to_owned()));
        let mapping = V::MAPPING.map(str::to_owned);
        let (contexts, changed) = (V::CONTEXTS.to_vec(), V::CHANGED.to_vec());
        Self { table, views, mapping, fold: V::FOLD, contexts, changed }
    }

    /// The shape of a tally.
    pub fn of_tally<T: Tally>() -> Self {
        let (table, views) = (Some(T::TABLE.to_owned()), Some(T::SQL_VIEW.to_owned()));
        let (contexts, changed) = (T::CONTEXTS.to_vec(), T::CHANGED.to_vec());
        Self { table, views, mapping: None, fold: T::FOLD, contexts, changed }
    }

    /// The shape of a log.
    pub fn of_log<L: Log>() -> Self {
        let mapping = Some(L::MAPPING.to_owned());
        let (contexts, changed) = (L::CONTEXTS.to_vec(), L::CHANGED.to_vec());
        Self { mapping, fold: L::FOLD, contexts, changed, ..Self::default() }
    }

    /// For stories, the shape of another build: with an additional `column` and its fold, a column `retyped`, another `mapping`, an
    /// additional `context:…`, or `without:…` one. Unchanged for any other word.
    #[must_use]
    pub fn changed_by(self, change: &str) -> Self {
        let replaced =
            |text: Option<String>, from: &str, to: &str| text.map(|text| text.replacen(from, to, 1));
        match change.split_once(':').unwrap_or((change, "")) {
            ("column", _) => {
                let column = "channel text NOT NULL DEFAULT 'web', version ";
                let table = replaced(self.table, "version ", column);
                let views = replaced(self.views, "version, updated_at", "channel, version, updated_at");
                Self { table, views, fold: self.fold + 1, ..self }
            }
            ("retyped", _) => Self { table: replaced(self.table, " bigint ", " numeric "), ..self },
            ("mapping", _) => Self { mapping: replaced(self.mapping, "\"long\"", "\"double\""), ..self },
            ("context", name) => {
                let more = CONTEXTS.iter().copied().filter(|context| *context == name);
                Self { contexts: self.contexts.into_iter().chain(more).collect(), ..self }
            }
            ("without", name) => {
                let contexts = self.contexts.into_iter().filter(|context| *context != name).collect();
                Self { contexts, ..self }
            }
            _ => self,
        }
    }

    /// A hash of columns, constraints, SQL views, mapping, fold and contexts, which does not depend on formatting.
    pub fn fingerprint(&self) -> String {
        let columns = self.table.as_deref().map(|table| within(&words(table)).join(" "));
        let views = self.views.as_deref().map(|views| words(views).join(" "));
        let mapping = self.mapping.as_deref().map(in_order);
        let mut contexts = self.contexts.clone();
        contexts.sort_unstable();
        let parts = [columns, views, mapping, Some(self.fold.to_string()), Some(contexts.join(" "))];
        let text = parts.map(Option::unwrap_or_default).join("\n");
        let mut digits = hex::encode(Sha256::digest(text.as_bytes()));
        digits.truncate(DIGITS);
        digits
    }

    /// The columns of the table; none without a table.
    pub fn columns(&self) -> Vec<Column> {
        let words = self.table.as_deref().map(words).unwrap_or_default();
        elements(within(&words)).iter().filter_map(|element| column(element)).collect()
    }
}

/// The tokens of SQL, without comments: names and keywords in lower case, literals unchanged, each other character separately.
fn words(sql: &str) -> Vec<String> {
    let (mut words, mut left) = (Vec::new(), sql.trim_start());
    while let Some(first) = left.chars().next() {
        let end = match first {
            '-' if left.starts_with("--") => {
                left = left.split_once('\n').map_or("", |(_, next)| next).trim_start();
                continue;
            }
            '\'' | '"' => left.get(1..).and_then(|text| text.find(first)).map_or(left.len(), |end| end + 2),
            _ if is_of_a_word(first) => left.find(|c| !is_of_a_word(c)).unwrap_or(left.len()),
            sign => sign.len_utf8(),
        };
        let (word, next) = left.split_at(end);
        let plain = is_of_a_word(first);
        words.push(if plain { word.to_lowercase() } else { word.to_owned() });
        left = next.trim_start();
    }
    words
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The tokens between the first parenthesis and the one that closes it.
fn within(words: &[String]) -> &[String] {
    let Some(open) = words.iter().position(|word| word == "(") else { return &[] };
    let inner = words.get(open + 1..).unwrap_or_default();
    let mut depth = 1;
    let close = inner.iter().position(|word| {
        depth += depth_of(word);
        depth == 0
    });
    inner.get(..close.unwrap_or(inner.len())).unwrap_or_default()
}

fn depth_of(word: &str) -> i32 {
    match word {
        "(" => 1,
        ")" => -1,
        _ => 0,
    }
}

/// The elements between commas outside of parentheses.
fn elements(words: &[String]) -> Vec<&[String]> {
    let mut depth = 0;
    words
        .split(|word| {
            depth += depth_of(word);
            depth == 0 && word == ","
        })
        .collect()
}

fn column(element: &[String]) -> Option<Column> {
    let (name, rest) = element.split_first()?;
    let kind: Vec<&str> =
        rest.iter().map(String::as_str).take_while(|word| !AFTER_TYPE.contains(word)).collect();
    (!CONSTRAINTS.contains(&name.as_str())).then(|| (name.trim_matches('"').to_owned(), kind.join(" ")))
}

/// JSON with the fields of each object sorted by name; text that is not JSON is unchanged.
fn in_order(json: &str) -> String {
    serde_json::from_str(json).map_or_else(|_| json.to_owned(), |value: Value| sorted(value).to_string())
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|(left, _), (right, _)| left.cmp(right));
            Value::Object(
                fields.into_iter().map(|(name, value)| (name, sorted(value))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(table: &str) -> Shape {
        Shape { table: Some(table.to_owned()), fold: 1, ..Shape::default() }
    }

    const TABLE: &str = "CREATE TABLE IF NOT EXISTS {table} (
        id text NOT NULL PRIMARY KEY, -- the key, and no more
        at timestamptz, price numeric(10, 2) NOT NULL DEFAULT 0, lines jsonb DEFAULT '[]', tags text[],
        UNIQUE (at, id), CHECK (price > 0)
    ) WITH (fillfactor = 50);";

    #[test]
    fn columns_have_the_types_that_their_table_spells() {
        let columns: Vec<String> =
            shape(TABLE).columns().into_iter().map(|(name, kind)| format!("{name}: {kind}")).collect();
        let expected =
            ["id: text", "at: timestamptz", "price: numeric ( 10 , 2 )", "lines: jsonb", "tags: text [ ]"];
        assert_eq!(columns, expected);
    }

    #[test]
    fn how_it_is_written_is_no_part_of_a_shape() {
        let rewritten = TABLE
            .replace(" -- the key, and no more", "")
            .replace("NOT NULL", "not  null")
            .replace("fillfactor = 50", "fillfactor = 70");
        assert_eq!(shape(&rewritten).fingerprint(), shape(TABLE).fingerprint());
        let mapping = |text: &str| Shape { mapping: Some(text.to_owned()), ..Shape::default() }.fingerprint();
        assert_eq!(mapping(r#"{"a": {"x": 1, "y": 2}, "b": 1}"#), mapping(r#"{"b":1,"a":{"y":2,"x":1}}"#));
    }

    #[test]
    fn columns_constraints_views_mapping_fold_and_contexts_are_parts_of_a_shape() {
        let before = shape(TABLE);
        let with = |change: &dyn Fn(&mut Shape)| {
            let mut after = before.clone();
            change(&mut after);
            after.fingerprint()
        };
        let all = [
            before.fingerprint(),
            with(&|after| after.table = Some(TABLE.replace("tags text[]", "tags text[], note text"))),
            with(&|after| after.table = Some(TABLE.replace("at timestamptz", "at date"))),
            with(&|after| after.table = Some(TABLE.replace(", CHECK (price > 0)", ""))),
            with(&|after| after.table = Some(TABLE.replace("'[]'", "'[ ]'"))),
            with(&|after| after.views = Some("CREATE VIEW {view}".to_owned())),
            with(&|after| after.mapping = Some("{}".to_owned())),
            with(&|after| after.fold = 2),
            with(&|after| after.contexts = vec!["orders"]),
            with(&|after| after.contexts = vec!["orders", "payments"]),
        ];
        assert_eq!(
            with(&|after| after.contexts = vec!["payments", "orders"]),
            with(&|after| after.contexts = vec!["orders", "payments"])
        );
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
    }
}
