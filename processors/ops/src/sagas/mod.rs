//! Instances of sagas: listed, shown with their history, cancelled.

mod cancel;
mod id;
mod instance;
mod show;

pub use cancel::cancel;
pub use id::Id;
pub use instance::{Filters, Instance, list};
pub use show::{Call, Sent, Shown, Step, Timer, show};
