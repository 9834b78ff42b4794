//! What setup and teardown say: one line a step.

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{self, Format};

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Did {
    /// It was not there.
    Created,
    /// It was there as it should be.
    Nothing,
    /// It was there and differed.
    Updated,
    /// It was there and is gone.
    Removed,
    /// It was not there to be removed, or is not wanted.
    Absent,
}

impl Did {
    fn as_str(self) -> &'static str {
        match self {
            Did::Created => "created",
            Did::Nothing => "there",
            Did::Updated => "updated",
            Did::Removed => "removed",
            Did::Absent => "absent",
        }
    }

    /// Created, or there already.
    pub(super) fn created_if(new: bool) -> Self {
        if new { Did::Created } else { Did::Nothing }
    }

    /// Removed, or not there.
    pub(super) fn removed_if(gone: bool) -> Self {
        if gone { Did::Removed } else { Did::Absent }
    }
}

/// The steps so far.
pub(super) struct Steps {
    format: Format,
    done: Vec<Value>,
}

impl Steps {
    pub(super) fn new(format: Format) -> Self {
        Self { format, done: Vec::new() }
    }

    /// Tells a step: at once as text, at the end as JSON.
    pub(super) fn tell(&mut self, did: Did, what: &str, name: &str) -> Result<(), Failure> {
        self.done.push(json!({"did": did.as_str(), "what": what, "name": name}));
        match self.format {
            Format::Text => output::write(&format!("{:<8} {what:<16} {name}\n", did.as_str())),
            Format::Json => Ok(()),
        }
    }

    /// Ends the telling.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self.format {
            Format::Text => Ok(()),
            Format::Json => output::print(self.format, "", &Value::Array(self.done)),
        }
    }
}
