//! A stand-in for Elasticsearch that takes every `_bulk` at once: with it a view's way into Postgres is measured
//! without what would follow.

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Serves until it is dropped.
pub(super) struct StandIn {
    url: String,
    task: JoinHandle<()>,
}

impl StandIn {
    /// Starts on a free port.
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, Router::new().fallback(swallow)).await {
                eprintln!("the stand-in for Elasticsearch ended: {error}");
            }
        });
        Ok(Self { url, task })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn swallow(body: Body) -> impl IntoResponse {
    body.into_data_stream().for_each(|_| async {}).await;
    ([(CONTENT_TYPE, "application/json")], r#"{"errors":false}"#)
}
