//! What was written once is understood for ever: golden records of every released version of every event and command.
//!
//! `<context>.json` beside this file has a few streams' records in their order: a record's bytes (`avro`), what they mean
//! to today's code (`event`), and the stream's state behind it (`state`). A record is added by its type, version and event;
//! `MILLRACE_WRITE_GOLDEN=1 cargo test -p millrace-domain --test golden` writes what is missing and changes nothing. Bytes
//! stay as they are for ever. A meaning that changes fails a test; where it was meant to, remove it and have it written again.
//!
//! `commands/<context>.json` has a record of every released version of every command, made from its schema: `avro` is what a
//! producer has written, `command` what it means to today's code.
//!
//! `views/<view>.json` has what the fold of each view makes of these records, with the number of that fold. What is written
//! there is written again only for another number, or for further records.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod commands;
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
fn every_released_version_of_every_command_means_what_it_meant() {
    registry::visit(&mut commands::Commands { write: write() });
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

/// Every released version of every event or command of a context, such as `OrderPlaced/v1`.
fn released_of(context: &str, kind: Kind) -> Vec<String> {
    let records = DEFINITIONS.iter().filter(|record| record.context == context && record.kind == kind);
    let versions = records.flat_map(|record| {
        let files = fs::read_dir(schemas().join(record.full_name)).expect(record.full_name);
        files.map(|file| {
            let version = file.expect("a file").path().with_extension("");
            format!("{}/{}", record.name, version.file_name().expect("a version").to_string_lossy())
        })
    });
    versions.collect()
}
