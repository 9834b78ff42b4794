//! Stories on the real components: each in a namespace of its own, each about one capability.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a story that cannot go on ends; what it expected is the message"
)]

mod accounts;
mod alerts;
mod analytics;
mod answers;
mod archive;
mod audit;
mod cache;
mod campaign;
mod capacity;
mod catalog;
mod clients;
mod contention;
mod contract;
mod crash;
mod customer;
mod dead_letters;
mod documents;
mod duplicates;
mod evolve;
mod faults;
mod fence;
mod fetch;
mod freshness;
mod fulfilment;
mod garbage;
mod gateway;
mod growth;
mod handover;
mod health;
mod joint;
mod keys;
mod kibana;
mod links;
mod long;
mod mailed;
mod migrations;
mod notified;
mod observed;
mod offsets;
mod one_command;
mod outages;
mod outcomes;
mod overload;
mod pages;
mod panics;
mod prune;
mod pruners;
mod reads;
mod references;
mod refold;
mod releases;
mod replay;
mod restored;
mod retry;
mod reviews;
mod segments;
mod setup;
mod shape;
mod shipping;
mod shutdown;
mod spans;
mod subscriptions;
mod times;
mod topics;
mod undisturbed;
mod versions;

use millrace_tests::Instance;
use millrace_tests::instance::Workshop;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

const WORKSHOP: Workshop = Workshop {
    binary: env!("CARGO_BIN_EXE_millrace-under-test"),
    simulator: env!("CARGO_BIN_EXE_simulator-under-test"),
    folder: env!("CARGO_TARGET_TMPDIR"),
};

/// Stories share the stack, except those that take a component away from all of them.
static STACK: RwLock<()> = RwLock::const_new(());

/// A shared lock on the stack, beside other stories. Declared first in a story, so that it is dropped last.
async fn beside_others() -> RwLockReadGuard<'static, ()> {
    STACK.read().await
}

/// An exclusive lock on the stack.
async fn alone() -> RwLockWriteGuard<'static, ()> {
    STACK.write().await
}

/// A new instance with the name of a story.
async fn instance(story: &str) -> Instance {
    Instance::new(WORKSHOP, story).await
}

/// A new instance with further settings.
async fn instance_with(story: &str, settings: &[(&str, &str)]) -> Instance {
    Instance::with(WORKSHOP, story, settings).await
}
