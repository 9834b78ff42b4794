//! The payment provider.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::secret::{Hidden, from_file};
use super::units::Human;
use crate::address::Address;
use crate::failure::Failure;

/// How the payment provider is reached, and how its webhooks are verified.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Payment {
    /// The provider's URL; without it no payments are requested.
    pub url: Option<Address>,
    /// The bearer token of calls.
    #[serde_as(as = "Option<Hidden>")]
    pub token: Option<SecretString>,
    /// A file with the token.
    pub token_file: Option<PathBuf>,
    /// How long the provider remembers an idempotency key. After this time a call whose outcome is unknown is not repeated,
    /// only queried.
    #[serde_as(as = "Human")]
    pub key_window: Duration,
    /// The secret that signs the provider's webhooks, in base64. During a rotation: both secrets, separated by a space.
    #[serde_as(as = "Option<Hidden>")]
    pub webhook_secret: Option<SecretString>,
    /// A file with that secret, or with several, one per line; read at the start of the process.
    pub webhook_secret_file: Option<PathBuf>,
}

impl Default for Payment {
    fn default() -> Self {
        Self {
            url: None,
            token: None,
            token_file: None,
            key_window: Duration::from_secs(24 * 3_600),
            webhook_secret: None,
            webhook_secret_file: None,
        }
    }
}

impl Payment {
    pub(super) fn with_secrets(mut self) -> Result<Self, Failure> {
        self.token = from_file("payment.token_file", self.token_file.as_deref(), self.token)?;
        let file = self.webhook_secret_file.as_deref();
        self.webhook_secret = from_file("payment.webhook_secret_file", file, self.webhook_secret)?;
        Ok(self)
    }
}
