//! What stories are told with: an instance of Millrace in its own namespace on the real components, processes that
//! can be killed or frozen, a load that is the same every time, and a look at everything that came of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the harness is part of the tests: what it does not expect fails the story with a message"
)]

pub mod instance;
pub mod kafka;
pub mod load;
pub mod outcome;
pub mod outside;
pub mod patience;
pub mod process;
pub mod settle;
pub mod snapshot;
pub mod stack;

pub use instance::Instance;
pub use kafka::Raw;
pub use load::Load;
pub use patience::{becomes, eventually};
pub use process::Process;
pub use snapshot::Snapshot;
pub use stack::Stack;

/// A view, whether it is in Postgres and in Elasticsearch, and the contexts whose events it reads.
pub struct View {
    /// Its name; its group and table are called after it.
    pub name: &'static str,
    /// Where its events come from.
    pub contexts: &'static [&'static str],
    /// Whether it has a table; one that has keeps `progress`.
    pub table: bool,
    /// Whether it has an index.
    pub index: bool,
}

/// Every context.
pub const CONTEXTS: [&str; 8] =
    ["carts", "catalog", "customers", "inventory", "notifications", "orders", "payments", "subscriptions"];

/// Every view.
pub const VIEWS: [View; 10] = [
    View { name: "products", contexts: &["catalog", "inventory"], table: true, index: true },
    View { name: "orders", contexts: &["orders", "payments"], table: true, index: true },
    View {
        name: "customers",
        contexts: &["customers", "notifications", "orders", "payments"],
        table: true,
        index: true,
    },
    View { name: "payments", contexts: &["payments"], table: true, index: true },
    View { name: "stock_reservations", contexts: &["inventory"], table: true, index: false },
    View { name: "subscriptions", contexts: &["subscriptions"], table: true, index: false },
    View {
        name: "customer_history",
        contexts: &["orders", "payments", "subscriptions"],
        table: true,
        index: false,
    },
    View { name: "carts", contexts: &["carts"], table: true, index: false },
    View { name: "sales_daily", contexts: &["orders"], table: true, index: false },
    View { name: "events", contexts: &CONTEXTS, table: false, index: true },
];
