//! Decisions without effect: the role `commands` decides, the gateway asks.

use millrace_ops::dry_run::{Verdict, WouldBe};
use millrace_ops::send::Ready;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A command to be decided without effect.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Trial {
    pub(super) context: String,
    pub(super) key: String,
    /// The value of its record, in hexadecimal digits.
    pub(super) value: String,
}

impl Trial {
    pub(super) fn of(ready: &Ready) -> Self {
        let (context, key) = (ready.definition().context.to_owned(), ready.key().to_owned());
        Self { context, key, value: hex::encode(ready.value()) }
    }
}

/// What would become of a command.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", tag = "decision")]
pub(crate) enum Decision {
    /// These events would be written.
    Completed {
        /// In their order.
        events: Vec<Event>,
    },
    /// The business refuses it.
    Rejected {
        /// The refusal's code.
        code: String,
        /// Its message.
        message: String,
    },
    /// It cannot be decided now.
    Faulty {
        /// The code of the fault.
        code: String,
        /// Its message.
        message: String,
    },
}

/// An event that would be written.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Event {
    #[serde(rename = "type")]
    type_: String,
    stream: String,
    version: Option<i64>,
    data: Value,
}

impl From<WouldBe> for Event {
    fn from(WouldBe { record_type, stream, version, data }: WouldBe) -> Self {
        Self { type_: record_type.to_owned(), stream, version, data }
    }
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Events(events) => {
                Self::Completed { events: events.into_iter().map(Event::from).collect() }
            }
            Verdict::Rejected { code, message } => Self::Rejected { code, message },
            Verdict::Faulty(fault) => Self::Faulty { code: fault.code.to_owned(), message: fault.message },
        }
    }
}
