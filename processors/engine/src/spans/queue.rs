//! The spans that wait to be exported: a bounded number. A span that finds no room is dropped and counted, so that nothing waits for
//! the exporter.

use std::sync::OnceLock;

use tokio::sync::mpsc;

use super::{Context, Span};
use crate::metrics;

static QUEUE: OnceLock<mpsc::Sender<Span>> = OnceLock::new();

/// The exporter's end of the queue.
pub struct Spans(mpsc::Receiver<Span>);

/// Begins to record spans of this process; at most this many wait. `None` when that has begun already.
pub fn take(most: usize) -> Option<Spans> {
    let (queue, waiting) = mpsc::channel(most.max(1));
    // Exported with 0: Prometheus sees no increase in a series that begins with 1.
    exported(0);
    dropped("queue", 0);
    dropped("exporter", 0);
    QUEUE.set(queue).ok()?;
    Some(Spans(waiting))
}

/// Whether spans are recorded.
pub fn is_on() -> bool {
    QUEUE.get().is_some()
}

/// The context of a header, if spans are recorded and it is sampled.
pub(super) fn sampled(traceparent: &str) -> Option<Context> {
    if is_on() { Context::sampled(traceparent) } else { None }
}

/// Hands a span to the exporter; never waits.
pub(super) fn record(span: Span) {
    let Some(queue) = QUEUE.get() else { return };
    if queue.try_send(span).is_err() {
        dropped("queue", 1);
    }
}

/// Counts spans that a collector has taken.
pub fn exported(spans: usize) {
    metrics::SPANS_EXPORTED.with_label_values::<&str>(&[]).inc_by(spans as u64);
}

/// Counts spans that were dropped.
pub fn dropped(why: &str, spans: usize) {
    metrics::SPANS_DROPPED.with_label_values(&[why]).inc_by(spans as u64);
}

impl Spans {
    /// Waits for spans and adds them, at most this many; false when none will come.
    pub async fn next(&mut self, into: &mut Vec<Span>, most: usize) -> bool {
        self.0.recv_many(into, most).await > 0
    }

    /// Adds the spans that wait, at most this many.
    pub fn waiting(&mut self, into: &mut Vec<Span>, most: usize) {
        while into.len() < most
            && let Ok(span) = self.0.try_recv()
        {
            into.push(span);
        }
    }
}
