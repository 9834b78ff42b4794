//! A batch before and after the sequence check of its streams.

use millrace_domain::Recorded;
use millrace_store::Group;

use crate::outcome::Outcome;

/// A decoded event and its place in the batch.
pub(crate) type Placed = (usize, Recorded);

/// The decoded records of a group's batch.
pub struct Decoded<'g> {
    pub(crate) group: &'g Group,
    pub(crate) events: Vec<Placed>,
    /// One for each record; applied if it was decoded.
    pub(crate) outcomes: Vec<Outcome>,
}

impl<'g> Decoded<'g> {
    /// Without a record.
    pub(crate) fn none(group: &'g Group) -> Self {
        Self { group, events: Vec::new(), outcomes: Vec::new() }
    }
}

/// The events of a batch to fold, and the outcome of each record.
pub struct Intake {
    pub(crate) events: Vec<Placed>,
    pub(crate) outcomes: Vec<Outcome>,
    /// Whether a row that Postgres refuses costs only the events that touch it; else it costs the batch.
    pub(crate) isolates: bool,
}
