//! Until when the certificates are valid that this instance depends on: those in its files, and those that the servers show.

mod files;
pub(crate) mod servers;

use chrono::{DateTime, Utc};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::x509::X509;

use crate::address::Address;
use crate::config::{Config, Postgres};

const SECONDS_OF_A_DAY: i64 = 86_400;

/// A file or a server with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// The setting that names it, such as `elasticsearch.url`.
    pub(crate) setting: String,
    /// When it ends, or why that is not known.
    pub(crate) ends: Result<DateTime<Utc>, String>,
}

/// All certificates; changes nothing. A setting without TLS has none.
pub(crate) async fn all(config: &Config) -> Vec<Certificate> {
    let mut all = files::all(config);
    all.extend(servers::all(config).await);
    all
}

/// The URLs of both databases, with their settings.
fn databases(config: &Config) -> [(&'static str, &Address); 2] {
    let Postgres { write, read, .. } = &config.postgres;
    [("postgres.write.url", &write.url), ("postgres.read.url", &read.url)]
}

/// When the certificate of a server or of ours ends, the first of its chain; `None` without any.
fn own_end(chain: &[X509]) -> Result<Option<DateTime<Utc>>, String> {
    latest_end(chain.get(..1).unwrap_or_default())
}

/// When the last of some authorities ends: during a rotation there are two, and a system's bundle may have some that have ended.
fn latest_end(authorities: &[X509]) -> Result<Option<DateTime<Utc>>, String> {
    let ends = authorities.iter().map(|certificate| time(certificate.not_after()));
    let ends = ends.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    Ok(ends.into_iter().flatten().max())
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
    fn of_a_chain_its_own_certificate_counts_and_of_authorities_the_last_that_ends() {
        let all = [certificate(3).0, certificate(30).0, certificate(1).0];
        let days = |end: Result<Option<DateTime<Utc>>, String>| {
            (end.unwrap().unwrap() - Utc::now() + TimeDelta::hours(1)).num_days()
        };
        assert_eq!((days(own_end(&all)), days(latest_end(&all))), (3, 30));
        assert_eq!((own_end(&[]), latest_end(&[])), (Ok(None), Ok(None)));
    }
}
