//! Shared by stories and measurements: the stack, an instance of Millrace in a separate namespace, its processes and their
//! metrics, and waiting for a condition. It uses Millrace only through its program and its data.

mod instance;
mod memory;
mod metrics;
mod patience;
mod process;
mod registry;
mod running;
mod stack;

pub use instance::Instance;
pub use memory::Memory;
pub use metrics::Metrics;
pub use patience::{Patience, as_long_as_it_moves, eventually};
pub use process::Process;
pub use registry::schema_id;
pub use running::{Running, free_port};
pub use stack::{Stack, script, script_with};
