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

/// A client that is made when it is first needed, and then kept: each loads the certificates that TLS trusts.
pub(crate) struct Kept<T>(Option<T>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Kept<T> {
    /// # Errors
    /// When it cannot be made now.
    pub(crate) fn or_made(&mut self, make: impl FnOnce() -> Result<T, Failure>) -> Result<&mut T, Failure> {
        let client = match self.0.take() {
            Some(client) => client,
            None => make()?,
        };
        Ok(self.0.insert(client))
    }
}

/// The client of Elasticsearch.
#[derive(Default)]
pub struct Elasticsearch(Kept<Client>);

impl Elasticsearch {
    /// Asks for its health, as the node that answers knows it.
    ///
    /// # Errors
    /// [`Failure::Unreachable`]; [`Failure::Usage`] when there can be no client.
    pub async fn answers(&mut self, config: &Config) -> Result<(), Failure> {
        let client = self.0.or_made(|| Client::new(&config.elasticsearch))?;
        let asked = client.send(|client| async move {
            client.cluster().health(ClusterHealthParts::None).local(true).send().await
        });
        in_time(Service::Elasticsearch, &config.elasticsearch.url, asked).await?.success().map(drop)
    }
}

/// The client of Kafka, which has connections and threads of its own. A consumer, since a producer that asks for a topic
/// creates it where the brokers allow that.
#[derive(Default)]
pub struct Kafka(Kept<BaseConsumer>);

impl Kafka {
    /// Asks for the partitions of one topic of the instance. Blocks, at most for about `within`.
    ///
    /// # Errors
    /// [`Failure::Unreachable`]; [`Failure::Usage`] when there can be no client.
    pub fn answers(&mut self, config: &Config, within: Duration) -> Result<(), Failure> {
        let client = self.0.or_made(|| kafka::groupless(&config.kafka))?;
        // Takes errors of connections, which would pile up.
        while client.poll(Duration::ZERO).is_some() {}
        // Of all topics the answer could be large.
        let Some(topic) = layout::topics(config).into_iter().next() else { return Ok(()) };
        let asked = client.fetch_metadata(Some(&topic.name), within);
        asked.map(drop).map_err(|error| kafka::failure(&config.kafka, &error))
    }
}

/// The client of the registry.
#[derive(Default)]
pub struct Registry(Kept<Http>);

impl Registry {
    /// Asks which kinds of schemas it knows: a small answer, however many there are.
    ///
    /// # Errors
    /// [`Failure::Unreachable`]; [`Failure::Usage`] when there can be no client.
    pub async fn answers(&mut self, config: &Config) -> Result<(), Failure> {
        let registry = self.0.or_made(|| Http::registry(&config.registry))?;
        let asked = registry.send(Method::GET, &["schemas", "types"], None);
        in_time(Service::Registry, &config.registry.url, asked).await?.success().map(drop)
    }
}

/// The client of Connect.
#[derive(Default)]
pub struct Connect(Kept<Http>);

impl Connect {
    /// Asks for its version.
    ///
    /// # Errors
    /// [`Failure::Unreachable`]; [`Failure::Usage`] when there can be no client.
    pub async fn answers(&mut self, config: &Config) -> Result<(), Failure> {
        let connect = self.0.or_made(|| Http::connect(&config.connect))?;
        let asked = connect.send(Method::GET, &[], None);
        in_time(Service::Connect, &config.connect.url, asked).await?.success().map(drop)
    }
}

async fn in_time<T>(
    service: Service,
    address: impl Display,
    asked: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let answer = timeout(ANSWER_WITHIN, asked).await;
    answer.map_err(|_| Failure::unreachable(service, address, SILENT))?
}
