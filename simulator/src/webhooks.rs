//! The payment provider's webhooks: each is sent until it is acknowledged, and perhaps once more.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde_json::Value;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const AT_ONCE_MAX: usize = 16;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Pauses after a webhook that was not acknowledged; after the last of them it is given up.
const AGAIN_AFTER_MS: [u64; 8] = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800];

/// Where webhooks go.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// The whole address.
    pub url: String,
    /// What they are signed with, in base64.
    pub secret: String,
}

/// A message of a webhook.
pub(crate) struct WebhookMessage {
    /// The same each time that it is sent.
    pub(crate) id: String,
    pub(crate) body: Value,
    /// How often it is sent until it is acknowledged.
    pub(crate) copies: u32,
}

/// A channel for messages, and what sends them until `stop`.
pub(crate) fn sender(
    webhooks: &Webhooks,
    stop: CancellationToken,
) -> Result<(UnboundedSender<WebhookMessage>, impl Future<Output = ()> + use<>), standardwebhooks::WebhookError>
{
    let (channel, messages) = mpsc::unbounded_channel();
    let sender = Sender {
        client: reqwest::Client::new(),
        url: webhooks.url.clone(),
        webhook: Webhook::new(&webhooks.secret)?,
    };
    Ok((channel, async move {
        stop.run_until_cancelled(send_all(Arc::new(sender), messages)).await;
    }))
}

struct Sender {
    client: reqwest::Client,
    url: String,
    webhook: Webhook,
}

async fn send_all(sender: Arc<Sender>, mut messages: UnboundedReceiver<WebhookMessage>) {
    let (under_way, permits) = (TaskTracker::new(), Arc::new(Semaphore::new(AT_ONCE_MAX)));
    while let Some(message) = messages.recv().await {
        let (sender, permit) = (sender.clone(), permits.clone().acquire_owned().await);
        under_way.spawn(async move {
            for _ in 0..message.copies {
                sender.send(&message).await;
            }
            drop(permit);
        });
    }
}

impl Sender {
    /// Sends it until it is acknowledged or given up.
    async fn send(&self, message: &WebhookMessage) {
        for pause in AGAIN_AFTER_MS.map(Duration::from_millis) {
            match self.try_once(message).await {
                Ok(()) => return,
                Err(reason) => tracing::info!(message.id, reason, "a webhook was not acknowledged"),
            }
            tokio::time::sleep(pause).await;
        }
        tracing::warn!(message.id, "a webhook is given up");
    }

    async fn try_once(&self, message: &WebhookMessage) -> Result<(), String> {
        let (body, now) = (message.body.to_string(), Utc::now().timestamp());
        let signature = self.webhook.sign(&message.id, now, body.as_bytes()).map_err(|e| e.to_string())?;
        let request = self
            .client
            .post(&self.url)
            .timeout(ANSWER_WITHIN)
            .header(HEADER_WEBHOOK_ID, &message.id)
            .header(HEADER_WEBHOOK_TIMESTAMP, now)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        answer.error_for_status().map(|_| ()).map_err(|error| error.to_string())
    }
}
