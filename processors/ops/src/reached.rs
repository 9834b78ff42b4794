//! Whether the components answer: one small question for each, which costs them hardly anything.

use std::fmt::Display;
use std::time::Duration;

use elasticsearch::cluster::ClusterHealthParts;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use reqwest::Method;
use tokio::time::timeout;

use crate::config::Config;
use crate::elastic::Client;
use crate::failure::{Failure, Service};
use crate::http::Http;
use crate::{kafka, layout};

/// How long each may take when it is asked again and again.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const SILENT: &str = "it does not answer within 2 s";

/// The client of Elasticsearch, which is made once: it loads the certificates that TLS trusts.
#[derive(Default)]
pub struct Elasticsearch(Option<Client>);

impl Elasticsearch {
    /// Asks for its health, as the node that answers knows it.
    ///
    /// # Errors
    /// [`Failure::Unreachable`]; [`Failure::Usage`] when there can be no client.
    pub async fn answers(&mut self, config: &Config) -> Result<(), Failure> {
        let client = match self.0.take() {
            Some(client) => client,
            None => Client::new(&config.elasticsearch)?,
        };
        let client = self.0.insert(client);
        let asked = client.send(|client| async move {
            client.cluster().health(ClusterHealthParts::None).local(true).send().await
        });
        in_time(Service::Elasticsearch, &config.elasticsearch.url, asked).await?.success().map(drop)
    }
}

/// The client of Kafka, which is made once: it has connections and threads of its own. A consumer, since a producer that asks for a topic
/// creates it where the brokers allow that.
#[derive(Default)]
pub struct Kafka(Option<BaseConsumer>);

impl Kafka {
    /// Asks for the partitions of one topic of the instance. Blocks, at most for about `within`.
    ///
    /// # Errors
    /// [`Failure::Unreachable`]; [`Failure::Usage`] when there can be no client.
    pub fn answers(&mut self, config: &Config, within: Duration) -> Result<(), Failure> {
        let client = match self.0.take() {
            Some(client) => client,
            None => kafka::groupless(&config.kafka)?,
        };
        let client = self.0.insert(client);
        // Takes errors of connections, which would pile up.
        while client.poll(Duration::ZERO).is_some() {}
        // Of all topics the answer could be large.
        let Some(topic) = layout::topics(config).into_iter().next() else { return Ok(()) };
        let asked = client.fetch_metadata(Some(&topic.name), within);
        asked.map(drop).map_err(|error| kafka::failure(&config.kafka, &error))
    }
}

/// Asks the registry which kinds of schemas it knows: a small answer, however many there are.
///
/// # Errors
/// [`Failure::Unreachable`]; [`Failure::Usage`] when there can be no client.
pub async fn registry(config: &Config) -> Result<(), Failure> {
    let registry = Http::registry(&config.registry)?;
    let asked = registry.send(Method::GET, &["schemas", "types"], None);
    in_time(Service::Registry, &config.registry.url, asked).await?.success().map(drop)
}

/// Asks Connect for its version.
///
/// # Errors
/// [`Failure::Unreachable`]; [`Failure::Usage`] when there can be no client.
pub async fn connect(config: &Config) -> Result<(), Failure> {
    let connect = Http::connect(&config.connect)?;
    let asked = connect.send(Method::GET, &[], None);
    in_time(Service::Connect, &config.connect.url, asked).await?.success().map(drop)
}

async fn in_time<T>(
    service: Service,
    address: impl Display,
    asked: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let answer = timeout(ANSWER_WITHIN, asked).await;
    answer.map_err(|_| Failure::unreachable(service, address, SILENT))?
}
