//! The schema registry behind a proxy that answers some requests itself, like a registry that lags or refuses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::stack::{http, stack};

#[derive(Default)]
struct Manner {
    refuses: Option<StatusCode>,
    /// How often each of these ids is answered as unknown.
    absent: HashMap<u32, usize>,
    /// How often each id was requested.
    asked: HashMap<u32, usize>,
}

type Shared = Arc<Mutex<Manner>>;

/// The proxy.
pub struct RegistryFront {
    url: String,
    manner: Shared,
    serving: JoinHandle<()>,
}

impl RegistryFront {
    /// Begins by forwarding all requests.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let manner = Shared::default();
        let router = Router::new().fallback(answer).with_state(manner.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("a listener") });
        Self { url, manner, serving }
    }

    /// The environment variable that lets a process use this address.
    pub fn variable(&self) -> (&'static str, &str) {
        ("SCHEMA_REGISTRY_URL", &self.url)
    }

    /// Answers every request with this status and an HTML page, or forwards it again.
    pub fn refuses(&self, status: Option<u16>) {
        locked(&self.manner).refuses = status.map(|code| StatusCode::from_u16(code).expect("a status"));
    }

    /// Answers the next `times` requests for an id as unknown.
    pub fn lacks(&self, id: u32, times: usize) {
        locked(&self.manner).absent.insert(id, times);
    }

    /// How often an id was requested.
    pub fn asked_for(&self, id: u32) -> usize {
        locked(&self.manner).asked.get(&id).copied().unwrap_or_default()
    }
}

impl Drop for RegistryFront {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn locked(manner: &Shared) -> MutexGuard<'_, Manner> {
    manner.lock().expect("a manner")
}

impl Manner {
    fn own_answer(&mut self, uri: &Uri) -> Option<Response> {
        if let Some(status) = self.refuses {
            return Some((status, "<html>not now</html>").into_response());
        }
        let id: u32 = uri.path().strip_prefix("/schemas/ids/")?.parse().ok()?;
        *self.asked.entry(id).or_default() += 1;
        let absent = self.absent.get_mut(&id).filter(|times| **times > 0)?;
        *absent -= 1;
        let unknown = axum::Json(json!({"error_code": 40403, "message": "Schema not found"}));
        Some((StatusCode::NOT_FOUND, unknown).into_response())
    }
}

async fn answer(State(manner): State<Shared>, method: Method, uri: Uri, body: String) -> Response {
    let own = locked(&manner).own_answer(&uri);
    match own {
        Some(answer) => answer,
        None => pass_on(method, &uri, body).await,
    }
}

async fn pass_on(method: Method, uri: &Uri, body: String) -> Response {
    let url = format!("{}{uri}", stack().schema_registry_url().trim_end_matches('/'));
    let request = http().request(method, url).header(header::CONTENT_TYPE, "application/json").body(body);
    let answer = request.send().await.expect("the registry");
    let (status, text) = (answer.status(), answer.text().await.expect("its answer"));
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
