//! The vendor of messages: batches over HTTP, once for each key, with an outcome for each message.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::behaviour::Behaviour;
use crate::books::{Batch, Entry, Message, MessageOutcome};
use crate::http::{Refusal, connection, key_of, prepare, reused, silence, unknown, unprocessable, unwritten};
use crate::serve::accept;
use crate::world::World;

const BODY_BYTES_MAX: usize = 64 << 20;
const MESSAGES_MAX: usize = 1_000;

type Shared = State<Arc<World>>;

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, world: Arc<World>, stop: CancellationToken) {
    let router = Router::new()
        .route("/deliveries", post(deliver))
        .route("/deliveries/{key}", get(batch_of))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(world);
    accept(listener, stop, |stream| connection(stream, router.clone())).await;
}

#[derive(Deserialize)]
struct BatchBody {
    #[serde(default)]
    key: String,
    messages: Vec<MessageBody>,
}

#[derive(Deserialize)]
struct MessageBody {
    id: String,
    attempt: u32,
    to: String,
    subject: String,
    text: String,
}

async fn deliver(
    State(world): Shared,
    headers: HeaderMap,
    Json(body): Json<BatchBody>,
) -> Result<Response, Refusal> {
    let key = key_of(&headers, &body.key)?;
    if !(1..=MESSAGES_MAX).contains(&body.messages.len()) {
        return Err(unprocessable("messages-count-invalid", "messages: send 1 to 1000"));
    }
    prepare(&world, &key, |books| books.batch(&key).is_some()).await?;
    let (batch, new) = delivered(&world, key, body)?;
    if new {
        silence(world.behaviour.is_silent_after_delivery(&batch.key), &world).await?;
    }
    Ok(answer(&batch, if new { StatusCode::CREATED } else { StatusCode::OK }))
}

/// The one batch of a key, and whether it is new. The same key with other messages is refused.
fn delivered(world: &World, key: String, body: BatchBody) -> Result<(Batch, bool), Refusal> {
    let mut ledger = world.ledger();
    if let Some(known) = ledger.books().batch(&key) {
        let wanted = body.messages.iter().map(|message| (&message.id, message.attempt));
        let same = known.messages.iter().map(|message| (&message.id, message.attempt)).eq(wanted);
        return if same { Ok((known.clone(), false)) } else { Err(reused()) };
    }
    let messages = body.messages.into_iter().map(|message| decided(&world.behaviour, message)).collect();
    let batch = Batch { key, messages, at: Utc::now() };
    ledger.append(Entry::Batch(batch.clone())).map_err(unwritten)?;
    Ok((batch, true))
}

/// A recipient that is refused is refused at every attempt; each attempt to reach another one has its own outcome.
fn decided(behaviour: &Behaviour, message: MessageBody) -> Message {
    let MessageBody { id, attempt, to, subject, text } = message;
    let failed = |retryable, reason: &str| MessageOutcome::Failed { retryable, reason: reason.to_owned() };
    let outcome = if behaviour.declines(&id) {
        failed(false, "there is no such recipient")
    } else if behaviour.defers(&id, attempt) {
        failed(true, "the recipient is away")
    } else {
        MessageOutcome::Accepted { reference: behaviour.reference("message", &id) }
    };
    Message { id, attempt, to, subject, text, outcome }
}

/// The answer about a message.
#[derive(Serialize)]
struct Receipt {
    id: String,
    #[serde(flatten)]
    outcome: MessageOutcome,
}

fn answer(batch: &Batch, status: StatusCode) -> Response {
    let receipt = |message: &Message| Receipt { id: message.id.clone(), outcome: message.outcome.clone() };
    let messages: Vec<Receipt> = batch.messages.iter().map(receipt).collect();
    (status, Json(json!({ "messages": messages }))).into_response()
}

async fn batch_of(State(world): Shared, Path(key): Path<String>) -> Response {
    match world.ledger().books().batch(&key) {
        Some(batch) => answer(batch, StatusCode::OK),
        None => unknown("batch-unknown"),
    }
}
