//! Comments on the SQL views and their columns in Postgres: the same texts as in docs/contexts/.

use std::collections::HashMap;

use millrace_domain::dictionary::{SqlView, meaning, sql_views};
use millrace_domain::views::customer_360;
use millrace_store::freshness;
use sqlx::PgConnection;

use crate::config::Config;
use crate::layout::{self, ReadModel};
use crate::postgres::execute;

/// The columns of the existing SQL views, with their comments; columns are counted from 1, and 0 is the view.
const NOW: &str = "
    SELECT c.relname::text, coalesce(a.attname::text, ''), coalesce(d.description, '')
    FROM pg_class AS c
    CROSS JOIN LATERAL (
        SELECT 0 AS attnum, NULL AS attname
        UNION ALL SELECT attnum, attname FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    ) AS a
    LEFT JOIN pg_description AS d
        ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = a.attnum
    WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind = 'v'
    ORDER BY 1, a.attnum";

/// Writes the comments that are missing or differ; returns whether there were any.
pub(crate) async fn write(connection: &mut PgConnection, config: &Config) -> sqlx::Result<bool> {
    let schema = config.namespace.database_schema();
    let now: Vec<(String, String, String)> =
        sqlx::query_as(NOW).bind(schema).fetch_all(&mut *connection).await?;
    let views = Views::of(config);
    let other = now.iter().filter_map(|(view, column, is)| {
        let text = views.comment(view, column).filter(|text| text != is)?;
        Some(statement(schema, (view, column), &text))
    });
    let statements: Vec<String> = other.collect();
    execute(connection, statements.join(";\n")).await?;
    Ok(!statements.is_empty())
}

fn statement(schema: &str, (view, column): (&str, &str), text: &str) -> String {
    let (view, text) = (format!("\"{schema}\".\"{view}\""), text.replace('\'', "''"));
    match column {
        "" => format!("COMMENT ON VIEW {view} IS '{text}'"),
        column => format!("COMMENT ON COLUMN {view}.\"{column}\" IS '{text}'"),
    }
}

/// The SQL views, each with its description and the read model that it is based on; none, when it is of all of them.
struct Views(HashMap<String, (String, &'static str)>);

impl Views {
    fn of(config: &Config) -> Self {
        let of_all = sql_views(freshness::FRESHNESS).into_iter();
        let of_all = of_all.map(|SqlView { name, words, .. }| (name, (words, "")));
        let whole = sql_views(customer_360::VIEWS).into_iter().zip(["account_analytics", "customers"]);
        let whole = whole.map(|(SqlView { name, words, .. }, of)| (name, (words, of)));
        Self(layout::read_models(config).iter().flat_map(views).chain(of_all).chain(whole).collect())
    }

    fn comment(&self, view: &str, column: &str) -> Option<String> {
        let (words, of) = self.0.get(view)?;
        if column.is_empty() {
            return Some(words.clone());
        }
        meaning(view, of, column).map(|meaning| meaning.replace('`', ""))
    }
}

fn views(model: &ReadModel) -> Vec<(String, (String, &'static str))> {
    let Some(table) = &model.table else { return Vec::new() };
    let described = sql_views(&table.view).into_iter().map(|view| match view.name.as_str() {
        "{view}" => {
            (model.name.to_owned(), (format!("A row for each {}.", table.key.join(", ")), model.name))
        }
        _ => (view.name, (view.words, model.name)),
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_and_column_that_is_known_has_a_comment() {
        let views = Views::of(&Config::default());
        assert_eq!(views.comment("orders", "").as_deref(), Some("A row for each order_id."));
        assert_eq!(views.comment("order_lines", "quantity").as_deref(), Some("Units."));
        assert!(
            views.comment("orders", "status").is_some_and(|text| text.starts_with("placed; confirmed: "))
        );
        assert!(views.comment("freshness", "").is_some_and(|text| text.starts_with("How far each view is")));
        assert!(views.comment("freshness", "applied_at").is_some());
        assert_eq!(views.comment("customer_360", "customer_id").as_deref(), Some("The customer."));
        assert!(views.comment("account_activity", "amount_in").is_some());
        assert_eq!((views.comment("foreign", ""), views.comment("orders", "foreign")), (None, None));
    }

    #[test]
    fn a_comment_is_text_whatever_is_in_it() {
        let sql = statement("m", ("orders", "status"), "it's");
        assert_eq!(sql, "COMMENT ON COLUMN \"m\".\"orders\".\"status\" IS 'it''s'");
    }
}
