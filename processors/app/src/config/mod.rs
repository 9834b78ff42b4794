//! Where settings come from: flag, else environment, else TOML file, else default.

mod environment;
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
