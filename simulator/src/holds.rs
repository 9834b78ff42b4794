//! Money that the provider holds for a while: it is authorised, then captured or released, whichever comes first.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::Utc;
use serde::Deserialize;

use crate::books::{Authorisation, Books, Charge, Entry, Hold, HoldState, Outcome, Release};
use crate::http::{Refusal, key_of, unprocessable};
use crate::operation::{DueBody, Operation, Shared, declined, if_there, once};
use crate::world::World;

impl Operation for Authorisation {
    fn of<'b>(books: &'b Books, key: &str) -> Option<&'b Self> {
        books.authorisation(key)
    }

    fn entry(self) -> Entry {
        Entry::Authorisation(self)
    }

    fn outcome(&self) -> Outcome {
        self.outcome.clone()
    }

    fn money(&self) -> Option<(i64, &str)> {
        Some((self.due.amount, &self.due.currency))
    }
}

impl Operation for Release {
    fn of<'b>(books: &'b Books, key: &str) -> Option<&'b Self> {
        books.release(key)
    }

    fn entry(self) -> Entry {
        Entry::Release(self)
    }

    fn outcome(&self) -> Outcome {
        self.outcome.clone()
    }

    fn money(&self) -> Option<(i64, &str)> {
        None
    }
}

pub(crate) async fn authorise(
    State(world): Shared,
    headers: HeaderMap,
    Json(body): Json<DueBody>,
) -> Result<Response, Refusal> {
    let (key, due) = body.checked(&headers)?;
    let (wanted, named) = (due.clone(), key.clone());
    let decide = move |world: &World, _: &Books| {
        let reference = || world.behaviour.reference("authorisation", &named);
        let authorised = || Outcome::Authorised { reference: reference() };
        let outcome = if_there(&world.behaviour, &named, authorised);
        Ok(Authorisation { key: named, due, outcome, at: Utc::now() })
    };
    once(&world, &key, move |known: &Authorisation| known.due == wanted, decide).await
}

#[derive(Deserialize)]
pub(crate) struct CaptureBody {
    #[serde(default)]
    key: String,
    authorisation: String,
    amount: i64,
}

/// Captures all of what was authorised.
pub(crate) async fn capture(
    State(world): Shared,
    headers: HeaderMap,
    Json(body): Json<CaptureBody>,
) -> Result<Response, Refusal> {
    let key = key_of(&headers, &body.key)?;
    let CaptureBody { authorisation: reference, amount, .. } = body;
    let (of, named) = (reference.clone(), key.clone());
    let same = move |known: &Charge| {
        (known.due.amount, known.authorisation.as_deref()) == (amount, Some(of.as_str()))
    };
    let decide = move |world: &World, books: &Books| {
        let Hold { authorisation, state } = hold(books, &reference)?;
        if amount != authorisation.due.amount {
            let reason = format!("amount: {amount} is not {}, what is authorised", authorisation.due.amount);
            return Err(unprocessable("amount-differs", reason));
        }
        let outcome = match state {
            HoldState::Open if world.behaviour.declines_capture(&named) => {
                declined("card-blocked", "the card was blocked meanwhile")
            }
            HoldState::Open => Outcome::Captured { reference: world.behaviour.reference("charge", &named) },
            HoldState::Captured => declined("authorisation-captured", "the money was taken before"),
            HoldState::Released => declined("authorisation-released", "the authorisation was released"),
        };
        let due = authorisation.due.clone();
        Ok(Charge { key: named, due, authorisation: Some(reference), outcome, at: Utc::now() })
    };
    once(&world, &key, same, decide).await
}

#[derive(Deserialize)]
pub(crate) struct ReleaseBody {
    #[serde(default)]
    key: String,
    authorisation: String,
}

pub(crate) async fn release(
    State(world): Shared,
    headers: HeaderMap,
    Json(body): Json<ReleaseBody>,
) -> Result<Response, Refusal> {
    let key = key_of(&headers, &body.key)?;
    let ReleaseBody { authorisation: reference, .. } = body;
    let (of, named) = (reference.clone(), key.clone());
    let same = move |known: &Release| known.authorisation == of;
    let decide = move |world: &World, books: &Books| {
        let outcome = match hold(books, &reference)?.state {
            HoldState::Captured => declined("authorisation-captured", "the money was taken before"),
            HoldState::Open | HoldState::Released => {
                Outcome::Released { reference: world.behaviour.reference("release", &named) }
            }
        };
        Ok(Release { key: named, authorisation: reference, outcome, at: Utc::now() })
    };
    once(&world, &key, same, decide).await
}

fn hold<'b>(books: &'b Books, reference: &str) -> Result<&'b Hold, Refusal> {
    let unknown = "authorisation: no money was authorised under this reference";
    books.hold(reference).ok_or_else(|| unprocessable("authorisation-unknown", unknown))
}
