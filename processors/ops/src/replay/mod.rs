//! Rebuilds: the next generation of a view is built beside the serving one, compared, and takes its place.
//!
//! The table `replay` is the one truth. A command or an operator's reset only records that a generation is to be built;
//! every `millrace run` follows the table, builds, compares and swaps. So nothing is lost when any of them dies.

pub mod build;
pub mod compare;
pub mod cutover;
mod documents;
pub mod due;
pub mod fill;
pub mod generations;
pub mod reset;
pub mod session;
pub mod shapes;
pub(crate) mod sql_views;
pub mod watch;
