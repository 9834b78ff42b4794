//! A proxy that ends TLS and lets pass who proves who they are, as in front of a registry or of Connect.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio_native_tls::native_tls::{Identity, TlsAcceptor};
use tokio_native_tls::{TlsAcceptor as Acceptor, TlsStream};

/// In front of one service.
#[derive(Clone)]
pub(crate) struct Proxy {
    behind: String,
    /// The only accepted header `Authorization`.
    accepted: Arc<RwLock<String>>,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// In front of `behind`, such as `http://127.0.0.1:8083`, with the server's certificate in `tls`.
    pub(crate) async fn before(behind: &str, tls: &Path, accepted: &str) -> Self {
        let [certificate, key] = ["server.crt", "server.key"]
            .map(|file| std::fs::read(tls.join(file)).expect("the server's certificate"));
        let identity = Identity::from_pkcs8(&certificate, &key).expect("a certificate with its key");
        let acceptor = Acceptor::from(TlsAcceptor::new(identity).expect("TLS"));
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = tcp.local_addr().expect("its address");
        let accepted = Arc::new(RwLock::new(accepted.to_owned()));
        let proxy = Self { behind: behind.to_owned(), accepted, address };
        let router = Router::new().fallback(passed).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(Encrypted { tcp, acceptor }, router).await });
        proxy
    }

    /// From now on another header is accepted, and the former one is not.
    pub(crate) fn accepts(&self, header: &str) {
        header.clone_into(&mut self.accepted.write().expect("no panic"));
    }
}

async fn passed(
    State(proxy): State<Proxy>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let accepted = proxy.accepted.read().expect("no panic").clone();
    if headers.get(AUTHORIZATION).is_none_or(|given| given.as_bytes() != accepted.as_bytes()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = reqwest::Client::new().request(method, format!("{}{path}", proxy.behind));
    let kind = headers.get(CONTENT_TYPE);
    let request = kind.into_iter().fold(request, |request, kind| request.header(CONTENT_TYPE, kind));
    match request.body(body).send().await {
        Ok(answer) => (answer.status(), answer.bytes().await.unwrap_or_default()).into_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

struct Encrypted {
    tcp: TcpListener,
    acceptor: Acceptor,
}

impl Listener for Encrypted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (connection, from) = Listener::accept(&mut self.tcp).await;
            // A client that does not trust the certificate leaves.
            if let Ok(encrypted) = self.acceptor.accept(connection).await {
                return (encrypted, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
