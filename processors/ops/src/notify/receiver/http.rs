//! The receiver of notifications, over HTTP.

use async_trait::async_trait;
use reqwest::{Client, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::Receiver;
use crate::address::Address;
use crate::config::Notify;
use crate::failure::Failure;
use crate::http::{TIMEOUT, innermost};

/// The configured receiver.
pub(super) struct Http {
    client: Client,
    address: Address,
    token: Option<SecretString>,
}

impl Http {
    /// `None` when none is configured.
    ///
    /// # Errors
    /// [`Failure::Usage`] when others could read the token; when TLS cannot be set up.
    pub(super) fn new(notify: &Notify) -> Result<Option<Self>, Failure> {
        let Some(address) = notify.url.clone() else { return Ok(None) };
        let is_safe = match address.url().scheme() {
            "https" => true,
            "http" => address.is_loopback() || notify.token.is_none(),
            _ => false,
        };
        if !is_safe {
            return Err(Failure::usage(
                "notify.url must begin with https://, or others could read the token",
            ));
        }
        let client = Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).build();
        let client = client.map_err(|error| Failure::refused("HTTP cannot be set up").caused_by(error))?;
        Ok(Some(Self { client, address, token: notify.token.clone() }))
    }
}

#[async_trait]
impl Receiver for Http {
    fn setting(&self) -> &'static str {
        "notify.url"
    }

    /// The error has neither token nor URL, whose path may be secret.
    async fn send(&self, message: &Value) -> Result<(), String> {
        let request = self.client.post(self.address.url().clone()).json(message);
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        let answer = request.send().await.map_err(|error| innermost(&error.without_url()))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
    }
}
