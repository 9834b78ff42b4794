//! Sends the spans of this process to a collector of OpenTelemetry.
//!
//! Spans wait in a bounded queue, which never holds up what makes them. What a collector does not take is dropped and counted.

mod client;
mod convert;
mod resource;

use std::time::Duration;

use bytes::Bytes;
use millrace_engine::spans::{self, Span, Spans};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::failure::Failure;
use client::Client;
use convert::request;
use resource::resource;

/// Spans of a request, at most: about a megabyte.
const AT_ONCE: usize = 2_048;
/// How long further spans are waited for before a request.
const GATHERED_FOR: Duration = Duration::from_millis(500);
/// How long a collector may take for a request.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The delays before a request is sent again; then its spans are dropped.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// How long the spans that are left may take at the end, together.
const FLUSHED_WITHIN: Duration = Duration::from_secs(3);

/// Sends spans.
pub struct Exporter {
    spans: Spans,
    client: Client,
    resource: Resource,
    /// Whether the last request was not taken.
    fails: bool,
}

impl Exporter {
    /// Begins to record spans; `None` without `otlp.endpoint`.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the endpoint cannot be used; when TLS cannot be set up.
    pub fn new(config: &Config) -> Result<Option<Self>, Failure> {
        let Some(endpoint) = &config.otlp.endpoint else { return Ok(None) };
        let client = Client::new(&config.otlp, endpoint.url(), ANSWER_WITHIN)?;
        let resource = resource(config);
        Ok(spans::take(config.otlp.queue).map(|spans| Self { spans, client, resource, fails: false }))
    }

    /// Sends spans until stopped, and then those that are left, for a bounded time.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(AT_ONCE);
        loop {
            let some = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                some = self.spans.next(&mut batch, AT_ONCE) => some,
            };
            if !some {
                return;
            }
            // A stop ends the waiting, not the batch.
            let _ = timeout(GATHERED_FOR, stop.run_until_cancelled(self.gather(&mut batch))).await;
            let batch = std::mem::take(&mut batch);
            let (count, too_late) = (batch.len(), async {
                stop.cancelled().await;
                sleep(FLUSHED_WITHIN).await;
            });
            tokio::select! {
                _ = self.send(batch, &stop) => {}
                () = too_late => {
                    spans::dropped("exporter", count);
                    tracing::warn!("not all spans were sent in time");
                    return;
                }
            }
        }
        if timeout(FLUSHED_WITHIN, self.flush(&stop)).await.is_err() {
            tracing::warn!("not all spans were sent in time");
        }
    }

    /// Waits until the batch is full.
    async fn gather(&mut self, batch: &mut Vec<Span>) {
        while batch.len() < AT_ONCE && self.spans.next(batch, AT_ONCE - batch.len()).await {}
    }

    async fn flush(&mut self, stop: &CancellationToken) {
        loop {
            let mut batch = Vec::new();
            self.spans.waiting(&mut batch, AT_ONCE);
            if batch.is_empty() || !self.send(batch, stop).await {
                return;
            }
        }
    }

    /// Sends spans; not again once stopped. False when they were dropped.
    async fn send(&mut self, batch: Vec<Span>, stop: &CancellationToken) -> bool {
        let count = batch.len();
        let body = Bytes::from(request(&self.resource, batch).encode_to_vec());
        let mut delays = AGAIN_AFTER.into_iter();
        let refused = loop {
            let why = match self.client.send(body.clone()).await {
                Ok(refused) => break refused.min(count),
                Err(why) => why,
            };
            if !std::mem::replace(&mut self.fails, true) {
                tracing::warn!(why, "otlp.endpoint does not take spans");
            }
            let Some(delay) = delays.next().filter(|_| !stop.is_cancelled()) else {
                spans::dropped("exporter", count);
                return false;
            };
            let _ = stop.run_until_cancelled(sleep(delay)).await;
        };
        if std::mem::replace(&mut self.fails, false) {
            tracing::info!("otlp.endpoint takes spans again");
        }
        spans::dropped("exporter", refused);
        spans::exported(count - refused);
        true
    }
}
