//! Certificates that servers show. They are not verified here: one that is not valid any more must be seen, too.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use futures::future::join_all;
use openssl::error::ErrorStack;
use openssl::ssl::{ConnectConfiguration, HandshakeError, SslConnector, SslMethod, SslRef, SslVerifyMode};
use openssl::x509::X509;
use tokio::time::timeout;

use super::{Certificate, databases, own_end};
use crate::address::Address;
use crate::config::Config;

/// How long a server may take for each step.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long all steps may take: one that sends a byte now and then must not hold up those who ask.
const ALL_WITHIN: Duration = Duration::from_secs(6);
/// What a client of Postgres sends to ask for TLS, and the answer when it may have it.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const SSL_GRANTED: u8 = b'S';
const POSTGRES_PORT: u16 = 5432;

/// A server that speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    setting: String,
    host: String,
    port: u16,
    /// Whether TLS begins after a request, as with Postgres.
    asks_first: bool,
}

/// The certificates of all servers that are reached with TLS. A server that does not answer is not among them: other checks say so.
pub(super) async fn all(config: &Config) -> Vec<Certificate> {
    let asked = servers(config)
        .into_iter()
        .map(|server| timeout(ALL_WITHIN, tokio::task::spawn_blocking(move || shown(&server))));
    join_all(asked).await.into_iter().filter_map(|shown| shown.ok()?.ok()?).collect()
}

fn servers(config: &Config) -> Vec<Server> {
    let services = [
        ("elasticsearch.url", &config.elasticsearch.url),
        ("registry.url", &config.registry.url),
        ("connect.url", &config.connect.url),
    ];
    let services = services.into_iter().filter_map(|(setting, url)| of_service(setting, url));
    let databases = databases(config).into_iter().filter_map(|(setting, url)| of_database(setting, url));
    services.chain(databases).chain(brokers(config)).collect()
}

fn of_service(setting: &str, url: &Address) -> Option<Server> {
    (url.url().scheme() == "https").then_some(())?;
    let (host, port) = (host(url)?, url.url().port_or_known_default()?);
    Some(Server { setting: setting.to_owned(), host, port, asks_first: false })
}

fn of_database(setting: &str, url: &Address) -> Option<Server> {
    let with_tls = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
        name == "sslmode" && ["require", "verify-ca", "verify-full"].contains(&&*value)
    };
    url.url().query_pairs().any(with_tls).then_some(())?;
    let port = url.url().port().unwrap_or(POSTGRES_PORT);
    Some(Server { setting: setting.to_owned(), host: host(url)?, port, asks_first: true })
}

fn host(url: &Address) -> Option<String> {
    url.url().host_str().map(|host| host.trim_matches(['[', ']']).to_owned())
}

fn brokers(config: &Config) -> Vec<Server> {
    let properties = config.kafka.revealed();
    let with_tls =
        properties.get("security.protocol").is_some_and(|name| name.to_lowercase().contains("ssl"));
    let listed = config.kafka.brokers.split(',').filter(|_| with_tls);
    let server = |listed: &str| {
        let (host, port) = listed.trim().rsplit_once(':')?;
        let setting = format!("kafka.brokers {}", listed.trim());
        Some(Server { setting, host: host.to_owned(), port: port.parse().ok()?, asks_first: false })
    };
    listed.filter_map(server).collect()
}

fn shown(server: &Server) -> Option<Certificate> {
    let stream = ready(server).ok()?;
    let ends = chain(server, stream).transpose()?.and_then(|chain| own_end(&chain));
    let ends = ends.and_then(|end| end.ok_or_else(|| "the server shows no certificate".to_owned()));
    Some(Certificate { setting: server.setting.clone(), ends })
}

/// A connection that waits for nothing for long. Blocks.
///
/// # Errors
/// When the host is unknown or does not answer.
pub(crate) fn connected(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut addresses = (host, port).to_socket_addrs()?;
    let address = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    Ok(stream)
}

/// A connection on which TLS may begin.
fn ready(server: &Server) -> std::io::Result<TcpStream> {
    let mut stream = connected(&server.host, server.port)?;
    if server.asks_first {
        stream.write_all(&SSL_REQUEST)?;
        let mut answer = [0; 1];
        stream.read_exact(&mut answer)?;
        if answer != [SSL_GRANTED] {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
    }
    Ok(stream)
}

/// A client that takes any server for what it says it is: nothing secret may be sent.
///
/// # Errors
/// When TLS cannot be set up.
pub(crate) fn unverified() -> Result<ConnectConfiguration, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    builder.set_verify(SslVerifyMode::NONE);
    Ok(builder.build().configure()?.verify_hostname(false))
}

/// `None` when the server does not answer.
fn chain(server: &Server, stream: TcpStream) -> Result<Option<Vec<X509>>, String> {
    let client = unverified().map_err(|error| error.to_string())?;
    match client.connect(&server.host, stream) {
        Ok(session) => Ok(Some(chain_of(session.ssl()))),
        // A server that wants a certificate of ours has shown its own by then.
        Err(HandshakeError::Failure(failed)) if failed.ssl().peer_cert_chain().is_some() => {
            Ok(Some(chain_of(failed.ssl())))
        }
        Err(HandshakeError::WouldBlock(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn chain_of(session: &SslRef) -> Vec<X509> {
    session.peer_cert_chain().into_iter().flatten().map(|certificate| certificate.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use chrono::{TimeDelta, Utc};
    use openssl::ssl::{SslAcceptor, SslVersion};

    use super::super::tests::certificate;
    use super::*;

    /// A server with a certificate for so many days that wants one of its clients; one that is asked first waits for the request.
    fn serve(days: u32, asks_first: bool, version: Option<SslVersion>) -> u16 {
        let (certificate, key) = certificate(days);
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        builder.set_certificate(&certificate).unwrap();
        builder.set_private_key(&key).unwrap();
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        builder.set_max_proto_version(version).unwrap();
        let (acceptor, listener) = (builder.build(), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            if asks_first {
                let mut request = [0; 8];
                stream.read_exact(&mut request).unwrap();
                assert_eq!(request, SSL_REQUEST);
                stream.write_all(&[SSL_GRANTED]).unwrap();
            }
            drop(acceptor.accept(stream));
        });
        port
    }

    #[tokio::test]
    async fn a_server_tells_when_its_certificate_ends_and_one_that_is_away_nothing() {
        let [registry, database] = [serve(5, false, Some(SslVersion::TLS1_2)), serve(7, true, None)];
        let config = Config::with(&[
            format!("registry.url=https://127.0.0.1:{registry}"),
            format!("postgres.read.url=postgres://a@127.0.0.1:{database}/x?sslmode=require"),
            "elasticsearch.url=https://127.0.0.1:1".to_owned(),
        ]);
        let found = all(&config.unwrap()).await;
        let days = |certificate: &Certificate| {
            (certificate.ends.clone().unwrap() - Utc::now() + TimeDelta::hours(1)).num_days()
        };
        let found: Vec<(&str, i64)> = found.iter().map(|one| (one.setting.as_str(), days(one))).collect();
        assert_eq!(found, [("registry.url", 5), ("postgres.read.url", 7)]);
    }

    #[test]
    fn only_what_is_reached_with_tls_is_asked() {
        let config = Config::with(&["postgres.write.url=postgres://a@db/x?sslmode=prefer"]).unwrap();
        assert_eq!(servers(&config), []);
    }
}
