//! `POST /v1/commands/{type}?dry_run=true`: what would become of a command, without effect.

use axum::Json;
use axum::extract::Request;
use millrace_ops::send::{Command, Unsent};
use serde_json::{Value, json};

use super::fit::unsent;
use super::parameter;
use crate::gateway::Gateway;
use crate::problem::{Kind, Problem};
use crate::receipts::Decision;

/// When a client may ask again while nothing decides, in seconds.
const RETRY_AFTER: u16 = 5;
/// The id of a command that is not sent, when the caller names none.
pub(super) const ID: &str = "dry-run";
/// The code of a command that refers to a stream that does not exist.
const MISSING_REFERENCE: &str = "reference-not-found";

/// Whether a request asks for a dry run.
pub(super) fn is_asked(request: &Request) -> Result<bool, Problem> {
    match parameter::only(request.uri(), "dry_run")?.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(parameter::refused("dry_run", "must be true or false")),
    }
}

/// The events that would be written.
///
/// # Errors
/// The problem that the command would end with, or that it is not known.
pub(super) async fn answer(gateway: &Gateway, command: Command) -> Result<Json<Value>, Problem> {
    let encoder = gateway.sender.encoder().await.map_err(|error| unsent(Unsent::Unavailable(error)))?;
    let ready = encoder.ready(command).map_err(|unfit| unsent(Unsent::Unfit(unfit)))?;
    gateway.sender.fits(&ready).map_err(unsent)?;
    let decision = gateway.receipts.decision(&ready).await.map_err(|error| {
        tracing::warn!(%error, "no dry run");
        unavailable()
    })?;
    match decision.ok_or_else(unavailable)? {
        Decision::Completed { events } => {
            Ok(Json(json!({"type": ready.definition().full_name, "dry_run": true, "events": events})))
        }
        Decision::Rejected { code, message } => Err(Problem::new(Kind::REJECTED, message).with("code", code)),
        Decision::Faulty { code, message } => {
            let kind = if code == MISSING_REFERENCE { Kind::REFERENCE } else { Kind::DEAD };
            Err(Problem::new(kind, message).with("code", code))
        }
    }
}

fn unavailable() -> Problem {
    Problem::new(Kind::RECEIPTS, "the role `commands` does not decide now; try again")
        .retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_dry_run_is_asked_for_in_one_way() {
        let of = |query: &str| {
            is_asked(&Request::post(format!("/v1/commands/A{query}")).body(Body::empty()).unwrap()).ok()
        };
        assert_eq!(
            (of(""), of("?dry_run=true"), of("?dry_run=false")),
            (Some(false), Some(true), Some(false))
        );
        for other in
            ["?dry_run=1", "?dry_run", "?dryrun=true", "?dry_run=true&dry_run=false", "?dry_run=true&x=1"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
