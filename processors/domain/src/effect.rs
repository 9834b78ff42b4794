//! The interface of an effect: what its author implements, and what the engine guarantees.

use millrace_schemas::Command;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Recorded;

/// Calls to external systems that events request, and commands with their answers.
///
/// The engine guarantees: a call is stored before it is made, with a key that is the same at every try; a call
/// whose outcome is unknown is asked for before it is made again; the answer's command, if it has one, is sent once.
/// Where the external system knows no key and cannot be asked, a call is made at most once.
///
/// In return every function is pure and total, and its commands are valid for their context: texts of external systems are cut to
/// the limits of the fields.
pub trait Effect: Send + Sync + 'static {
    /// Name of the consumer group, such as `payment`.
    const NAME: &'static str;
    /// The contexts whose events it reacts to, and to which its commands go.
    const CONTEXTS: &'static [&'static str];
    /// Raise it when builds of the release before cannot read the stored form of [`Request`](Effect::Request): they leave such
    /// calls to this build.
    const REQUEST_VERSION: i32 = 1;
    /// The request to the external system, which is stored before the call.
    type Request: Clone + Send + Sync + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static;
    /// The final answer of the external system.
    type Answer: Clone + Send + Sync + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static;

    /// The call that an event requests.
    fn request(event: &Recorded) -> Option<Self::Request>;

    /// Whether an event makes the calls superfluous that earlier events of its stream have requested. Calls that are known not to
    /// have been made are withdrawn; a call that may have been made is completed.
    fn withdraws(_event: &Recorded) -> bool {
        false
    }

    /// The command with the answer; `None` when nothing depends on it.
    fn answered(request: &Self::Request, answer: &Self::Answer) -> Option<Command>;

    /// The command for a call that was given up; `None` when no command would be true, and an operator must decide.
    fn gave_up(request: &Self::Request, why: &GaveUp) -> Option<Command>;
}

/// Why a call was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaveUp {
    /// For people.
    pub reason: String,
    /// Whether the call may have had its effect all the same.
    pub unknown: bool,
}
