//! Rebuilds: the next generation of a view is built beside the serving one, compared with it, and swapped.
//!
//! The table `replay` is authoritative. A command or an operator's reset only records that a generation must be built; every
//! `millrace run` reads the table, builds, compares and swaps. So nothing is lost when a process dies.

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
