//! What Postgres holds for the runtime: one module for each table, with all SQL on it, and the migrations that make the
//! tables. Knows neither Kafka nor what records mean: ids, places and bytes come in and go out.

pub mod database;
mod group;
pub mod migrations;
pub mod names;
mod place;
mod sqlstate;
pub mod timestamp;

pub use group::{Group, own_name};
pub use place::Place;
pub use sqlstate::Means;
