//! The framework of stories: an instance of Millrace in its own namespace on the real components, processes that can be killed or
//! frozen, a deterministic load, and a snapshot of everything that it leads to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the harness is part of the tests: what it does not expect fails the story with a message"
)]

pub mod answers;
pub mod cluster;
pub mod collector;
pub mod facade;
pub mod instance;
pub mod kafka;
pub mod kibana;
pub mod link;
pub mod load;
pub mod locks;
pub mod outcome;
pub mod outside;
pub mod patience;
pub mod process;
pub mod prometheus;
pub mod promql;
pub mod registry;
pub mod settle;
pub mod snapshot;
pub mod stack;
pub mod views;

pub use instance::Instance;
pub use kafka::Raw;
pub use load::Load;
pub use patience::{becomes, eventually};
pub use process::Process;
pub use snapshot::Snapshot;
pub use stack::stack;
pub use views::View;
