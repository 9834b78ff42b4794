//! `POST /v1/commands`: a command on each line, and an outcome for each line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use millrace_engine::spans;

use super::body::whole;
use super::fit::unsent;
use super::line::{Line, Reader, Said, written};
use super::parameter;
use super::sent::{Sent, applied};
use crate::clients::Client;
use crate::gateway::{Gateway, RETRY_AFTER};
use crate::headers::{NDJSON, expect, given_key, traceparent, wait};
use crate::problem::{Kind, Problem};
use crate::receipts::{Asked, Outcome};

/// Where batches are sent to.
pub(crate) const PATH: &str = "/v1/commands";
/// Lines of a batch, at most.
pub(crate) const LINES_MAX: usize = 10_000;
/// Commands that are handed to Kafka before the first of them is acknowledged, at most.
const AT_ONCE: usize = 500;
/// How long after its request a batch hands further commands to Kafka: the last of them are acknowledged, or given up, within
/// [`REQUEST_WITHIN`](crate::REQUEST_WITHIN).
const ROUNDS_WITHIN: Duration = Duration::from_secs(15);
/// Why a batch has no parameters.
const NO_DRY_RUN: &str =
    "is not a parameter of a batch; a dry run takes one command: POST /v1/commands/{type}?dry_run=true";

/// Sends the command of every line that has one, in their order, and answers each line.
pub(super) async fn send(
    State(gateway): State<Arc<Gateway>>,
    Extension(client): Extension<Arc<Client>>,
    request: Request,
) -> Result<Response, Problem> {
    let until = Instant::now() + ROUNDS_WITHIN;
    parameter::none(request.uri(), NO_DRY_RUN)?;
    expect(NDJSON, request.headers())?;
    let headers = request.headers();
    let (key, waits, given) = (given_key(headers)?, wait(headers, gateway.wait_max()), traceparent(headers));
    let _turn =
        client.batch.try_acquire().map_err(|_| busy(Kind::RATE, "a client sends one batch at a time"))?;
    let _place =
        gateway.batches.try_acquire().map_err(|_| busy(Kind::FULL, "too many batches are under way"))?;
    let body = whole(request).await?;
    let span = spans::Request::begin(given.as_deref());
    let traceparent = span.as_ref().map(spans::Request::header).or(given);
    let batch = Batch { gateway: &gateway, client: &client, key, traceparent, until };
    let answer = batch.answer(&body, waits).await;
    if let Some(span) = span {
        let status = answer.as_ref().map_or_else(|problem| problem.status(), Response::status);
        span.end("POST batch".to_owned(), &client.name, status.as_u16());
    }
    answer
}

fn busy(kind: Kind, detail: &str) -> Problem {
    Problem::new(kind, detail).retry_after(RETRY_AFTER)
}

struct Batch<'b> {
    gateway: &'b Gateway,
    client: &'b Client,
    key: Option<String>,
    traceparent: Option<String>,
    /// When it hands nothing more to Kafka.
    until: Instant,
}

impl Batch<'_> {
    async fn answer(&self, body: &[u8], waits: Option<Duration>) -> Result<Response, Problem> {
        let lines = self.sent(&texts(body)?).await?;
        let outcomes = match waits {
            Some(within) => self.outcomes(&lines, within).await,
            None => Vec::new(),
        };
        let body = written(lines, outcomes);
        Ok((applied(waits), [(CONTENT_TYPE, NDJSON)], body).into_response())
    }

    /// What was said to each line. After a line that Kafka did not take no further ones are sent, so that order is kept; nor are they
    /// when the batch would not be answered before its connection ends.
    async fn sent(&self, texts: &[(usize, &[u8])]) -> Result<Vec<Line>, Problem> {
        let encoder = self.gateway.sender.encoder().await;
        let encoder = encoder.map_err(|error| unsent(millrace_ops::send::Unsent::Unavailable(error)))?;
        let mut reader = Reader::new(
            self.gateway,
            self.client,
            encoder,
            (self.key.as_deref(), self.traceparent.as_deref()),
        );
        let mut lines: Vec<Line> = Vec::with_capacity(texts.len());
        for some in texts.chunks(AT_ONCE) {
            let is_stopped = self.is_over() || lines.iter().rev().take(AT_ONCE).any(Line::is_untaken);
            lines.extend(match is_stopped {
                true => reader.left_out(some),
                false => reader.sent(some, || self.is_over()).await,
            });
            let is_taken = lines.iter().any(|line| matches!(line.said, Said::Sent(_)));
            if !is_taken && lines.iter().any(Line::is_untaken) {
                // Nothing was taken, so that the whole may be sent again.
                return Err(Line::untaken());
            }
        }
        Ok(lines)
    }

    fn is_over(&self) -> bool {
        self.gateway.stop.is_cancelled() || Instant::now() >= self.until
    }

    /// The outcomes of the lines that were sent, as far as they have one in time.
    async fn outcomes(&self, lines: &[Line], within: Duration) -> Vec<Option<Outcome>> {
        let sent = lines.iter().filter_map(|line| match &line.said {
            Said::Sent(Sent { source, id, acknowledged, .. }) => Some(Asked::new(source, id, acknowledged)),
            Said::Refused(..) => None,
        });
        let outcomes = self.gateway.receipts.outcomes(sent.collect(), within);
        match self.gateway.stop.run_until_cancelled(outcomes).await {
            Some(Ok(outcomes)) => outcomes,
            Some(Err(error)) => {
                // The commands are in Kafka, so they are taken.
                tracing::warn!(%error, "outcomes of a batch cannot be waited for");
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}

/// The lines that are not blank, with their numbers.
fn texts(body: &[u8]) -> Result<Vec<(usize, &[u8])>, Problem> {
    let numbered =
        body.split(|byte| *byte == b'\n').zip(1..).map(|(text, number)| (number, text.trim_ascii()));
    let texts: Vec<(usize, &[u8])> =
        numbered.filter(|(_, text)| !text.is_empty()).take(LINES_MAX + 1).collect();
    match texts.len() {
        0 => Err(Problem::new(Kind::BODY, "there is no line with a command")),
        lines if lines > LINES_MAX => {
            Err(Problem::new(Kind::TOO_LARGE, format!("a batch has {LINES_MAX} lines at most")))
        }
        _ => Ok(texts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers_and_blank_ones_are_left_out() {
        let of = |body: &'static str| texts(body.as_bytes()).ok();
        assert_eq!(of("a\r\n\n b \n"), Some(vec![(1, &b"a"[..]), (3, b"b")]));
        assert_eq!((of(""), of("\n \n")), (None, None));
        assert!(texts(&b"a\n".repeat(LINES_MAX)).is_ok() && texts(&b"a\n".repeat(LINES_MAX + 1)).is_err());
    }
}
