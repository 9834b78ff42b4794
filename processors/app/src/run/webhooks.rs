//! Webhooks of the payment provider, signed according to <https://www.standardwebhooks.com>.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{self, Body};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use millrace_domain::effects::payment::Payment;
use millrace_engine::WorkError;
use millrace_engine::effects::{Caller, WebhookOutcome};
use millrace_engine::supervision::{Restarts, caught};
use millrace_gateway::connections::{self, Limits, listen};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::providers::Word;
use secrecy::ExposeSecret;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const BODY_BYTES_MAX: usize = 64 << 10;
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The answer to a webhook, with a text for people.
type Answer = (StatusCode, String);

/// Verifies webhooks and passes their outcomes on.
struct Receiver {
    /// One for each secret; two during a rotation.
    webhooks: Vec<Webhook>,
    payments: Caller<Payment>,
}

/// Serves until `stop`, if configured.
pub(super) async fn serve(
    config: &Config,
    payments: Option<Caller<Payment>>,
    restarts: Restarts,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let (Some((address, webhooks)), Some(payments)) = (configured(config)?, payments) else { return Ok(()) };
    let listener = listen("http.webhook_listen", address).await?;
    tokio::spawn(accept(listener, Receiver { webhooks, payments }, restarts, stop));
    Ok(())
}

/// The address for webhooks, and their verifiers; `None` when it is not configured.
///
/// # Errors
/// [`Failure::Usage`], which names the setting.
pub(super) fn configured(config: &Config) -> Result<Option<(SocketAddr, Vec<Webhook>)>, Failure> {
    let Some(address) = config.http.webhook_listen else { return Ok(None) };
    if config.payment.url.is_none() {
        return Err(Failure::usage("http.webhook_listen: there is no payment provider; set payment.url"));
    }
    let secret = config.payment.webhook_secret.as_ref();
    let webhooks = webhooks(secret.map(ExposeSecret::expose_secret)).map_err(Failure::usage)?;
    Ok(Some((address, webhooks)))
}

impl Receiver {
    /// Whether one of the secrets has signed it.
    fn verify(&self, body: &[u8], headers: &HeaderMap) -> Result<(), Answer> {
        let mut refusal = (StatusCode::UNAUTHORIZED, "there is no secret".to_owned());
        for webhook in &self.webhooks {
            match webhook.verify(body, headers) {
                Ok(()) => return Ok(()),
                Err(error) => refusal.1 = error.to_string(),
            }
        }
        Err(refusal)
    }
}

/// Bytes of a secret, at least; a shorter one could be guessed.
const SECRET_BYTES_MIN: usize = 24;

/// A verifier for each secret; several are separated by white space.
fn webhooks(secrets: Option<&str>) -> Result<Vec<Webhook>, String> {
    let way_out = format!(
        "a secret in base64 of {SECRET_BYTES_MIN} bytes or more, as the provider gives it: whsec_…; in a file: \
         payment.webhook_secret_file; several, each on a line of its own, are all accepted"
    );
    let missing = || format!("payment.webhook_secret: http.webhook_listen needs {way_out}");
    let secrets = secrets.filter(|secrets| !secrets.trim().is_empty()).ok_or_else(missing)?;
    let webhook = |secret: &str| {
        let long_enough = secret.trim_start_matches("whsec_").len() >= SECRET_BYTES_MIN.div_ceil(3) * 4;
        Webhook::new(secret).ok().filter(|_| long_enough)
    };
    let webhooks: Option<Vec<Webhook>> = secrets.split_whitespace().map(webhook).collect();
    webhooks.ok_or_else(|| format!("payment.webhook_secret must be {way_out}"))
}

async fn accept(listener: TcpListener, receiver: Receiver, restarts: Restarts, stop: CancellationToken) {
    let router = Router::new().route("/webhooks/payments", post(payment)).with_state(Arc::new(receiver));
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving /webhooks/payments");
    }
    connections::accept("webhooks", listener, (router, Limits::ONE_REQUEST), &restarts, stop).await;
}

async fn payment(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Body) -> Answer {
    let answer = caught("webhook", receive(&receiver, &headers, body)).await.unwrap_or_else(|_| {
        // The sender sends it again.
        Err((StatusCode::INTERNAL_SERVER_ERROR, "an error of this process".to_owned()))
    });
    let (status, reason) = answer.unwrap_or_else(|refusal| refusal);
    if !status.is_success() {
        tracing::warn!(%status, reason, "a webhook was not taken");
    }
    (status, reason + "\n")
}

async fn receive(receiver: &Receiver, headers: &HeaderMap, body: Body) -> Result<Answer, Answer> {
    let answer = |status, reason: &str| (status, reason.to_owned());
    let whole = tokio::time::timeout(BODY_WITHIN, body::to_bytes(body, BODY_BYTES_MAX)).await;
    let whole = whole.map_err(|_| answer(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"))?;
    let body = whole
        .map_err(|_| answer(StatusCode::PAYLOAD_TOO_LARGE, "the body cannot be read, or is too large"))?;
    receiver.verify(&body, headers)?;
    let word = Word::read(&body).map_err(|reason| (StatusCode::BAD_REQUEST, reason))?;
    match receiver.payments.webhook(word.key, |request| word.answers(request)).await {
        Ok(WebhookOutcome::Taken) => Ok(answer(StatusCode::OK, "taken")),
        Ok(WebhookOutcome::Known) => Ok(answer(StatusCode::OK, "known")),
        // Sending it again would change nothing; the log reports it to operators.
        Ok(WebhookOutcome::Contradicts) => Ok(answer(StatusCode::OK, "known, with another outcome")),
        Ok(WebhookOutcome::UnknownCall) => Err(answer(StatusCode::NOT_FOUND, "key: no call has it")),
        Ok(WebhookOutcome::Other(reason)) => Err((StatusCode::UNPROCESSABLE_ENTITY, reason)),
        Err(WorkError::Refused(reason)) => Err(answer(StatusCode::UNPROCESSABLE_ENTITY, reason.text())),
        // The sender sends it again.
        Err(error) => {
            tracing::warn!(%error, "a webhook waits");
            Err(answer(StatusCode::SERVICE_UNAVAILABLE, "not now; send it again"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_and_in_base64() {
        let long = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        for (fine, count) in
            [(long.to_owned(), 1), (format!("whsec_{long}"), 1), (format!("whsec_{long}\n{long}\n"), 2)]
        {
            assert_eq!(webhooks(Some(&fine)).unwrap().len(), count, "{fine}");
        }
        let one_short = format!("{long} c2hvcnQ=");
        for wrong in [
            None,
            Some(""),
            Some(" \n"),
            Some("whsec_"),
            Some("c2hvcnQ="),
            Some("no base64, but quite long enough!"),
            Some(&one_short),
        ] {
            let error = webhooks(wrong).err().unwrap();
            assert!(error.contains("payment.webhook_secret"), "{error}");
        }
    }
}
