//! The payment provider: charges and refunds over HTTP, once for each key.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::Utc;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use crate::books::{Charge, Entry, Outcome, Refund, Totals};
use crate::http::{Refusal, connection, key_of, prepare, reused, silence, unknown, unprocessable, unwritten};
use crate::serve::accept;
use crate::world::World;

const BODY_BYTES_MAX: usize = 16 << 10;

type Shared = State<Arc<World>>;

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, world: Arc<World>, stop: CancellationToken) {
    let router = Router::new()
        .route("/charges", post(charge))
        .route("/charges/{key}", get(charge_of))
        .route("/refunds", post(refund))
        .route("/refunds/{key}", get(refund_of))
        .route("/ledger", get(ledger))
        .route("/ledger/totals", get(totals))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(world);
    accept(listener, stop, |stream| connection(stream, router.clone())).await;
}

#[derive(Deserialize)]
struct ChargeBody {
    #[serde(default)]
    key: String,
    amount: i64,
    currency: String,
    customer: String,
    order: String,
}

#[derive(Deserialize)]
struct RefundBody {
    #[serde(default)]
    key: String,
    charge: String,
    amount: i64,
}

async fn charge(
    State(world): Shared,
    headers: HeaderMap,
    Json(body): Json<ChargeBody>,
) -> Result<Response, Refusal> {
    let key = key_of(&headers, &body.key)?;
    if body.amount < 1 || body.currency.len() != 3 {
        let reason = "amount: 1 or more minor units, and a currency of three letters";
        return Err(unprocessable("amount-invalid", reason));
    }
    prepare(&world, &key, |books| books.charge(&key).is_some()).await?;
    let (charge, new) = charged(&world, key, body)?;
    if new {
        silence(world.behaviour.is_silent_after_charge(&charge.key), &world).await?;
    }
    Ok(answer_charge(&charge, if new { StatusCode::CREATED } else { StatusCode::OK }))
}

/// The one charge of a key, and whether it is new. The same key with another charge is refused.
fn charged(world: &World, key: String, body: ChargeBody) -> Result<(Charge, bool), Refusal> {
    let mut ledger = world.ledger();
    if let Some(known) = ledger.books().charge(&key) {
        let same = (known.amount, &known.currency, &known.customer, &known.order)
            == (body.amount, &body.currency, &body.customer, &body.order);
        return if same { Ok((known.clone(), false)) } else { Err(reused()) };
    }
    let outcome = if world.behaviour.declines(&key) {
        Outcome::Declined { code: "funds-insufficient".to_owned(), reason: "the account is empty".to_owned() }
    } else {
        Outcome::Captured { reference: world.behaviour.reference("charge", &key) }
    };
    let ChargeBody { amount, currency, customer, order, .. } = body;
    let charge = Charge { key, customer, order, amount, currency, outcome, at: Utc::now() };
    ledger.append(Entry::Charge(charge.clone())).map_err(unwritten)?;
    world.tell(&charge.key, json!(charge));
    Ok((charge, true))
}

fn answer_charge(charge: &Charge, captured: StatusCode) -> Response {
    let status = match &charge.outcome {
        Outcome::Captured { .. } => captured,
        Outcome::Declined { .. } => StatusCode::PAYMENT_REQUIRED,
    };
    (status, Json(&charge.outcome)).into_response()
}

async fn charge_of(State(world): Shared, Path(key): Path<String>) -> Response {
    match world.ledger().books().charge(&key) {
        Some(charge) => Json(charge).into_response(),
        None => unknown("charge-unknown"),
    }
}

async fn refund(
    State(world): Shared,
    headers: HeaderMap,
    Json(body): Json<RefundBody>,
) -> Result<Response, Refusal> {
    let key = key_of(&headers, &body.key)?;
    prepare(&world, &key, |books| books.refund(&key).is_some()).await?;
    let (refund, new) = refunded(&world, key, body)?;
    if new {
        silence(world.behaviour.is_silent_after_charge(&refund.key), &world).await?;
    }
    Ok(answer_refund(&refund, if new { StatusCode::CREATED } else { StatusCode::OK }))
}

/// The one refund of a key, and whether it is new; all refunds of a charge are at most the charge.
fn refunded(world: &World, key: String, body: RefundBody) -> Result<(Refund, bool), Refusal> {
    let mut ledger = world.ledger();
    if let Some(known) = ledger.books().refund(&key) {
        let same = (known.amount, &known.charge) == (body.amount, &body.charge);
        return if same { Ok((known.clone(), false)) } else { Err(reused()) };
    }
    let RefundBody { charge, amount, .. } = body;
    let Some(captured) = ledger.books().captured(&charge).cloned() else {
        return Err(unprocessable("charge-unknown", "charge: no captured charge has this reference"));
    };
    if !(1..=captured.left).contains(&amount) {
        let reason = format!("amount: {amount} is not between 1 and {}, what is left", captured.left);
        return Err(unprocessable("refund-exceeds-charge", reason));
    }
    let reference = world.behaviour.reference("refund", &key);
    let refund = Refund { key, charge, amount, currency: captured.currency, reference, at: Utc::now() };
    ledger.append(Entry::Refund(refund.clone())).map_err(unwritten)?;
    let Refund { key, reference, .. } = &refund;
    world.tell(key, json!({ "key": key, "status": "refunded", "reference": reference }));
    Ok((refund, true))
}

fn answer_refund(refund: &Refund, status: StatusCode) -> Response {
    let Refund { reference, .. } = refund;
    (status, Json(json!({ "status": "refunded", "reference": reference }))).into_response()
}

async fn refund_of(State(world): Shared, Path(key): Path<String>) -> Response {
    match world.ledger().books().refund(&key) {
        Some(refund) => answer_refund(refund, StatusCode::OK),
        None => unknown("refund-unknown"),
    }
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
