//! The table of queries is consistent.

use std::collections::BTreeSet;

use super::route::{Shape, Source};
use super::table::ROUTES;

/// The numbers of the parameters of a statement.
fn numbers(sql: &str) -> BTreeSet<usize> {
    sql.split('$')
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .collect()
}

#[test]
fn a_statement_has_a_place_for_every_value_that_it_is_given() {
    for route in ROUTES {
        let Source::Rows(rows) = &route.source else { continue };
        let of_page = match rows.shape {
            Shape::One => 0,
            Shape::List(by) => by.len() + 1,
        };
        let given = usize::from(route.named().is_some()) + route.parameters.len() + of_page;
        assert_eq!(numbers(rows.sql), (1..=given).collect(), "{}", route.path);
        assert!(rows.stream.is_none() || route.named().is_some(), "{}: whose stream?", route.path);
    }
}

#[test]
fn a_list_is_in_the_order_of_its_cursor() {
    for route in ROUTES {
        let Source::Rows(rows) = &route.source else { continue };
        let Shape::List(by) = rows.shape else { continue };
        let order =
            rows.sql.split_once("ORDER BY ").expect("an order").1.split_once(" LIMIT").expect("a limit").0;
        let columns: Vec<&str> = order.split(", ").map(|column| column.trim_end_matches(" DESC")).collect();
        assert_eq!(columns, by.iter().map(|(column, _)| *column).collect::<Vec<_>>(), "{}", route.path);
        let descending = order.matches(" DESC").count();
        assert!([0, columns.len()].contains(&descending), "{}: rows are compared as a whole", route.path);
    }
}

#[test]
fn paths_and_parameters_are_there_once() {
    let paths: BTreeSet<&str> = ROUTES.iter().map(|route| route.path).collect();
    assert_eq!(paths.len(), ROUTES.len());
    for route in ROUTES {
        let parameters = route.in_query();
        let names: BTreeSet<&str> = parameters.iter().map(|parameter| parameter.name).collect();
        assert_eq!(names.len(), parameters.len(), "{}", route.path);
        assert!(parameters.iter().all(|parameter| parameter.meaning.ends_with('.')), "{}", route.path);
    }
}
