//! The views that read a context, with their columns and how to ask them.

use millrace_domain::dictionary::{self, SqlView, meaning, sql_views};
use millrace_domain::registry::{self, Visitor};
use millrace_domain::{Context, Effect, Log, Saga, Tally, View};
use millrace_schemas::CONTEXTS;

/// Every view that reads the context.
pub(super) fn section(context: &str) -> String {
    let mut views = Views { context, sections: Vec::new() };
    registry::visit(&mut views);
    format!("## Views\n\nWhat reads these events.\n{}", views.sections.concat())
}

struct Views<'c> {
    context: &'c str,
    sections: Vec<String>,
}

impl Views<'_> {
    fn add(&mut self, name: &str, contexts: &[&str], section: impl FnOnce() -> String) {
        if contexts.contains(&self.context) {
            self.sections.push(format!("\n### `{name}`\n\nReads {}. {}", sources(contexts), section()));
        }
    }
}

/// Not each by its name when it is all of them: a new one would change the pages of all others.
fn sources(contexts: &[&str]) -> String {
    if contexts == CONTEXTS {
        return "every context".to_owned();
    }
    contexts.iter().map(|context| format!("`{context}`")).collect::<Vec<_>>().join(", ")
}

impl Visitor for Views<'_> {
    fn context<C: Context>(&mut self) {}

    fn view<V: View>(&mut self) {
        self.add(V::NAME, V::CONTEXTS, || {
            let place = V::MAPPING.map(|_| format!(" and in Elasticsearch as `millrace-{}`", V::NAME));
            let (key, value) = one_of(V::NAME, V::KEY);
            let query = format!("SELECT * FROM millrace.{} WHERE {key} = '{value}';", V::NAME);
            let place = format!("In Postgres, a row for each `{}`{}.", V::KEY, place.unwrap_or_default());
            table(&place, (V::NAME, V::TABLE), V::SQL_VIEW, &query)
        });
    }

    fn tally<T: Tally>(&mut self) {
        self.add(T::NAME, T::CONTEXTS, || {
            let keys: Vec<String> = T::KEYS.iter().map(|key| format!("`{key}`")).collect();
            let place = format!("In Postgres, sums for each {}.", keys.join(", "));
            table(&place, (T::NAME, T::TABLE), T::SQL_VIEW, &sums::<T>())
        });
    }

    fn log<L: Log>(&mut self) {
        let context = self.context;
        self.add(L::NAME, L::CONTEXTS, || {
            let search = format!("millrace-{}/_search?q=context:{context}&sort=occurred_at:desc", L::NAME);
            let place = format!("In Elasticsearch as `millrace-{}`, a document for each event.", L::NAME);
            format!("{place}\n\n```sh\ncurl \"$ELASTICSEARCH_URL/{search}\"\n```\n")
        });
    }

    fn saga<S: Saga>(&mut self) {}

    fn effect<E: Effect>(&mut self) {}
}

/// A column of a view and a value of it, those of the examples of commands.
fn one_of(view: &str, key: &'static str) -> (&'static str, &'static str) {
    let value = match key {
        "account_id" => "DE01",
        "campaign_id" => "spring",
        "cart_id" => "cart-1",
        "customer_id" => "ALFKI",
        "job_id" => "spring/1/1",
        "line_id" => "10248-1",
        "order_id" | "reservation_id" => "10248",
        "product_id" => "11",
        "segment_id" => "wholesale",
        "subscription_id" => "sub-1",
        "day_id" => return ("product_id", "11"),
        "entry_id" => return ("customer_id", "ALFKI"),
        _ => panic!("{view}: which {key} do the examples of commands have?"),
    };
    (key, value)
}

/// All amounts by the first key; amounts of different currencies stay apart.
fn sums<T: Tally>() -> String {
    let by: Vec<&str> = T::KEYS
        .iter()
        .enumerate()
        .filter(|(at, key)| *at == 0 || **key == "currency")
        .map(|(_, key)| *key)
        .collect();
    let sums: Vec<String> = T::AMOUNTS.iter().map(|amount| format!("sum({amount}) AS {amount}")).collect();
    let (by, sums) = (by.join(", "), sums.join(", "));
    format!("SELECT {by}, {sums} FROM millrace.{} GROUP BY {by} ORDER BY {by};", T::NAME)
}

fn table(place: &str, (name, table): (&str, &str), sql_view: &str, query: &str) -> String {
    let columns = columns(name, table).concat();
    let (own, further): (Vec<_>, Vec<_>) =
        sql_views(sql_view).into_iter().partition(|view| view.name == "{view}");
    let own = own.into_iter().map(|view| view.query).find(|query| !query.is_empty());
    let query = own.unwrap_or_else(|| query.to_owned());
    let further: String = further.iter().map(item).collect();
    let further = if further.is_empty() {
        further
    } else {
        format!(
            "\nFurther SQL views, with the columns that are not those of `{name}`:\n\n{}\n",
            further.trim_end()
        )
    };
    format!("{place}\n\n| column | type | |\n|---|---|---|\n{columns}\n```sql\n{query}\n```\n{further}")
}

/// A line for each column: name, type, and what it means.
fn columns(view: &str, table: &str) -> Vec<String> {
    let body = table.split_once("CREATE TABLE IF NOT EXISTS {table} (\n").expect("a table").1;
    let body = body.split_once("\n)").expect("its end").0;
    let lines = body.lines().map(|line| line.trim().trim_end_matches(','));
    let columns = lines
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    let column = |(name, rest): (&str, &str)| {
        let kind = rest.split_whitespace().take_while(|word| !["NOT", "PRIMARY", "DEFAULT"].contains(word));
        let kind = kind.collect::<Vec<_>>().join(" ");
        let meaning = meaning(view, view, name).unwrap_or_else(|| panic!("columns.txt: {view}.{name}"));
        let required = rest.contains("NOT NULL") || rest.contains("PRIMARY KEY");
        let null = if required || meaning.contains("NULL") { "" } else { " May be NULL." };
        format!("| `{name}` | {kind} | {meaning}{null} |\n")
    };
    columns.map(column).collect()
}

/// A further SQL view.
fn item(SqlView { name, words, query }: &SqlView) -> String {
    let words = if words.is_empty() { String::new() } else { format!(": {words}") };
    let query: String = query.lines().map(|line| format!("  {line}\n")).collect();
    let query = if query.is_empty() { query } else { format!("\n  ```sql\n{query}  ```\n") };
    let columns = dictionary::columns(name).map(|(column, meaning)| format!("  - `{column}`: {meaning}\n"));
    format!("- `{name}`{words}\n{}{query}", columns.collect::<String>())
}
