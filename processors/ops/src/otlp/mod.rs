//! Sends the spans of this process to a collector of OpenTelemetry.
//!
//! Spans wait in a bounded queue, which never holds up what makes them. What a collector does not take is dropped and counted.

mod client;
mod convert;

use std::time::Duration;

use millrace_engine::spans::{self, Span, Spans};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::failure::Failure;
use client::{Client, Why};
use convert::converted;

/// Spans of a request, at most.
const AT_ONCE: usize = 512;
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
    exporter: SpanExporter,
    /// Why the last request had no answer, which the exporter leaves out of its error.
    why: Why,
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
        let unfit = |problem: String| Failure::usage(format!("otlp.endpoint: {problem}"));
        let address = format!("{}/v1/traces", endpoint.reveal().trim_end_matches('/'));
        let why = Why::default();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new(&config.otlp, ANSWER_WITHIN, why.clone())?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(address)
            .with_timeout(ANSWER_WITHIN)
            .with_retry_policy(RetryPolicy::disabled());
        let mut exporter = exporter.build().map_err(|error| unfit(error.to_string()))?;
        exporter.set_resource(&resource(config));
        Ok(spans::take(config.otlp.queue).map(|spans| Self { spans, exporter, why, fails: false }))
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
            if batch.len() < AT_ONCE {
                // A stop ends the waiting, not the batch.
                let _ = timeout(GATHERED_FOR, stop.cancelled()).await;
                self.spans.waiting(&mut batch, AT_ONCE);
            }
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
        let batch: Vec<_> = batch.into_iter().map(converted).collect();
        let mut delays = AGAIN_AFTER.into_iter();
        loop {
            let Err(error) = self.exporter.export(batch.clone()).await else { break };
            if !std::mem::replace(&mut self.fails, true) {
                let why = self.why.take();
                tracing::warn!(%error, why, "otlp.endpoint does not take spans");
            }
            let Some(delay) = delays.next().filter(|_| !stop.is_cancelled()) else {
                spans::dropped("exporter", count);
                return false;
            };
            let _ = stop.run_until_cancelled(sleep(delay)).await;
        }
        if std::mem::replace(&mut self.fails, false) {
            tracing::info!("otlp.endpoint takes spans again");
        }
        spans::exported(count);
        true
    }
}

/// What all spans of this process have in common; `OTEL_RESOURCE_ATTRIBUTES` adds to it.
fn resource(config: &Config) -> Resource {
    let attribute = |name: &'static str, value: String| opentelemetry::KeyValue::new(name, value);
    Resource::builder()
        .with_service_name("millrace")
        .with_attributes([
            attribute("service.namespace", config.namespace.to_string()),
            attribute("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            attribute("service.instance.id", uuid::Uuid::now_v7().to_string()),
            opentelemetry::KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .build()
}
