//! Elasticsearch behind a proxy that injects faults into the answers to `_bulk`; the documents are forwarded, or not.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::stack::stack;

/// Of the documents of a request, one in so many is refused by [`Manner::InPart`].
const ONE_IN: usize = 3;

/// How `_bulk` is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    /// Elasticsearch's answer.
    #[default]
    Well,
    /// 429 for the whole request; nothing is done.
    Busy,
    /// All documents are forwarded except some, which are answered with 429 and 503.
    InPart,
    /// All documents are forwarded, and the answer never comes.
    Mute,
}

#[derive(Default)]
struct Requests {
    manner: Manner,
    badly_answered: usize,
}

/// The proxy's state: the fault to inject, and a client that keeps its connections.
#[derive(Default)]
struct Desk {
    requests: Mutex<Requests>,
    client: reqwest::Client,
}

impl Desk {
    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().expect("requests")
    }

    fn manner(&self, uri: &Uri) -> Manner {
        let mut requests = self.requests();
        if requests.manner == Manner::Well || !uri.path().ends_with("/_bulk") {
            return Manner::Well;
        }
        requests.badly_answered += 1;
        requests.manner
    }

    /// Elasticsearch's answer.
    async fn pass_on(&self, method: Method, uri: &Uri, body: impl Into<reqwest::Body>) -> reqwest::Response {
        let url = format!("{}{uri}", stack().elasticsearch_url());
        // One type fits requests of one document and of many.
        let request = self.client.request(method, url).header(header::CONTENT_TYPE, "application/json");
        request.body(body).send().await.expect("Elasticsearch")
    }
}

/// A proxy that forwards requests to Elasticsearch.
pub struct Facade {
    url: String,
    desk: Arc<Desk>,
    serving: JoinHandle<()>,
}

impl Facade {
    /// Begins without a fault.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let desk = Arc::new(Desk::default());
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable());
        let router = router.with_state(desk.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("a listener") });
        Self { url, desk, serving }
    }

    /// The environment variable that lets a process use this address.
    pub fn variable(&self) -> (&'static str, &str) {
        ("ELASTICSEARCH_URL", &self.url)
    }

    /// Sets the fault.
    pub fn answers(&self, manner: Manner) {
        *self.desk.requests() = Requests { manner, badly_answered: 0 };
    }

    /// The number of faulty answers since the fault was last set.
    pub fn badly_answered(&self) -> usize {
        self.desk.requests().badly_answered
    }
}

impl Drop for Facade {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(desk): State<Arc<Desk>>, method: Method, uri: Uri, body: Bytes) -> Response {
    match desk.manner(&uri) {
        Manner::Well => respond(desk.pass_on(method, &uri, body).await).await,
        Manner::Busy => (StatusCode::TOO_MANY_REQUESTS, "{}").into_response(),
        Manner::InPart => in_part(&desk, method, &uri, &body).await,
        Manner::Mute => {
            // Read to its end: the answer says that all of it is done.
            desk.pass_on(method, &uri, body).await.bytes().await.expect("an answer");
            std::future::pending().await
        }
    }
}

async fn respond(answer: reqwest::Response) -> Response {
    let mut response = Response::builder().status(answer.status());
    for name in [header::CONTENT_TYPE, header::HeaderName::from_static("x-elastic-product")] {
        if let Some(value) = answer.headers().get(&name) {
            response = response.header(name, value);
        }
    }
    response.body(Body::from(answer.bytes().await.expect("an answer"))).expect("a response")
}

/// Withholds some documents, and answers for them like an overloaded cluster.
async fn in_part(desk: &Desk, method: Method, uri: &Uri, body: &Bytes) -> Response {
    let text = std::str::from_utf8(body).expect("JSON lines");
    let lines: Vec<&str> = text.lines().collect();
    let withheld = |place: usize| place.is_multiple_of(ONE_IN);
    let documents = lines.chunks(2).enumerate();
    let passed = documents.filter(|(place, _)| !withheld(*place)).flat_map(|(_, document)| document);
    let passed: String = passed.map(|line| format!("{line}\n")).collect();
    let answer: Value = match passed.as_str() {
        "" => json!({}),
        _ => desk.pass_on(method, uri, passed).await.json().await.expect("an answer"),
    };
    let mut items = answer["items"].as_array().cloned().unwrap_or_default().into_iter();
    let refused = |place: usize| {
        let status = if place.is_multiple_of(2) { 429 } else { 503 };
        json!({"index": {"status": status, "error": {"reason": "overloaded"}}})
    };
    let item = |place| if withheld(place) { Some(refused(place)) } else { items.next() };
    let items: Vec<Value> = (0..lines.len() / 2).filter_map(item).collect();
    axum::Json(json!({"errors": true, "items": items})).into_response()
}
