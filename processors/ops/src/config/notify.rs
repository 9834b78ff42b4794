//! Notifications of errors, for operators without Prometheus.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::at_least;
use super::secret::{Hidden, from_file};
use super::units::Human;
use crate::address::Address;
use crate::failure::Failure;

/// Who is told of errors, and how often.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Notify {
    /// Errors are sent here (POST, JSON): new dead letters, stuck sagas, calls that were given up, an auditor that finds
    /// differences, a lost slot, outages, and the end of each. Without it no error is told. One process of the namespace sends; it
    /// needs `metrics.interval`.
    pub url: Option<Address>,
    /// The address of a person who is told the same by mail, with the server of `mail.url`.
    pub mail: Option<String>,
    /// The bearer token of requests to `notify.url`.
    #[serde_as(as = "Option<Hidden>")]
    pub token: Option<SecretString>,
    /// A file with the token.
    pub token_file: Option<PathBuf>,
    /// There is at most one request in this time, with everything that is new.
    #[serde_as(as = "Human")]
    pub interval: Duration,
    /// An outage is told when it has lasted for this long.
    #[serde_as(as = "Human")]
    pub outage_after: Duration,
}

impl Default for Notify {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { url: None, mail: None, token: None, token_file: None, interval: minute, outage_after: minute }
    }
}

impl Notify {
    pub(super) fn with_secrets(mut self) -> Result<Self, Failure> {
        self.token = from_file("notify.token_file", self.token_file.as_deref(), self.token)?;
        Ok(self)
    }

    pub(super) fn problems(&self, is_observed: bool, has_server: bool) -> Vec<String> {
        let configured = self.url.is_some() || self.mail.is_some();
        let blind = (configured && !is_observed).then(|| {
            "notify.url and notify.mail need metrics.interval: what is not queried cannot be told".to_owned()
        });
        let unsent = (self.mail.is_some() && !has_server).then(|| "notify.mail needs mail.url".to_owned());
        let address =
            |mail: &String| mail.parse::<lettre::Address>().err().map(|why| format!("notify.mail: {why}"));
        let unreadable = self.mail.as_ref().and_then(address);
        let often = at_least("notify.interval", self.interval, Duration::from_millis(100));
        [blind, unsent, unreadable, often].into_iter().flatten().collect()
    }
}
