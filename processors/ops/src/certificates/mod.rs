//! Until when the certificates are valid that this instance depends on: those in its files, and those that the servers show.

mod files;
mod servers;

use chrono::{DateTime, Utc};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::x509::X509;

use crate::config::Config;

const SECONDS_OF_A_DAY: i64 = 86_400;

/// A file or a server with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// The setting that names it, such as `elasticsearch.url`.
    pub(crate) setting: String,
    /// When the first certificate of its chain ends, or why that is not known.
    pub(crate) ends: Result<DateTime<Utc>, String>,
}

/// All certificates; changes nothing. A setting without TLS has none.
pub(crate) async fn all(config: &Config) -> Vec<Certificate> {
    let mut all = files::all(config);
    all.extend(servers::all(config).await);
    all
}

/// When the first of these ends; `None` without any.
fn first_end<'c>(certificates: impl Iterator<Item = &'c X509>) -> Result<Option<DateTime<Utc>>, String> {
    let ends = certificates.map(|certificate| time(certificate.not_after()));
    let ends = ends.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    Ok(ends.into_iter().flatten().min())
}

fn time(of: &Asn1TimeRef) -> Result<Option<DateTime<Utc>>, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(of)?;
    let seconds = i64::from(since.days) * SECONDS_OF_A_DAY + i64::from(since.secs);
    Ok(DateTime::from_timestamp(seconds, 0))
}

#[cfg(test)]
pub(super) mod tests {
    use chrono::TimeDelta;
    use openssl::hash::MessageDigest;
    use openssl::pkey::{PKey, Private};
    use openssl::rsa::Rsa;
    use openssl::x509::X509Builder;

    use super::*;

    /// A certificate that ends after so many days, with its key.
    pub(crate) fn certificate(days: u32) -> (X509, PKey<Private>) {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut builder = X509Builder::new().unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(days).unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        (builder.build(), key)
    }

    #[test]
    fn of_a_chain_the_first_end_counts() {
        let chain = [certificate(30).0, certificate(3).0];
        let left = first_end(chain.iter()).unwrap().unwrap() - Utc::now();
        assert!(left > TimeDelta::days(2) && left <= TimeDelta::days(3), "{left}");
        assert_eq!(first_end([].into_iter()), Ok(None));
    }
}
