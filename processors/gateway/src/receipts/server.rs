//! The answers of the role `commands`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use millrace_engine::supervision::{Restarts, caught, restarted};
use millrace_ops::config::Config;
use millrace_ops::dry_run::DryRuns;
use millrace_ops::failure::Failure;
use millrace_ops::receipts::Receipts;
use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::decisions::{Decision, Trial};
use super::outcomes::{Outcomes, Place};
use super::{Asked, Outcome, Wait, WaitForAll};
use crate::connections::{Limits, accept, listen};
use crate::token::Token;

/// Concurrent searches for receipts: each may read Kafka for commands that are not decided.
const SEARCHES_MAX: usize = 4;
/// Concurrent decisions without effect; further ones wait.
const TRIALS_MAX: usize = 4;
/// How long they wait.
const TRIAL_PLACE_WITHIN: Duration = Duration::from_secs(1);
/// Bytes of a command to be decided without effect, at most: more than Kafka takes, in hexadecimal digits.
const TRIAL_BYTES_MAX: usize = 4 << 20;
/// Bytes of a question for several outcomes, at most: ids of a full batch.
const ASKED_BYTES_MAX: usize = 16 << 20;
/// Longer waits are cut.
const WAIT_MAX: Duration = Duration::from_secs(600);
const LIMITS: Limits = Limits {
    connections_max: 1_024,
    keep_alive: true,
    headers_within: Duration::from_secs(120),
    requests_within: Duration::from_secs(600),
    last_within: WAIT_MAX,
};

/// What answers are made of.
struct Answering {
    token: Token,
    receipts: Receipts,
    outcomes: Outcomes,
    searches: Semaphore,
    dry_runs: DryRuns,
    /// Places of decisions without effect.
    trials: Semaphore,
}

/// Answers questions about receipts until `stop`, if that is configured.
///
/// # Errors
/// [`Failure::Usage`] when the address cannot be listened on.
pub async fn serve(
    config: &Config,
    restarts: Restarts,
    stop: CancellationToken,
) -> Result<Option<JoinHandle<()>>, Failure> {
    let gateway = &config.gateway;
    let (Some(address), Some(token)) = (gateway.receipts_listen, &gateway.receipts_token) else {
        return Ok(None);
    };
    let listener = listen("gateway.receipts_listen", address).await?;
    let answering = Arc::new(Answering {
        token: Token::of(token.expose_secret()),
        receipts: Receipts::new(config)?,
        outcomes: Outcomes::default(),
        searches: Semaphore::new(SEARCHES_MAX),
        dry_runs: DryRuns::new(config)?,
        trials: Semaphore::new(TRIALS_MAX),
    });
    tracing::info!(%address, "answering questions about receipts");
    Ok(Some(tokio::spawn(async move {
        let served = accept("receipts", listener, (router(&answering), LIMITS), &restarts, stop.clone());
        let find = || answering.outcomes.find(&answering.receipts, stop.clone());
        tokio::join!(served, restarted("outcomes", &restarts, &stop, find));
    })))
}

fn router(answering: &Arc<Answering>) -> Router {
    Router::new()
        .route("/receipts/{source}/{id}", get(receipt))
        .route("/outcomes/{source}/{id}", get(outcome))
        .route("/outcomes", post(outcomes).layer(DefaultBodyLimit::max(ASKED_BYTES_MAX)))
        .route("/decisions", post(decide).layer(DefaultBodyLimit::max(TRIAL_BYTES_MAX)))
        .route_layer(from_fn_with_state(answering.clone(), authenticate))
        .with_state(answering.clone())
}

async fn authenticate(State(answering): State<Arc<Answering>>, request: Request, next: Next) -> Response {
    let presented = Token::presented(request.headers());
    if !presented.is_some_and(|token| token.is(&answering.token)) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let answered = caught("receipts", next.run(request)).await;
    answered.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// The receipt of a command, or 404.
async fn receipt(
    State(answering): State<Arc<Answering>>,
    Path((source, id)): Path<(String, String)>,
) -> Response {
    let Ok(_search) = answering.searches.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    match answering.receipts.find(&id, Some(&source)).await {
        Ok(found) => match found.into_iter().next() {
            Some(receipt) => Json(receipt).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Err(Failure::NotFound(_)) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::warn!(%error, "a receipt cannot be read");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// The outcome of a record once it has one, or 204 when it has none in time.
async fn outcome(
    State(answering): State<Arc<Answering>>,
    Path(identity): Path<(String, String)>,
    Query(Wait { partition, offset, not, wait_ms }): Query<Wait>,
) -> Response {
    let within = Duration::from_millis(wait_ms).min(WAIT_MAX);
    match answering.outcomes.of(identity, Place { at: (partition, offset), not }, within).await {
        Some(recorded) => Json(Outcome::from(recorded)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// The outcomes of records in their order, `null` for those that have none in time.
async fn outcomes(
    State(answering): State<Arc<Answering>>,
    Json(WaitForAll { commands, wait_ms }): Json<WaitForAll>,
) -> Json<Vec<Option<Outcome>>> {
    let within = Duration::from_millis(wait_ms).min(WAIT_MAX);
    let asked = commands.into_iter().map(|Asked { source, id, partition, offset }| {
        ((source, id), Place { at: (partition, offset), not: None })
    });
    let found = answering.outcomes.of_all(asked.collect(), within).await;
    Json(found.into_iter().map(|recorded| recorded.map(Outcome::from)).collect())
}

/// What would become of a command, or 404 when the instance does not have its context.
async fn decide(
    State(answering): State<Arc<Answering>>,
    Json(Trial { context, key, value }): Json<Trial>,
) -> Response {
    let Ok(value) = hex::decode(value) else { return StatusCode::BAD_REQUEST.into_response() };
    let Ok(Ok(_place)) = timeout(TRIAL_PLACE_WITHIN, answering.trials.acquire()).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    match answering.dry_runs.decide(&context, &key, &value).await {
        Ok(Some(verdict)) => Json(Decision::from(verdict)).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::warn!(%error, "a command cannot be decided without effect");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
