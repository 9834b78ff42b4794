//! Webhooks: what the payment provider tells of its own accord, signed as <https://www.standardwebhooks.com> has it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{self, Body};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use millrace_domain::effects::payment::Payment;
use millrace_runtime::WorkError;
use millrace_runtime::effects::{Caller, Told};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::http::listen;
use crate::config::Config;
use crate::failure::Failure;
use crate::providers::told_of_payment;

const BODY_BYTES_MAX: usize = 64 << 10;
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// What a webhook is answered, for the sender's people.
type Answer = (StatusCode, String);

/// Who may come in, and who takes what they tell.
struct Door {
    webhook: Webhook,
    payments: Caller<Payment>,
}

/// Serves until `stop`, where the configuration says so.
pub(super) async fn serve(
    config: &Config,
    payments: Option<Caller<Payment>>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let Some(address) = config.webhook_listen else { return Ok(()) };
    let Some(payments) = payments else {
        return Err(Failure::usage("webhook_listen: there is no payment provider; set payment_provider_url"));
    };
    let webhook = webhook(config.payment_webhook_secret.as_deref()).map_err(Failure::usage)?;
    let listener = listen("webhook_listen", address).await?;
    tokio::spawn(accept(listener, Door { webhook, payments }, stop));
    Ok(())
}

/// A secret that can be guessed keeps nobody out.
const SECRET_BYTES_MIN: usize = 24;

fn webhook(secret: Option<&str>) -> Result<Webhook, String> {
    let way_out = format!(
        "a secret in base64 of {SECRET_BYTES_MIN} bytes or more, as the provider gives it: whsec_…; in a file: \
         payment_webhook_secret_file"
    );
    let secret = secret.ok_or_else(|| format!("payment_webhook_secret: webhook_listen needs {way_out}"))?;
    let long_enough = secret.trim_start_matches("whsec_").len() >= SECRET_BYTES_MIN.div_ceil(3) * 4;
    let webhook = Webhook::new(secret).ok().filter(|_| long_enough);
    webhook.ok_or_else(|| format!("payment_webhook_secret must be {way_out}"))
}

async fn accept(listener: TcpListener, door: Door, stop: CancellationToken) {
    let router = Router::new().route("/webhooks/payments", post(payment)).with_state(Arc::new(door));
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "hearing /webhooks/payments");
    }
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "webhooks are heard no more");
    }
}

async fn payment(State(door): State<Arc<Door>>, headers: HeaderMap, body: Body) -> Answer {
    let answer = hear(&door, &headers, body).await;
    let (status, reason) = answer.unwrap_or_else(|refusal| refusal);
    if !status.is_success() {
        tracing::warn!(%status, reason, "a webhook was not taken");
    }
    (status, reason + "\n")
}

async fn hear(door: &Door, headers: &HeaderMap, body: Body) -> Result<Answer, Answer> {
    let told = |status, reason: &str| (status, reason.to_owned());
    let whole = tokio::time::timeout(BODY_WITHIN, body::to_bytes(body, BODY_BYTES_MAX)).await;
    let whole = whole.map_err(|_| told(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"))?;
    let body =
        whole.map_err(|_| told(StatusCode::PAYLOAD_TOO_LARGE, "the body cannot be read, or is too large"))?;
    door.webhook.verify(&body, headers).map_err(|error| (StatusCode::UNAUTHORIZED, error.to_string()))?;
    let (key, answer) = told_of_payment(&body).map_err(|reason| (StatusCode::BAD_REQUEST, reason))?;
    match door.payments.told(key, answer).await {
        Ok(Told::Taken) => Ok(told(StatusCode::OK, "taken")),
        Ok(Told::Known) => Ok(told(StatusCode::OK, "known")),
        Ok(Told::Unheard) => Err(told(StatusCode::NOT_FOUND, "key: no call has it")),
        Err(WorkError::Refused(reason)) => Err((StatusCode::UNPROCESSABLE_ENTITY, reason)),
        // Whoever tells it tells it again.
        Err(error) => {
            tracing::warn!(%error, "a webhook waits");
            Err(told(StatusCode::SERVICE_UNAVAILABLE, "not now; tell it again"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_and_in_base64() {
        let long = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        for fine in [long.to_owned(), format!("whsec_{long}")] {
            assert!(webhook(Some(&fine)).is_ok(), "{fine}");
        }
        for wrong in
            [None, Some(""), Some("whsec_"), Some("c2hvcnQ="), Some("no base64, but quite long enough!")]
        {
            let error = webhook(wrong).err().unwrap();
            assert!(error.contains("payment_webhook_secret"), "{error}");
        }
    }
}
