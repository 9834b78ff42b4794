//! What setup and teardown did, step by step.

use serde::{Serialize, Serializer};

use crate::failure::Failure;

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    /// It was not there.
    Created,
    /// It was there as it should be.
    Nothing,
    /// It was there and differed.
    Updated,
    /// It was there and was removed.
    Removed,
    /// It was not there to be removed, or is not wanted.
    Absent,
    /// It is not there and would be created.
    WouldCreate,
    /// It is there, differs and would be changed.
    WouldUpdate,
}

impl Did {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Did::Created => "created",
            Did::Nothing => "there",
            Did::Updated => "updated",
            Did::Removed => "removed",
            Did::Absent => "absent",
            Did::WouldCreate => "create",
            Did::WouldUpdate => "update",
        }
    }

    /// What a dry run says of it.
    fn foretold(self) -> Self {
        match self {
            Did::Created => Did::WouldCreate,
            Did::Updated => Did::WouldUpdate,
            other => other,
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

impl Serialize for Did {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A step that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What became of it.
    pub did: Did,
    /// Of which kind it is, such as `topic`.
    pub what: String,
    /// Its name.
    pub name: String,
}

/// Gets each step at once. When it fails, so does what goes on.
pub type Report<'t> = &'t mut (dyn FnMut(&Step) -> Result<(), Failure> + Send);

/// The steps so far.
pub(super) struct Steps<'t> {
    report: Report<'t>,
    /// Nothing is changed.
    pub(super) dry: bool,
    pub(super) done: Vec<Step>,
}

impl<'t> Steps<'t> {
    pub(super) fn new(report: Report<'t>, dry: bool) -> Self {
        Self { report, dry, done: Vec::new() }
    }

    /// Reports a step.
    pub(super) fn report(&mut self, did: Did, what: &str, name: &str) -> Result<(), Failure> {
        let did = if self.dry { did.foretold() } else { did };
        let step = Step { did, what: what.to_owned(), name: name.to_owned() };
        (self.report)(&step)?;
        self.done.push(step);
        Ok(())
    }
}
