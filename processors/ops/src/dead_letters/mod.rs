//! Dead letters of both sides: listed, shown, tried, redriven and discarded.

mod copy;
mod document;
mod filter;
mod id;
mod letter;
mod list;
mod preview;
mod settle;
mod show;
mod tables;
mod work;

pub use id::Id;
pub use letter::{CopyAt, Letter, Status};
pub use list::list;
pub use preview::{Event, Outcome, Preview, preview};
pub use settle::{Counts, Order, Refusal, Verb, settle};
pub use show::{Contents, HeaderText, Record, Shown, Undecodable, show};
pub use tables::Filters;
pub(crate) use tables::Tables;
pub use work::{Choice, chosen};
