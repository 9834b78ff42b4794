//! Which commands a client may send, and why one is not sent.

use millrace_ops::contract;
use millrace_ops::send::{Unfit, Unsent};
use millrace_schemas::Definition;
use millrace_schemas::json::{JsonError, JsonErrors};

use crate::clients::Client;
use crate::gateway::Gateway;
use crate::problem::{FieldError, Kind, Problem};

/// When a client may send again while commands cannot be taken, in seconds.
const RETRY_AFTER: u16 = 5;

/// The command of this name, if the client may send it.
pub(super) fn allowed(
    gateway: &Gateway,
    client: &Client,
    type_: &str,
) -> Result<&'static Definition, Problem> {
    let unknown = |reason| Problem::new(Kind::UNKNOWN_COMMAND, reason);
    let definition = contract::command(type_).map_err(unknown)?;
    let context = definition.context;
    if !client.may_send_to(context) {
        return Err(Problem::new(
            Kind::FORBIDDEN,
            format!("the client may not send commands of `{context}`"),
        ));
    }
    if !gateway.config.has(context) {
        return Err(unknown(format!("this instance does not have the context `{context}`")));
    }
    Ok(definition)
}

/// Why a command was not sent; in the log too when it could not be.
pub(super) fn unsent(unsent: Unsent) -> Problem {
    if let Unsent::Unavailable(error) = &unsent {
        tracing::warn!(%error, "a command was not taken");
    }
    problem_of(unsent)
}

/// Why a command was not sent.
pub(super) fn problem_of(unsent: Unsent) -> Problem {
    match unsent {
        Unsent::Unfit(Unfit::Fields(_, errors)) => fields(&errors, ""),
        Unsent::Unfit(Unfit::Attribute("id", problem)) => {
            Problem::new(Kind::KEY, format!("Idempotency-Key {problem}"))
        }
        Unsent::Unfit(unfit) => Problem::new(Kind::UNKNOWN_COMMAND, unfit.to_string()),
        Unsent::TooLarge => Problem::new(Kind::TOO_LARGE, "Kafka does not take a record of this size"),
        Unsent::Unavailable(_) => {
            let detail = "send it again with the same idempotency key: it is executed once";
            Problem::new(Kind::KAFKA, detail).retry_after(RETRY_AFTER)
        }
    }
}

/// Every field that does not fit; their paths begin below `parent`.
pub(super) fn fields(errors: &JsonErrors, parent: &str) -> Problem {
    let error = |JsonError { place, problem }: &JsonError| {
        let place = if place.is_whole() { String::new() } else { place.to_string() };
        let path = if parent.is_empty() || place.is_empty() {
            format!("{parent}{place}")
        } else {
            format!("{parent}.{place}")
        };
        FieldError { path, message: problem.to_string() }
    };
    let errors: Vec<FieldError> = errors.iter().map(error).collect();
    let detail = match errors.len() {
        1 => "1 field is wrong".to_owned(),
        count => format!("{count} fields are wrong"),
    };
    Problem::new(Kind::FIELDS, detail).with("errors", errors)
}
