//! The contexts of the business, each in its own folder: state, decisions, events, face, tests.

pub mod catalog;
pub mod customers;
pub mod inventory;
pub mod orders;
