//! What becomes of a record.

use std::collections::HashSet;

use crate::error::Fault;
use crate::record::Record;

/// The outcome of one record of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The record had its effect. A rejection is one, too.
    Applied,
    /// The record had its effect before.
    Duplicate,
    /// An earlier record of its key is missing, waits, or has just failed.
    Waits,
    /// The record has a fault, and had no effect.
    Failed(Fault),
}

impl Outcome {
    /// Whether the record had its effect, now or before.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Applied | Self::Duplicate)
    }

    /// The fault, if the record failed.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Failed(fault) => Some(fault),
            Self::Applied | Self::Duplicate | Self::Waits => None,
        }
    }
}

/// The ordering keys of a batch with a failed record that may still succeed: later records of these keys wait.
#[derive(Default)]
pub(crate) struct Stuck<'r>(HashSet<&'r [u8]>);

impl<'r> Stuck<'r> {
    /// Whether an earlier record of this record's key has failed.
    pub(crate) fn contains(&self, record: &Record) -> bool {
        !self.0.is_empty() && self.0.contains(record.ordering_key())
    }

    /// The outcome of a record that fails. A hopeless one does not wait for earlier records.
    pub(crate) fn failed(&mut self, record: &'r Record, fault: Fault) -> Outcome {
        if fault.hopeless {
            return Outcome::Failed(fault);
        }
        match self.0.insert(record.ordering_key()) {
            true => Outcome::Failed(fault),
            false => Outcome::Waits,
        }
    }
}
