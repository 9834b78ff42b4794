//! The steps of setup and teardown.

use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Failure;

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "SetupResult")]
#[serde(rename_all = "lowercase")]
pub enum Did {
    /// It was created.
    Created,
    /// It existed and was correct.
    #[serde(rename = "there")]
    Nothing,
    /// It existed, differed and was updated.
    Updated,
    /// It was removed.
    Removed,
    /// It did not exist, or is not wanted.
    Absent,
    /// It would be created.
    #[serde(rename = "create")]
    WouldCreate,
    /// It differs and would be updated.
    #[serde(rename = "update")]
    WouldUpdate,
}

impl Did {
    /// The text in the output.
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

    /// The result in a dry run.
    fn foretold(self) -> Self {
        match self {
            Did::Created => Did::WouldCreate,
            Did::Updated => Did::WouldUpdate,
            other => other,
        }
    }

    /// Created, or existing.
    pub(super) fn created_if(new: bool) -> Self {
        if new { Did::Created } else { Did::Nothing }
    }

    /// Removed, or not existing.
    pub(super) fn removed_if(gone: bool) -> Self {
        if gone { Did::Removed } else { Did::Absent }
    }
}

/// A step that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "SetupStep")]
pub struct Step {
    /// The result.
    pub did: Did,
    /// The kind, such as `topic`.
    pub what: String,
    /// Its name.
    pub name: String,
}

impl Step {
    /// Whether it changed nothing, and would change nothing.
    pub fn is_nothing(&self) -> bool {
        [Did::Nothing, Did::Absent].contains(&self.did)
    }
}

/// Receives each step when it is done. Its error ends the operation.
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
