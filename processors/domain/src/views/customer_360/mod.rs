//! All that is known of a customer in one answer: an SQL function, and the SQL view that shows the same for each customer.
//!
//! The function's text names no generation, so that no swap replaces it, and its type never changes: a part more is a field more. The
//! text names columns; Postgres does not refuse a shape without one of them, so change both in one release.

/// The read models that it needs; an instance without one of them does not have it.
pub const READ_MODELS: &[&str] = &[
    "customers",
    "account_balances",
    "account_analytics",
    "customer_history",
    "customer_purchases",
    "carts",
    "orders",
    "payments",
    "subscriptions",
];
/// Its name.
pub const NAME: &str = "customer_360";
/// The SQL view that the function reads beside those of the read models, with a placeholder for the schema.
const ACTIVITY: &str = include_str!("activity.sql");
/// The SQL view that calls the function, with the same placeholder.
const VIEW: &str = include_str!("view.sql");
/// Both SQL views.
pub const VIEWS: &str = concat!(include_str!("activity.sql"), "\n", include_str!("view.sql"));
/// The text of the function, with the same placeholder.
pub const DOCUMENT: &str = include_str!("document.sql");

/// The statements that create function and SQL views, each after what it names. `schema` is quoted.
pub fn create(schema: &str) -> String {
    let here = |view: &str| view.replace("{schema}", schema);
    format!("{}\n{};\n{}", here(ACTIVITY), function(schema), here(VIEW))
}

/// The text of the function in a schema, as Postgres keeps it.
pub fn text(schema: &str) -> String {
    DOCUMENT.replace("{schema}", schema)
}

fn function(schema: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION {schema}.{NAME}(id text) RETURNS jsonb LANGUAGE sql STABLE AS $document${}$document$",
        text(schema)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dictionary::sql_views;

    #[test]
    fn every_read_model_that_it_needs_is_one() {
        let of = include_str!("../../../../engine/tests/shapes.txt");
        let known: Vec<&str> = of.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(READ_MODELS.iter().all(|model| known.contains(model)), "{known:?}");
    }

    #[test]
    fn function_and_views_are_created_in_the_schema() {
        let create = create("\"here\"");
        assert!(!create.contains("{schema}"), "{create}");
        assert!(create.contains("FUNCTION \"here\".customer_360(id text)"));
        let place = |text: &str| create.find(text).unwrap_or_else(|| panic!("{text}: {create}"));
        assert!(
            place("VIEW \"here\".account_activity") < place("FUNCTION")
                && place("FUNCTION") < place("VIEW \"here\".customer_360")
        );
        let names: Vec<String> = sql_views(VIEWS).into_iter().map(|view| view.name).collect();
        assert_eq!(names, ["account_activity", NAME]);
    }
}
