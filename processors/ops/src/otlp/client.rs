//! Requests to the collector, with the client of HTTP that the other services have.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::redirect;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::Otlp;
use crate::failure::Failure;
use crate::http::innermost;

/// A client with the configured token.
pub(super) struct Client {
    client: reqwest::Client,
    token: Option<SecretString>,
}

impl Client {
    /// # Errors
    /// When TLS cannot be set up.
    pub(super) fn new(otlp: &Otlp, timeout: Duration) -> Result<Self, Failure> {
        let client = reqwest::Client::builder().timeout(timeout).redirect(redirect::Policy::none()).build();
        let client = client.map_err(|error| Failure::refused("HTTP cannot be set up").caused_by(error))?;
        Ok(Self { client, token: otlp.token.clone() })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let request = self.client.request(head.method, head.uri.to_string()).headers(head.headers).body(body);
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        // Its URL may be secret.
        let answer = request.send().await.map_err(|error| innermost(&error.without_url()))?;
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let body = answer.bytes().await.map_err(|error| innermost(&error.without_url()))?;
        Ok(response.body(body)?)
    }
}
