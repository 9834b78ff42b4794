//! What requests are answered with, and the limits that every request passes first.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::send::SingleSender;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::access::CallerName;
use crate::asyncapi;
use crate::clients::Clients;
use crate::openapi;
use crate::problem::{Kind, Problem};
use crate::queries::Queries;
use crate::receipts::Asking;
use crate::unread::Unread;

/// When a client may try again that was too fast or came when all places were taken, in seconds.
pub(crate) const RETRY_AFTER: u16 = 1;
/// Batches under way, at most: each has its body and its answer in memory.
const BATCHES_MAX: usize = 4;
/// Bytes of files of pages that their callers have not read yet, at most: sixteen of the largest file. They are a part of the program, so
/// they take connections, not memory.
const PAGES_BYTES_MAX: usize = 26 << 20;

/// The role's clients, connections and limits.
pub(crate) struct Gateway {
    pub(crate) config: Config,
    pub(crate) sender: SingleSender,
    pub(crate) receipts: Asking,
    /// The read side, when it is configured.
    pub(crate) queries: Option<Queries>,
    /// The OpenAPI document, made when it is asked for first.
    document: OnceLock<Bytes>,
    /// The AsyncAPI document, likewise.
    topics: OnceLock<Bytes>,
    /// Requests that wait for an outcome are answered when the process stops.
    pub(crate) stop: CancellationToken,
    clients: Clients,
    room: Semaphore,
    /// Places of answers that wait to be read.
    unread: Unread,
    /// Those of files of pages, which need no token.
    pub(crate) pages: Unread,
    /// Places of batches.
    pub(crate) batches: Semaphore,
}

impl Gateway {
    /// Connects when first used.
    ///
    /// # Errors
    /// [`Failure::Usage`], which names the setting.
    pub(crate) fn new(config: &Config, stop: CancellationToken) -> Result<Arc<Self>, Failure> {
        let receipts = Asking::new(&config.gateway)?;
        let receipts = receipts.ok_or_else(|| Failure::usage("gateway.receipts_url is not set"))?;
        Ok(Arc::new(Self {
            sender: SingleSender::new(config)?,
            receipts,
            queries: Queries::new(config)?,
            document: OnceLock::new(),
            topics: OnceLock::new(),
            stop,
            clients: Clients::new(&config.gateway),
            room: Semaphore::new(config.gateway.requests_max),
            unread: Unread::default(),
            pages: Unread::of(PAGES_BYTES_MAX),
            batches: Semaphore::new(BATCHES_MAX),
            config: config.clone(),
        }))
    }

    /// The OpenAPI document as JSON.
    pub(crate) fn document(&self) -> Bytes {
        self.document.get_or_init(|| openapi::document(&self.config).to_string().into()).clone()
    }

    /// The AsyncAPI document as JSON.
    pub(crate) fn topics(&self) -> Bytes {
        self.topics.get_or_init(|| asyncapi::document(&self.config).to_string().into()).clone()
    }

    /// The longest that a request may wait for its outcome.
    pub(crate) fn wait_max(&self) -> Duration {
        self.config.gateway.wait_max
    }
}

/// Passes a request on whose client is known and within its rate, while there is room.
pub(crate) async fn admit(State(gateway): State<Arc<Gateway>>, mut request: Request, next: Next) -> Response {
    let Some(client) = gateway.clients.authenticated(request.headers()) else {
        return Problem::unauthenticated().into_response();
    };
    let name = CallerName(client.name.clone());
    let mut response = if !client.may_call(Instant::now()) {
        let detail =
            format!("the client may send {} requests per second", gateway.config.gateway.requests_per_second);
        Problem::new(Kind::RATE, detail).retry_after(RETRY_AFTER).into_response()
    } else if let Ok(_place) = gateway.room.try_acquire() {
        request.extensions_mut().insert(client.clone());
        Unread::held([&gateway.unread, &client.unread], next.run(request).await).await
    } else {
        let detail = "too many requests are under way; try again";
        Problem::new(Kind::FULL, detail).retry_after(RETRY_AFTER).into_response()
    };
    response.extensions_mut().insert(name);
    response
}
