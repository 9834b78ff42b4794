//! The contract's pages, one for each context, say what the schemas, the refusals and the views say.
//!
//! `MILLRACE_WRITE_PAGES=1 cargo test -p millrace-domain --test pages` makes them again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod freshness;
mod records;
mod refusals;
mod senders;
mod views;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use millrace_schemas::{CONTEXTS, Kind};

const AGAIN: &str = "MILLRACE_WRITE_PAGES=1 cargo test -p millrace-domain --test pages";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/contexts")
}

fn file_of(context: &str) -> PathBuf {
    folder().join(format!("{context}.md"))
}

/// What the page is for.
fn purpose(context: &str) -> String {
    format!(
        "For producers and analysts: the commands of the context `{context}` and why they are refused, its events, and the \
         views that read them. [The contract](../producing.md) explains topics, keys and headers.\n\n\
         Generated from the schemas, the refusals and the views by `{AGAIN}`."
    )
}

/// The page of a context.
fn page(context: &str) -> String {
    let sections = [
        format!("# {context}\n\n{}\n", purpose(context)),
        records::section(context, Kind::Command),
        records::section(context, Kind::Outcome),
        records::section(context, Kind::Rejection),
        refusals::table(context),
        records::section(context, Kind::Event),
        views::section(context),
    ];
    sections.join("\n")
}

#[test]
fn every_page_says_what_the_schemas_the_refusals_and_the_views_say() {
    if std::env::var_os("MILLRACE_WRITE_PAGES").is_some() {
        CONTEXTS.iter().for_each(|context| fs::write(file_of(context), page(context)).expect("a page"));
    }
    let other = |context: &&&str| fs::read_to_string(file_of(context)).ok().as_ref() != Some(&page(context));
    let others: Vec<_> = CONTEXTS.iter().filter(other).collect();
    assert!(others.is_empty(), "docs/contexts/ is not up to date about {others:?}: {AGAIN}");
}

#[test]
fn the_page_of_freshness_says_what_its_statement_says() {
    let (file, page) = (folder().join("../freshness.md"), freshness::page());
    if std::env::var_os("MILLRACE_WRITE_PAGES").is_some() {
        fs::write(&file, &page).expect("a page");
    }
    assert_eq!(fs::read_to_string(file).ok(), Some(page), "docs/freshness.md is not up to date: {AGAIN}");
}

#[test]
fn there_is_no_page_of_a_context_that_is_gone() {
    let files = fs::read_dir(folder()).expect("docs/contexts").map(|file| file.expect("a file").path());
    let known: BTreeSet<PathBuf> = CONTEXTS.iter().map(|context| file_of(context)).collect();
    let gone: Vec<PathBuf> = files.filter(|file| !known.contains(file)).collect();
    assert!(gone.is_empty(), "remove {gone:?}");
}

#[test]
fn a_page_shows_fields_within_lists_their_types_and_defaults() {
    let page = page("orders");
    let line =
        "| `lines[].discount_bp` | int | `0` | Discount in basis points (1/100 of a percent), 0 to 10000. |";
    assert!(page.contains(line), "{page}");
    assert!(
        page.contains("| `placed_at` | timestamp-micros | | When the customer ordered, UTC. |"),
        "{page}"
    );
    assert!(page.contains("| `customer_country` | string or null | `null` |"), "{page}");
}

#[test]
fn a_page_says_when_commands_are_refused() {
    let page = page("orders");
    assert!(page.contains("| `order-empty` | the order has no lines |"), "{page}");
    assert!(page.contains("| `id-invalid` |") && !page.contains("| `cart-empty` |"), "{page}");
}

#[test]
fn a_page_shows_the_columns_of_views_and_what_else_can_be_queried() {
    let page = page("orders");
    assert!(page.contains("| `revenue` | bigint | What those lines cost, in minor units. |"), "{page}");
    assert!(page.contains("- `revenue_by_month`: A share is the part of the month's revenue"), "{page}");
    assert!(!page.contains("### `products`"), "{page}");
}
