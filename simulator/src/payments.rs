//! The payment provider: money over HTTP, moved once for each key.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::Utc;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use crate::books::{Authorisation, Books, Charge, Entry, Outcome, Refund, Release, Totals};
use crate::holds::{authorise, capture, release};
use crate::http::{Refusal, connection, key_of, unprocessable, unwritten};
use crate::operation::{DueBody, Operation, Shared, done_for, if_there, once};
use crate::serve::accept;
use crate::world::World;

const BODY_BYTES_MAX: usize = 16 << 10;

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, world: Arc<World>, stop: CancellationToken) {
    let router = Router::new()
        .route("/authorisations", post(authorise))
        .route("/authorisations/{key}", get(done_for::<Authorisation>))
        .route("/captures", post(capture))
        .route("/captures/{key}", get(done_for::<Charge>))
        .route("/releases", post(release))
        .route("/releases/{key}", get(done_for::<Release>))
        .route("/charges", post(charge))
        .route("/charges/{key}", get(done_for::<Charge>))
        .route("/refunds", post(refund))
        .route("/refunds/{key}", get(done_for::<Refund>))
        .route("/ledger", get(ledger))
        .route("/ledger/totals", get(totals))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(world);
    accept(listener, stop, |stream| connection(stream, router.clone())).await;
}

impl Operation for Charge {
    fn of<'b>(books: &'b Books, key: &str) -> Option<&'b Self> {
        books.charge(key)
    }

    fn entry(self) -> Entry {
        Entry::Charge(self)
    }

    fn outcome(&self) -> Outcome {
        self.outcome.clone()
    }

    fn money(&self) -> Option<(i64, &str)> {
        Some((self.due.amount, &self.due.currency))
    }
}

impl Operation for Refund {
    fn of<'b>(books: &'b Books, key: &str) -> Option<&'b Self> {
        books.refund(key)
    }

    fn entry(self) -> Entry {
        Entry::Refund(self)
    }

    fn outcome(&self) -> Outcome {
        Outcome::Refunded { reference: self.reference.clone() }
    }

    fn money(&self) -> Option<(i64, &str)> {
        Some((self.amount, &self.currency))
    }
}

async fn charge(
    State(world): Shared,
    headers: HeaderMap,
    Json(body): Json<DueBody>,
) -> Result<Response, Refusal> {
    let (key, due) = body.checked(&headers)?;
    let (wanted, named) = (due.clone(), key.clone());
    let decide = move |world: &World, _: &Books| {
        let captured = || Outcome::Captured { reference: world.behaviour.reference("charge", &named) };
        let outcome = if_there(&world.behaviour, &named, captured);
        Ok(Charge { key: named, due, authorisation: None, outcome, at: Utc::now() })
    };
    once(&world, &key, move |known: &Charge| known.due == wanted, decide).await
}

#[derive(Deserialize)]
struct RefundBody {
    #[serde(default)]
    key: String,
    charge: String,
    amount: i64,
}

/// All refunds of a charge are at most the charge.
async fn refund(
    State(world): Shared,
    headers: HeaderMap,
    Json(body): Json<RefundBody>,
) -> Result<Response, Refusal> {
    let key = key_of(&headers, &body.key)?;
    let RefundBody { charge, amount, .. } = body;
    let (of, named) = (charge.clone(), key.clone());
    let same = move |known: &Refund| (known.amount, &known.charge) == (amount, &of);
    let decide = move |world: &World, books: &Books| {
        let Some(captured) = books.captured(&charge).cloned() else {
            return Err(unprocessable("charge-unknown", "charge: no captured charge has this reference"));
        };
        if !(1..=captured.left).contains(&amount) {
            let reason = format!("amount: {amount} is not between 1 and {}, what is left", captured.left);
            return Err(unprocessable("refund-exceeds-charge", reason));
        }
        let reference = world.behaviour.reference("refund", &named);
        let currency = captured.currency;
        Ok(Refund { key: named, charge, amount, currency, reference, at: Utc::now() })
    };
    once(&world, &key, same, decide).await
}

async fn ledger(State(world): Shared) -> Result<Response, Refusal> {
    let (path, length) = world.ledger().written();
    let file = tokio::fs::File::open(path).await.map_err(unwritten)?;
    let lines = Body::from_stream(ReaderStream::new(file.take(length)));
    Ok(([("content-type", "application/x-ndjson")], lines).into_response())
}

async fn totals(State(world): Shared) -> Json<Totals> {
    Json(world.ledger().books().totals().clone())
}
