//! The questions of the gateway.

use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_ops::config::Gateway;
use millrace_ops::failure::Failure;
use millrace_ops::http;
use millrace_ops::receipts::Receipt;
use millrace_ops::send::Ready;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;

use super::decisions::{Decision, Trial};
use super::{Asked, Outcome, Wait, WaitForAll};

/// How long a receipt may take: a command that is not decided is looked for in Kafka.
const RECEIPT_WITHIN: Duration = Duration::from_secs(20);
/// How long a decision without effect may take.
const DECISION_WITHIN: Duration = Duration::from_secs(10);
/// How much longer than the wait an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Asks the role `commands`.
pub(crate) struct Asking {
    client: Client,
    url: Url,
    token: SecretString,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// It cannot be reached, or its answer cannot be read.
    #[error("the role `commands` does not answer about receipts: {}", .0)]
    Unreachable(#[source] reqwest::Error),
    /// It answers with another status.
    #[error("the role `commands` answers {0} about receipts")]
    Status(StatusCode),
}

impl Asking {
    /// The client; `None` when it is not configured where to ask.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the URL cannot be used.
    pub(crate) fn new(gateway: &Gateway) -> Result<Option<Self>, Failure> {
        let (Some(url), Some(token)) = (gateway.receipts_url(), gateway.receipts_token.clone()) else {
            return Ok(None);
        };
        let refuse = |error| Failure::usage("gateway.receipts_url").caused_by(error);
        let url = Url::parse(&url).map_err(refuse)?;
        Ok(Some(Self { client: http::client()?, url, token }))
    }

    /// The receipt of a command; `None` when there is no such command.
    pub(crate) async fn receipt(&self, source: &str, id: &str) -> Result<Option<Receipt>, Unanswered> {
        self.ask(&["receipts", source, id], None, RECEIPT_WITHIN).await
    }

    /// The outcome of a command whose record is at this partition and offset; `None` when there is none within this time. A dead
    /// letter that was written at the time `not` is none.
    pub(crate) async fn outcome(
        &self,
        (source, id): (&str, &str),
        ((partition, offset), not): ((i32, i64), Option<DateTime<Utc>>),
        within: Duration,
    ) -> Result<Option<Outcome>, Unanswered> {
        let wait_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let wait = Wait { partition, offset, not, wait_ms };
        self.ask(&["outcomes", source, id], Some(wait), within + ANSWER_WITHIN).await
    }

    /// The outcomes of commands in their order; `None` for those that have none within this time.
    pub(crate) async fn outcomes(
        &self,
        commands: Vec<Asked>,
        within: Duration,
    ) -> Result<Vec<Option<Outcome>>, Unanswered> {
        let wait_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let request = self.client.post(self.url_of(&["outcomes"], None)).timeout(within + ANSWER_WITHIN);
        let found = self.answered(request.json(&WaitForAll { commands, wait_ms })).await?;
        Ok(found.unwrap_or_default())
    }

    /// What would become of a command; `None` when the role `commands` cannot tell.
    pub(crate) async fn decision(&self, ready: &Ready) -> Result<Option<Decision>, Unanswered> {
        let request = self.client.post(self.url_of(&["decisions"], None)).timeout(DECISION_WITHIN);
        self.answered(request.json(&Trial::of(ready))).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        path: &[&str],
        wait: Option<Wait>,
        within: Duration,
    ) -> Result<Option<T>, Unanswered> {
        self.answered(self.client.get(self.url_of(path, wait)).timeout(within)).await
    }

    async fn answered<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Option<T>, Unanswered> {
        let answer = request.bearer_auth(self.token.expose_secret()).send().await;
        let answer = answer.map_err(|error| Unanswered::Unreachable(error.without_url()))?;
        match answer.status() {
            StatusCode::OK => answer.json().await.map(Some).map_err(Unanswered::Unreachable),
            StatusCode::NOT_FOUND | StatusCode::NO_CONTENT => Ok(None),
            status => Err(Unanswered::Status(status)),
        }
    }

    fn url_of(&self, path: &[&str], wait: Option<Wait>) -> Url {
        let mut url = self.url.clone();
        // The configuration takes only URLs that have a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if let Some(Wait { partition, offset, not, wait_ms }) = wait {
            let not = not.map(|not| not.to_rfc3339());
            url.query_pairs_mut()
                .append_pair("partition", &partition.to_string())
                .append_pair("offset", &offset.to_string())
                .append_pair("wait_ms", &wait_ms.to_string())
                .extend_pairs(not.iter().map(|not| ("not", not)));
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment_whatever_it_has() {
        let gateway = Gateway {
            receipts_listen: Some(([127, 0, 0, 1], 81).into()),
            receipts_token: Some("t".into()),
            ..Gateway::default()
        };
        let asking = Asking::new(&gateway).unwrap().unwrap();
        let wait = Wait { partition: 1, offset: 7, not: None, wait_ms: 5 };
        let url = asking.url_of(&["outcomes", "shop", "a/b?c#d"], Some(wait));
        let expected = "http://127.0.0.1:81/outcomes/shop/a%2Fb%3Fc%23d?partition=1&offset=7&wait_ms=5";
        assert_eq!(url.as_str(), expected);
        let (not, query) = (Some(DateTime::UNIX_EPOCH), "&not=1970-01-01T00%3A00%3A00%2B00%3A00");
        let url = asking.url_of(&["outcomes", "shop", "a/b?c#d"], Some(Wait { not, ..wait }));
        assert_eq!(url.as_str(), format!("{expected}{query}"));
    }
}
