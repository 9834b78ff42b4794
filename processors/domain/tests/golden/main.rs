//! What was written once is understood for ever: golden records of every released version of every event.
//!
//! `<context>.json` beside this file has a few streams' records in their order: a record's bytes (`avro`), what they mean
//! to today's code (`event`), and the stream's state behind it (`state`). A record is added by its type, version and event;
//! `MILLRACE_WRITE_GOLDEN=1 cargo test -p millrace-domain --test golden` writes what is missing and changes nothing. Bytes
//! stay as they are for ever. A meaning that changes fails a test; where it was meant to, remove it and have it written again.
//!
//! `views/<view>.json` has what the fold of each view makes of these records, with the number of that fold. What is written
//! there is written again only for another number, or for further records.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod fold;
mod record;
mod rows;

use std::fs;
use std::path::{Path, PathBuf};

use millrace_domain::registry;
use millrace_schemas::{DEFINITIONS, Kind};

const AGAIN: &str = "MILLRACE_WRITE_GOLDEN=1 cargo test -p millrace-domain --test golden";

#[test]
fn every_released_version_of_every_event_means_what_it_meant() {
    // What is missing is written by the other test, which needs it: they run at the same time.
    if !write() {
        registry::visit(&mut fold::Contexts { write: false });
    }
}

#[test]
fn a_fold_that_changes_has_another_number() {
    if write() {
        registry::visit(&mut fold::Contexts { write: true });
    }
    registry::visit(&mut rows::Views { write: write() });
}

fn write() -> bool {
    std::env::var_os("MILLRACE_WRITE_GOLDEN").is_some()
}

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/released")
}

/// Every released version of every event of a context, such as `OrderPlaced/v1`.
fn released_events(context: &str) -> Vec<String> {
    let events = DEFINITIONS.iter().filter(|record| record.context == context && record.kind == Kind::Event);
    let versions = events.flat_map(|event| {
        let files = fs::read_dir(schemas().join(event.full_name)).expect(event.full_name);
        files.map(|file| {
            let version = file.expect("a file").path().with_extension("");
            format!("{}/{}", event.name, version.file_name().expect("a version").to_string_lossy())
        })
    });
    versions.collect()
}
