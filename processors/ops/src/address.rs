//! Addresses that may carry a password, which nothing prints.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use reqwest::Url;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The URL of a database or a service. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// An address that is part of the program.
    #[allow(clippy::expect_used, reason = "a literal; a test reads all of them")]
    pub fn literal(text: &'static str) -> Self {
        text.parse().expect("a URL")
    }

    /// The whole URL, for the client that connects.
    pub fn reveal(&self) -> &str {
        self.0.as_str()
    }

    /// The parsed URL.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Whether nothing that is sent there leaves the machine.
    pub fn is_loopback(&self) -> bool {
        match self.0.host_str().map(|host| host.trim_matches(['[', ']'])) {
            Some("localhost") => true,
            Some(host) => host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
            None => false,
        }
    }

    /// The address with the password from a file, without the final newline.
    ///
    /// # Errors
    /// When the file cannot be read or the URL has no place for a password; names the file, never its content.
    pub fn with_password_file(mut self, file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let password = text.strip_suffix('\n').unwrap_or(&text);
        let password = password.strip_suffix('\r').unwrap_or(password);
        let set = self.0.set_password(Some(password));
        set.map_err(|()| {
            format!("{self}: a URL without host has no place for the password in {}", file.display())
        })?;
        Ok(self)
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The text is not quoted: it may contain a password.
        let url = Url::parse(text)
            .map_err(|error| format!("not a URL ({error}); such as http://127.0.0.1:8081"))?;
        Ok(Self(url))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        let _ = shown.set_password(self.0.password().map(|_| "***"));
        // A query may contain `password=`.
        shown.set_query(None);
        f.write_str(shown.as_str())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_shown() {
        let address: Address = "postgres://millrace:s3cret@db:5432/write?password=s3cret".parse().unwrap();
        for shown in [format!("{address}"), format!("{address:?}"), serde_json::to_string(&address).unwrap()]
        {
            assert!(!shown.contains("s3cret") && shown.contains("millrace:***@db:5432/write"), "{shown}");
        }
        assert!(address.reveal().contains("s3cret"));
    }

    #[test]
    fn a_password_comes_from_a_file() {
        let file = std::env::temp_dir().join(format!("millrace-password-{}", std::process::id()));
        std::fs::write(&file, "p@ss/word\n").unwrap();
        let address: Address = "postgres://millrace@db/write".parse().unwrap();
        let address = address.with_password_file(&file).unwrap();
        assert_eq!(address.reveal(), "postgres://millrace:p%40ss%2Fword@db/write");
        std::fs::remove_file(&file).unwrap();
        let error = address.with_password_file(&file).unwrap_err();
        assert!(error.contains("millrace-password"), "{error}");
    }

    #[test]
    fn a_refusal_does_not_repeat_the_text() {
        let error = "postgres//millrace:s3cret@db".parse::<Address>().unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
