//! The statements that make the tables.

/// Tables that both sides have.
pub const BOTH: &str = include_str!("../migrations/0001_both.sql");
/// Tables of the write side.
pub const WRITE: &str = include_str!("../migrations/0001_write.sql");
/// Tables of the read side, without the views' own.
pub const READ: &str = include_str!("../migrations/0001_read.sql");
