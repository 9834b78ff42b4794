//! The progress of long operations.

/// Receives the progress of a long operation.
pub trait Listener: Send + Sync {
    /// A line for people.
    fn say(&self, line: &str);

    /// The number of `what` that are done, such as `events folded`.
    fn count(&self, what: &'static str, count: u64);

    /// Counting has ended.
    fn counted(&self);
}
