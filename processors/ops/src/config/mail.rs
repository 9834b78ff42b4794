//! The mail server.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::failure::Failure;

/// How mails are sent.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Mail {
    /// The server: `smtps://user@host`, `smtp://user@host?tls=required`, or `smtp://127.0.0.1:2525` on loopback. Without it no
    /// mails are sent.
    pub url: Option<Address>,
    /// A file with the password of the user in `mail.url`.
    pub password_file: Option<PathBuf>,
    /// The sender, such as `Shop <shop@example.com>`; required with `mail.url`.
    pub from: Option<String>,
}

impl Mail {
    pub(super) fn with_password(mut self) -> Result<Self, Failure> {
        if let (Some(url), Some(file)) = (&self.url, &self.password_file) {
            let read = url.clone().with_password_file(file);
            self.url =
                Some(read.map_err(|problem| Failure::usage(format!("mail.password_file: {problem}")))?);
        }
        Ok(self)
    }
}
