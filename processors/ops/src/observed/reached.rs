//! Whether Elasticsearch and the registry answer: nothing else of the namespace's metrics asks them.

use std::time::Duration;

use elasticsearch::cluster::ClusterHealthParts;
use reqwest::Method;
use tokio::time::timeout;

use super::family::Figure;
use crate::config::Config;
use crate::elastic::Client;
use crate::failure::{Failure, Service};
use crate::http::Http;

/// How long each may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The client of Elasticsearch, which is made once: it loads the certificates that TLS trusts.
#[derive(Default)]
pub(super) struct Reached(Option<Client>);

impl Reached {
    /// Asks Elasticsearch for its health, as the node that answers knows it.
    pub(super) async fn elasticsearch(&mut self, config: &Config) -> Result<Vec<Figure>, Failure> {
        let client = match self.0.take() {
            Some(client) => client,
            None => Client::new(&config.elasticsearch)?,
        };
        let client = self.0.insert(client);
        let asked = client.send(|client| async move {
            client.cluster().health(ClusterHealthParts::None).local(true).send().await
        });
        let answer = timeout(ANSWER_WITHIN, asked).await;
        let silent = |_| Failure::unreachable(Service::Elasticsearch, &config.elasticsearch.url, SILENT);
        answer.map_err(silent)??.success().map(|_| Vec::new())
    }
}

/// Asks the registry which kinds of schemas it knows: a small answer, however many there are.
pub(super) async fn registry(config: &Config) -> Result<Vec<Figure>, Failure> {
    let registry = Http::registry(&config.registry)?;
    let path = ["schemas", "types"];
    let answer = timeout(ANSWER_WITHIN, registry.send(Method::GET, &path, None)).await;
    let silent = |_| Failure::unreachable(Service::Registry, &config.registry.url, SILENT);
    answer.map_err(silent)??.success().map(|_| Vec::new())
}

const SILENT: &str = "it does not answer within 2 s";
