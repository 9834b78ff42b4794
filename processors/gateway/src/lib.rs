//! HTTP for machine clients: the role `gateway`.
//!
//! A command in JSON goes through Kafka as every other one, by the code of `millrace send`. Receipts come from the role `commands`,
//! which answers on an internal address ([`receipts`]): the gateway has no credentials of the write side. Queries are answered from the SQL
//! views, as a reader, and from Elasticsearch.

mod access;
mod asyncapi;
mod clients;
pub mod connections;
mod gateway;
mod headers;
mod openapi;
mod problem;
mod queries;
pub mod receipts;
mod routes;
mod shown;
mod token;
mod unread;

use std::time::Duration;

use millrace_engine::supervision::Restarts;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use connections::{Limits, accept, listen};
use gateway::Gateway;

/// How long a connection takes requests.
const REQUESTS_WITHIN: Duration = Duration::from_secs(600);
/// How long a request may take beside its wait: its body, the registry and Kafka.
const REQUEST_WITHIN: Duration = Duration::from_secs(20);

/// Serves commands and receipts until `stop`, if that is configured; the task ends when the requests under way are answered.
///
/// # Errors
/// [`Failure::Usage`], which names the setting.
pub async fn serve(
    config: &Config,
    restarts: Restarts,
    stop: CancellationToken,
) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(address) = config.gateway.listen else { return Ok(None) };
    let gateway = Gateway::new(config, stop.clone())?;
    let listener = listen("gateway.listen", address).await?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, clients = config.gateway.clients.len(), "serving commands, receipts and queries below /v1");
    }
    let (router, limits) = (routes::router(&gateway), limits(config));
    Ok(Some(tokio::spawn(async move {
        accept("gateway", listener, (router, limits), &restarts, stop).await;
    })))
}

/// A connection more than requests: the one whose request is refused for the lack of room.
fn limits(config: &Config) -> Limits {
    let requests_max = u32::try_from(config.gateway.requests_max).unwrap_or(u32::MAX);
    Limits {
        connections_max: requests_max.saturating_mul(2),
        keep_alive: true,
        headers_within: Duration::from_secs(30),
        requests_within: REQUESTS_WITHIN,
        last_within: config.gateway.wait_max + REQUEST_WITHIN,
    }
}
