//! Requests to the collector, with the client of HTTP that the other services have.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::redirect;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::Otlp;
use crate::failure::Failure;
use crate::http::innermost;

/// Why the last request had no answer.
#[derive(Clone, Default)]
pub(super) struct Why(Arc<Mutex<Option<String>>>);

impl Why {
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The innermost error, without the URL, which may be secret.
    fn is(&self, error: reqwest::Error) -> String {
        let why = innermost(&error.without_url()).to_string();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        why
    }
}

/// A client with the configured token.
pub(super) struct Client {
    client: reqwest::Client,
    token: Option<SecretString>,
    why: Why,
}

impl Client {
    /// # Errors
    /// When TLS cannot be set up.
    pub(super) fn new(otlp: &Otlp, timeout: Duration, why: Why) -> Result<Self, Failure> {
        let client = reqwest::Client::builder().timeout(timeout).redirect(redirect::Policy::none()).build();
        let client = client.map_err(|error| Failure::refused("HTTP cannot be set up").caused_by(error))?;
        Ok(Self { client, token: otlp.token.clone(), why })
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
        let answer = request.send().await.map_err(|error| self.why.is(error))?;
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let body = answer.bytes().await.map_err(|error| self.why.is(error))?;
        Ok(response.body(body)?)
    }
}
