//! Traces for OpenTelemetry.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::secret::{Hidden, from_file};
use crate::address::Address;
use crate::failure::Failure;

/// Where spans are sent.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Otlp {
    /// The collector, such as `http://127.0.0.1:4318`: spans are sent to `/v1/traces` below it (OTLP, protobuf over HTTP). Without it
    /// no span is made. Records have spans when the `traceparent` of the command that led to them says that it is sampled.
    pub endpoint: Option<Address>,
    /// The bearer token of these requests.
    #[serde_as(as = "Option<Hidden>")]
    pub token: Option<SecretString>,
    /// A file with the token.
    pub token_file: Option<PathBuf>,
    /// Spans that wait for the collector, at most; more are dropped and counted. Each takes about 2 KB.
    pub queue: usize,
}

impl Default for Otlp {
    fn default() -> Self {
        Self { endpoint: None, token: None, token_file: None, queue: 8_192 }
    }
}

impl Otlp {
    pub(super) fn with_secrets(mut self) -> Result<Self, Failure> {
        self.token = from_file("otlp.token_file", self.token_file.as_deref(), self.token)?;
        Ok(self)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let none = (self.queue == 0).then(|| "otlp.queue must be at least 1".to_owned());
        let exposed = self.endpoint.as_ref().is_some_and(|endpoint| !is_safe(endpoint, self.token.is_some()));
        let exposed = exposed
            .then(|| "otlp.endpoint must begin with https://, or others could read the token".to_owned());
        [none, exposed].into_iter().flatten().collect()
    }
}

fn is_safe(endpoint: &Address, has_token: bool) -> bool {
    match endpoint.url().scheme() {
        "https" => true,
        "http" => endpoint.is_loopback() || !has_token,
        _ => false,
    }
}
