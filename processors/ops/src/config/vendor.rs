//! The vendor of campaigns' messages.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::positive;
use super::secret::{Hidden, from_file};
use super::units::Human;
use crate::address::Address;
use crate::failure::Failure;

/// How the vendor is reached, and at what rate.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Vendor {
    /// The vendor's URL; without it no messages are sent.
    pub url: Option<Address>,
    /// The bearer token of calls.
    #[serde_as(as = "Option<Hidden>")]
    pub token: Option<SecretString>,
    /// A file with the token.
    pub token_file: Option<PathBuf>,
    /// How long the vendor remembers an idempotency key. After this time a call whose outcome is unknown is not repeated, only
    /// queried.
    #[serde_as(as = "Human")]
    pub key_window: Duration,
    /// Messages per second that each process sends to the vendor, at most.
    pub messages_per_second: u32,
}

impl Default for Vendor {
    fn default() -> Self {
        Self {
            url: None,
            token: None,
            token_file: None,
            key_window: Duration::from_secs(24 * 3_600),
            messages_per_second: 500,
        }
    }
}

impl Vendor {
    pub(super) fn with_secrets(mut self) -> Result<Self, Failure> {
        self.token = from_file("vendor.token_file", self.token_file.as_deref(), self.token)?;
        Ok(self)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        positive("vendor.messages_per_second", self.messages_per_second).into_iter().collect()
    }
}
