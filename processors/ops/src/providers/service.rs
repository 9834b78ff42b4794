//! An external system that is called over HTTP with idempotency keys.

use std::time::Duration;

use millrace_engine::Reason;
use millrace_engine::effects::CallError;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::address::Address;
use crate::failure::Failure;
use crate::http;

/// A service's code for a key that was used with another request.
const KEY_REUSED: &str = "key-reused";

/// A configured service.
pub(super) struct Service {
    client: Client,
    setting: &'static str,
    address: Address,
    token: Option<SecretString>,
}

impl Service {
    /// The service at the configured address.
    pub(super) fn new(
        setting: &'static str,
        address: Address,
        token: Option<SecretString>,
        call_timeout: Duration,
    ) -> Result<Self, Failure> {
        check(setting, &address, token.is_some()).map_err(Failure::usage)?;
        // Part of the timeout is for connecting: without a connection nothing can have happened.
        let connecting = call_timeout / 2;
        let client = Client::builder().connect_timeout(connecting).redirect(redirect::Policy::none()).build();
        let client = client.map_err(|error| Failure::refused("HTTP cannot be set up").caused_by(error))?;
        Ok(Self { client, setting, address, token })
    }

    pub(super) fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, CallError> {
        let mut url: Url = self.address.url().clone();
        let segments = url.path_segments_mut();
        segments.map_err(|()| self.unusable())?.pop_if_empty().extend(path);
        let request = self.client.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        })
    }

    fn unusable(&self) -> CallError {
        CallError::Unavailable(format!("{}: {} cannot have a path", self.setting, self.address).into())
    }

    /// The status and the body of an answer.
    pub(super) async fn exchange(&self, request: RequestBuilder) -> Result<(StatusCode, Value), CallError> {
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        // A body that is not JSON proves nothing, whatever the status.
        let body = response.bytes().await.map_err(lost)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}

fn check(setting: &str, address: &Address, has_token: bool) -> Result<(), String> {
    match address.url().scheme() {
        "https" => Ok(()),
        "http" if address.is_loopback() || !has_token => Ok(()),
        "http" => Err(format!("{setting} must begin with https://, or others could read the token")),
        other => Err(format!("{setting} must begin with https:// or http://, not {other}://")),
    }
}

/// The meaning of an error status. A status that is about our configuration or the service's state proves nothing about the
/// request. Neither does that of a key in use: its first call may still be in progress, and succeed
/// (draft-ietf-httpapi-idempotency-key-header: 409 for that, 422 for a key that was used with another request). Neither does a
/// redirect.
pub(super) fn error(status: StatusCode, body: &Value) -> CallError {
    let reason = Reason::from(format!("{status}: {}", http::reason(body)));
    match status.as_u16() {
        300..=399 | 408 | 409 | 425 | 500 | 502 | 504..=599 => CallError::Unknown(reason),
        422 if field(body, "code") == Some(KEY_REUSED) => CallError::Unknown(reason),
        400 | 410 | 413 | 415 | 422 => CallError::Refused(reason),
        _ => CallError::Unavailable(reason),
    }
}

pub(super) fn field<'b>(body: &'b Value, name: &str) -> Option<&'b str> {
    body.get(name).and_then(Value::as_str)
}

/// The error of a failed exchange: without a connection nothing was done; after that the outcome is unknown. The URL may contain
/// a password.
fn lost(error: reqwest::Error) -> CallError {
    let error = error.without_url();
    match error.is_connect() || error.is_builder() {
        true => CallError::Unavailable(Reason::of(error)),
        false => CallError::Unknown(Reason::of(error)),
    }
}
