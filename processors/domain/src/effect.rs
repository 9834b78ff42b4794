//! What an author of an effect writes, and what the engine gives in return.

use millrace_schemas::Command;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Recorded;

/// Calls to external systems that events ask for, and the commands that say what was answered.
///
/// The engine guarantees: a call is stored before it is made, with a key that is the same at every try; a call
/// whose outcome is unknown is asked for before it is made again; the answer's command, if it has one, is sent once.
/// Where the external system knows no key and cannot be asked, a call is made at most once.
///
/// In return every function is pure and total, and the commands are such that their context takes them: what an external
/// system says is cut to the fields that it goes into.
pub trait Effect: Send + Sync + 'static {
    /// Name of the consumer group, such as `payment`.
    const NAME: &'static str;
    /// The contexts whose events it reacts to, and to which its commands go.
    const CONTEXTS: &'static [&'static str];
    /// What is asked of the external system, as it is stored before the call.
    type Request: Clone + Send + Sync + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static;
    /// What the external system answers, for good.
    type Answer: Clone + Send + Sync + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static;

    /// The call that an event asks for.
    fn request(event: &Recorded) -> Option<Self::Request>;

    /// Whether an event makes the calls superfluous that earlier events of its stream asked for, those that are known not to
    /// have been made. One that may have been made goes on to its answer.
    fn withdraws(_event: &Recorded) -> bool {
        false
    }

    /// The command that says what was answered; `None` when nothing depends on it.
    fn answered(request: &Self::Request, answer: &Self::Answer) -> Option<Command>;

    /// The command that says that there will be no answer; `None` when none would be true: an operator must look.
    fn gave_up(request: &Self::Request, why: &GaveUp) -> Option<Command>;
}

/// Why there will be no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaveUp {
    /// For people.
    pub reason: String,
    /// Whether the call may have had its effect all the same.
    pub unknown: bool,
}
