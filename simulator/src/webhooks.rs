//! The payment provider's webhooks: what it does is told until somebody has heard it, and perhaps once more.

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
/// Pauses after a webhook that was not heard; after the last of them it is given up.
const AGAIN_AFTER_MS: [u64; 8] = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800];

/// Where webhooks go.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// The whole address.
    pub url: String,
    /// What they are signed with, in base64.
    pub secret: String,
}

/// What is to be told.
pub(crate) struct Word {
    /// The same each time that it is told.
    pub(crate) id: String,
    pub(crate) body: Value,
    pub(crate) times: u32,
}

/// A place for words, and what tells them until `stop`.
pub(crate) fn speaker(
    webhooks: &Webhooks,
    stop: CancellationToken,
) -> Result<(UnboundedSender<Word>, impl Future<Output = ()> + use<>), standardwebhooks::WebhookError> {
    let (sender, words) = mpsc::unbounded_channel();
    let teller = Teller {
        client: reqwest::Client::new(),
        url: webhooks.url.clone(),
        webhook: Webhook::new(&webhooks.secret)?,
    };
    Ok((sender, async move {
        stop.run_until_cancelled(tell_all(Arc::new(teller), words)).await;
    }))
}

struct Teller {
    client: reqwest::Client,
    url: String,
    webhook: Webhook,
}

async fn tell_all(teller: Arc<Teller>, mut words: UnboundedReceiver<Word>) {
    let (under_way, room) = (TaskTracker::new(), Arc::new(Semaphore::new(AT_ONCE_MAX)));
    while let Some(word) = words.recv().await {
        let (teller, place) = (teller.clone(), room.clone().acquire_owned().await);
        under_way.spawn(async move {
            for _ in 0..word.times {
                teller.tell(&word).await;
            }
            drop(place);
        });
    }
}

impl Teller {
    /// Tells it until it is heard.
    async fn tell(&self, word: &Word) {
        for pause in AGAIN_AFTER_MS.map(Duration::from_millis) {
            match self.try_to_tell(word).await {
                Ok(()) => return,
                Err(reason) => tracing::info!(word.id, reason, "a webhook was not heard"),
            }
            tokio::time::sleep(pause).await;
        }
        tracing::warn!(word.id, "a webhook is given up");
    }

    async fn try_to_tell(&self, word: &Word) -> Result<(), String> {
        let (body, now) = (word.body.to_string(), Utc::now().timestamp());
        let signature = self.webhook.sign(&word.id, now, body.as_bytes()).map_err(|e| e.to_string())?;
        let request = self
            .client
            .post(&self.url)
            .timeout(ANSWER_WITHIN)
            .header(HEADER_WEBHOOK_ID, &word.id)
            .header(HEADER_WEBHOOK_TIMESTAMP, now)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        answer.error_for_status().map(|_| ()).map_err(|error| error.to_string())
    }
}
