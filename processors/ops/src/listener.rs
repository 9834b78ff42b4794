//! How far something is that takes long.

/// Receives how far something is that takes long: a command line shows it, a server may keep it.
pub trait Listener: Send + Sync {
    /// A line for people.
    fn say(&self, line: &str);

    /// So many are done of `what`, such as `events folded`.
    fn count(&self, what: &'static str, count: u64);

    /// Counting has ended.
    fn counted(&self);
}
