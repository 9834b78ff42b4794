//! How a service that speaks HTTP is reached: the same settings for each of them.

use std::path::PathBuf;

use millrace_engine::access::{self, Credentials};
use serde::{Deserialize, Serialize};

use crate::address::Address;

/// Certificates and credentials. The files are read again when they change.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Access {
    /// The user of basic authentication.
    pub user: Option<String>,
    /// A file with the user's password.
    pub password_file: Option<PathBuf>,
    /// A file with a bearer token, instead of a user.
    pub token_file: Option<PathBuf>,
    /// A file with the certificates in PEM that are trusted beside those of the system, such as that of an own CA.
    pub ca_file: Option<PathBuf>,
    /// A file with an own certificate and its chain in PEM, for mutual TLS.
    pub certificate_file: Option<PathBuf>,
    /// A file with its key, in PKCS #8 and PEM.
    pub key_file: Option<PathBuf>,
}

impl Access {
    /// The files and the user, for a client.
    pub fn files(&self) -> access::Access {
        let Self { ca_file, certificate_file, key_file, .. } = self.clone();
        access::Access {
            ca: ca_file,
            identity: certificate_file.zip(key_file),
            credentials: self.credentials(),
        }
    }

    fn credentials(&self) -> Option<Credentials> {
        let Self { user, password_file, token_file, .. } = self.clone();
        let basic = user.zip(password_file).map(|(user, file)| Credentials::Basic(user, file));
        basic.or(token_file.map(Credentials::Bearer))
    }

    /// Problems of the settings of `component`, such as `registry`, whose service is at `url`.
    pub(super) fn problems(&self, component: &str, url: &Address) -> Vec<String> {
        let problems =
            [self.half(component), self.several(component, url), self.in_plain_text(component, url)];
        problems.into_iter().flatten().collect()
    }

    fn half(&self, component: &str) -> Option<String> {
        let pairs = [
            (["user", "password_file"], self.user.is_some(), self.password_file.is_some()),
            (["certificate_file", "key_file"], self.certificate_file.is_some(), self.key_file.is_some()),
        ];
        let half = pairs.into_iter().find(|(_, left, right)| left != right)?;
        let [left, right] = half.0;
        Some(format!("{component}.access.{left} and {component}.access.{right} need each other"))
    }

    fn several(&self, component: &str, url: &Address) -> Option<String> {
        let given = [!url.url().username().is_empty(), self.user.is_some(), self.token_file.is_some()];
        (given.into_iter().filter(|given| *given).count() > 1).then(|| {
            format!("{component}: only one of a user in {component}.url, access.user and access.token_file can be set")
        })
    }

    /// Credentials that anybody on the way could read.
    fn in_plain_text(&self, component: &str, url: &Address) -> Option<String> {
        let shows = url.url().password().is_some() || self.credentials().is_some();
        shows.then(|| plain_text(component, url))?
    }
}

/// The problem of credentials that are sent to `url`.
pub(super) fn plain_text(component: &str, url: &Address) -> Option<String> {
    (url.url().scheme() == "http" && !url.is_loopback()).then(|| {
        format!("{component}.url: {url} would carry credentials in plain text: use https, or an address on loopback")
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn problem(settings: &[&str]) -> Option<String> {
        Config::with(settings).err().map(|failure| failure.to_string())
    }

    #[test]
    fn credentials_never_leave_the_machine_in_plain_text() {
        for component in ["registry", "connect", "elasticsearch"] {
            let secret = format!("{component}.access.token_file=/run/secrets/token");
            let at = |url: &str| problem(&[&format!("{component}.url={url}"), &secret]);
            assert_eq!(at("https://far.example:1"), None);
            assert_eq!(at("http://127.0.0.1:1"), None);
            assert_eq!(at("http://[::1]:1"), None);
            let refused = at("http://far.example:1").expect("a problem");
            assert!(refused.contains("in plain text: use https"), "{refused}");
            let in_url =
                problem(&[&format!("{component}.url=http://a:s3cret@far.example:1")]).expect("a problem");
            assert!(in_url.contains("in plain text") && !in_url.contains("s3cret"), "{in_url}");
        }
    }

    #[test]
    fn what_needs_another_setting_or_excludes_it_is_told() {
        let half = problem(&["registry.access.user=millrace"]).expect("a problem");
        assert!(
            half.contains("registry.access.user and registry.access.password_file need each other"),
            "{half}"
        );
        let half = problem(&["connect.access.key_file=/k"]).expect("a problem");
        assert!(half.contains("connect.access.certificate_file and"), "{half}");
        let both = ["elasticsearch.access.token_file=/t", "elasticsearch.api_key_file=/k"];
        assert!(problem(&both).expect("a problem").contains("elasticsearch.api_key_file excludes"));
        let both = ["registry.access.token_file=/t", "registry.url=https://a:b@c:1"];
        assert!(problem(&both).expect("a problem").contains("only one of"));
        let key = ["elasticsearch.api_key_file=/k", "elasticsearch.url=http://far.example:1"];
        assert!(problem(&key).expect("a problem").contains("in plain text"));
    }
}
