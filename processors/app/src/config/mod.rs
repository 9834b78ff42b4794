//! Where settings come from: flag, else environment, else TOML file, else default.

pub mod cli;
mod environment;
pub mod explain;
mod file;
mod given;
mod global;
mod loaded;
mod names;
mod origin;
#[cfg(test)]
mod page;
mod renamed;
pub mod show;
#[cfg(test)]
mod tests;

pub use global::{GLOBAL, Global};
pub use loaded::Loaded;
pub use names::names;
pub use origin::{Origin, variable};
