//! Where the components are, and how to ask them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::{Client, Method, Url};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

const TIMEOUT: Duration = Duration::from_secs(120);

/// Addresses of the components.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    pub(crate) kafka_brokers: String,
    pub(crate) write_database_url: String,
    pub(crate) read_database_url: String,
    pub(crate) elasticsearch_url: String,
    pub(crate) schema_registry_url: String,
    pub(crate) connect_url: String,
    client: Client,
}

impl Stack {
    /// Reads what `scripts/stack env` prints.
    pub(crate) fn from_environment() -> Result<Self> {
        Ok(Self {
            kafka_brokers: variable("KAFKA_BROKERS")?,
            write_database_url: variable("WRITE_DATABASE_URL")?,
            read_database_url: variable("READ_DATABASE_URL")?,
            elasticsearch_url: variable("ELASTICSEARCH_URL")?,
            schema_registry_url: variable("SCHEMA_REGISTRY_URL")?,
            connect_url: variable("CONNECT_URL")?,
            client: Client::builder().timeout(TIMEOUT).build()?,
        })
    }

    /// Asks Elasticsearch.
    pub(crate) async fn elasticsearch(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        self.ask(method, &self.elasticsearch_url, path, body).await
    }

    /// Asks Kafka Connect.
    pub(crate) async fn connect(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        self.ask(method, &self.connect_url, path, body).await
    }

    /// Asks the schema registry.
    pub(crate) async fn registry(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        self.ask(method, &self.schema_registry_url, path, body).await
    }

    async fn ask(&self, method: Method, base: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}/{path}", base.trim_end_matches('/'));
        let mut request = self.client.request(method.clone(), &url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| format!("{method} {url}"))?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("{method} {url}: {status}: {text}");
        }
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// The port of a service, when its address names one.
    pub(crate) fn port(address: &str) -> Option<u16> {
        match Url::parse(address).ok().filter(Url::has_host) {
            Some(url) => url.port_or_known_default(),
            None => address.split(',').next()?.rsplit_once(':')?.1.parse().ok(),
        }
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: eval \"$(scripts/stack env)\""))
}

/// A connection to a database.
pub(crate) async fn database(url: &str) -> Result<PgConnection> {
    PgConnection::connect(url).await.context("the database does not answer")
}

/// A connection for the measurement's own looks, and its process in Postgres, whose CPU time does not count.
pub(crate) async fn observer(url: &str) -> Result<(PgConnection, u32)> {
    let mut connection = database(url).await?;
    let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
    Ok((connection, u32::try_from(backend)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_in_a_url_and_in_a_list_of_brokers() {
        assert_eq!(Stack::port("postgres://u:p@127.0.0.1:15432/x"), Some(15_432));
        assert_eq!(Stack::port("http://127.0.0.1:19200"), Some(19_200));
        assert_eq!(Stack::port("127.0.0.1:19092,127.0.0.1:2"), Some(19_092));
    }
}
