//! What an author of an effect writes, and what the runtime gives in return.

use millrace_schemas::Command;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Recorded;

/// Calls to the outside world that events ask for, each answered by a command.
///
/// The runtime guarantees: a call is in the ledger before it is made, with a key that is the same at every try; a call
/// whose result is unknown is asked for before it is made again; the answer's command is sent once. Where the outside
/// knows no key and cannot be asked, a call is made at most once.
pub trait Effect: Send + Sync + 'static {
    /// Name of the consumer group, such as `payment`.
    const NAME: &'static str;
    /// The contexts whose events it hears.
    const CONTEXTS: &'static [&'static str];
    /// What is asked of the outside; kept in the ledger.
    type Request: Clone + Send + Sync + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static;
    /// What the outside answers, for good.
    type Answer: Clone + Send + Sync + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static;

    /// The call that an event asks for.
    fn request(event: &Recorded) -> Option<Self::Request>;

    /// The stream whose calls an event makes superfluous, those that were not made yet.
    fn withdraws(_event: &Recorded) -> Option<String> {
        None
    }

    /// The command that says what was answered.
    fn answered(request: &Self::Request, answer: &Self::Answer) -> Command;

    /// The command that says that there will be no answer, and why; `None` when nobody needs to know.
    fn gave_up(request: &Self::Request, reason: &str) -> Option<Command>;
}
