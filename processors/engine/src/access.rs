//! How the services that speak HTTP are reached: trusted certificates, an own certificate, and credentials. All of them come from
//! files, which are read again when they change.

mod renewed;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use elasticsearch::auth::{ClientCertificate, Credentials as Certificate};
use elasticsearch::cert::{self, CertificateValidation};
use elasticsearch::http::transport::TransportBuilder;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::X509;
use reqwest::ClientBuilder;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

pub use renewed::Renewed;

/// What a file of a CA must have.
const CERTIFICATES: &str = "certificates in PEM";

/// The files with which a service is reached. None of them is read before a client is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Certificates in PEM that are trusted beside those of the system.
    pub ca: Option<PathBuf>,
    /// An own certificate with its chain, and its key in PKCS #8, both in PEM (mutual TLS).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// What proves who asks.
    pub credentials: Option<Credentials>,
}

/// What proves who asks, in the header `Authorization`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user, and the file with the password (RFC 7617).
    Basic(String, PathBuf),
    /// The file with a bearer token (RFC 6750).
    Bearer(PathBuf),
    /// The file with an API key of Elasticsearch, as it was encoded by it.
    ApiKey(PathBuf),
}

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read.
    #[error("the file {} cannot be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// A file has nothing of the kind that is expected. Never with its content.
    #[error("the file {} has no usable {}", .0.display(), .1)]
    Unusable(PathBuf, &'static str, #[source] Box<dyn Error + Send + Sync>),
    /// The client refuses its settings.
    #[error("the client cannot be made")]
    Client(#[source] Box<dyn Error + Send + Sync>),
}

impl AccessError {
    /// With the client's own reason.
    pub fn client(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Client(Box::new(error))
    }

    fn unusable<E: Error + Send + Sync + 'static>(file: &Path, what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Unusable(file.to_owned(), what, Box::new(error))
    }
}

impl Access {
    /// The files that clients are made of.
    pub fn files(&self) -> Vec<PathBuf> {
        let Self { ca, identity, credentials } = self;
        let identity = identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        let secret = credentials.iter().map(Credentials::file);
        ca.iter().chain(identity).chain(secret).cloned().collect()
    }

    /// Gives a client of HTTP its certificates and its header.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn of_client(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, AccessError> {
        if let Some(file) = &self.ca {
            let trusted = reqwest::Certificate::from_pem_bundle(&read(file)?);
            let trusted = trusted.map_err(AccessError::unusable(file, CERTIFICATES))?;
            if trusted.is_empty() {
                return Err(AccessError::unusable(file, CERTIFICATES)(io::Error::from(
                    io::ErrorKind::InvalidData,
                )));
            }
            builder = builder.tls_certs_merge(trusted);
        }
        if let Some((certificate, key)) = &self.identity {
            let identity = reqwest::Identity::from_pkcs8_pem(&read(certificate)?, &read(key)?);
            builder = builder.identity(identity.map_err(AccessError::unusable(key, "certificate and key"))?);
        }
        Ok(match self.authorization()? {
            Some(header) => builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, header)])),
            None => builder,
        })
    }

    /// Gives Elasticsearch's client the same.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn of_elasticsearch(&self, mut builder: TransportBuilder) -> Result<TransportBuilder, AccessError> {
        if let Some(file) = &self.ca {
            let trusted = cert::Certificate::from_pem(&read(file)?);
            let trusted = trusted.map_err(AccessError::unusable(file, CERTIFICATES))?;
            builder = builder.cert_validation(CertificateValidation::Full(trusted));
        }
        if let Some((certificate, key)) = &self.identity {
            let archive = archive(&read(certificate)?, &read(key)?);
            let archive = archive.map_err(AccessError::unusable(key, "certificate and key"))?;
            builder = builder.auth(Certificate::Certificate(ClientCertificate::Pkcs12(archive, None)));
        }
        Ok(match self.authorization()? {
            Some(header) => builder.header(AUTHORIZATION, header),
            None => builder,
        })
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, AccessError> {
        self.credentials.as_ref().map(Credentials::header).transpose()
    }
}

impl Credentials {
    fn file(&self) -> &PathBuf {
        match self {
            Self::Basic(_, file) | Self::Bearer(file) | Self::ApiKey(file) => file,
        }
    }

    /// The header that proves it, marked as sensitive.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn header(&self) -> Result<HeaderValue, AccessError> {
        let file = self.file();
        let bytes = read(file)?;
        let text = String::from_utf8(bytes).map_err(AccessError::unusable(file, "secret"))?;
        let secret = text.trim_end();
        if secret.is_empty() {
            return Err(AccessError::unusable(file, "secret")(io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        let header = match self {
            Self::Basic(user, _) => format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{secret}"))),
            Self::Bearer(_) => format!("Bearer {secret}"),
            Self::ApiKey(_) => format!("ApiKey {secret}"),
        };
        let mut header = HeaderValue::try_from(header).map_err(AccessError::unusable(file, "secret"))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

fn read(file: &Path) -> Result<Vec<u8>, AccessError> {
    std::fs::read(file).map_err(|error| AccessError::Unreadable(file.to_owned(), error))
}

/// As Elasticsearch's client takes it: PKCS #12.
fn archive(certificates: &[u8], key: &[u8]) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    let mut certificates = X509::stack_from_pem(certificates)?.into_iter();
    let mut archive = Pkcs12::builder();
    archive.pkey(&*PKey::private_key_from_pem(key)?);
    if let Some(own) = certificates.next() {
        archive.cert(&own);
    }
    let mut chain = Stack::new()?;
    certificates.try_for_each(|certificate| chain.push(certificate))?;
    archive.ca(chain).build2("")?.to_der()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(
        credentials: impl FnOnce(PathBuf) -> Credentials,
        content: &str,
    ) -> Result<HeaderValue, AccessError> {
        let file = std::env::temp_dir().join(format!("millrace-access-{}", uuid::Uuid::now_v7()));
        std::fs::write(&file, content).unwrap();
        let header = credentials(file.clone()).header();
        std::fs::remove_file(file).unwrap();
        header
    }

    #[test]
    fn each_kind_of_credentials_has_its_header_which_is_never_shown() {
        let basic = header(|file| Credentials::Basic("Aladdin".to_owned(), file), "open sesame\n").unwrap();
        // RFC 7617, section 2.
        assert_eq!(basic, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(header(Credentials::Bearer, "t0ken\n").unwrap(), "Bearer t0ken");
        assert_eq!(header(Credentials::ApiKey, "a2V5").unwrap(), "ApiKey a2V5");
        assert_eq!(format!("{basic:?}"), "Sensitive");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_and_its_content_is_not() {
        let refused = header(Credentials::Bearer, "s3cret\nanother").unwrap_err();
        let told = format!("{refused}: {:?}", refused.source());
        assert!(told.contains("millrace-access-") && !told.contains("s3cret"), "{told}");
        assert!(header(Credentials::Bearer, "\n").is_err(), "an empty file is no secret");
        let missing = Credentials::Bearer(PathBuf::from("/nowhere/token")).header().unwrap_err();
        assert_eq!(missing.to_string(), "the file /nowhere/token cannot be read");
        let access = Access { ca: Some(PathBuf::from("Cargo.toml")), ..Access::default() };
        let [client, elasticsearch] = [
            access.of_client(ClientBuilder::new()).map(|_| ()),
            access.of_elasticsearch(TransportBuilder::default()).map(|_| ()),
        ];
        for refused in [client, elasticsearch] {
            assert_eq!(
                refused.unwrap_err().to_string(),
                "the file Cargo.toml has no usable certificates in PEM"
            );
        }
    }
}
