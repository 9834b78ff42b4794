//! The contexts of the business, each in its own folder: state, decisions, events, public state, tests.

pub mod accounts;
pub mod campaigns;
pub mod carts;
pub mod catalog;
pub mod customers;
pub mod inventory;
pub mod notifications;
pub mod orders;
pub mod payments;
pub mod reviews;
pub mod subscriptions;
