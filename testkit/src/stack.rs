//! Where the components are, and how they are asked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rdkafka::ClientConfig;
use reqwest::{Client, Method, Url};
use serde_json::Value;

const ANSWERS_WITHIN: Duration = Duration::from_secs(120);

/// The variables that a process of Millrace needs.
const NEEDED: [&str; 6] = [
    "KAFKA_BROKERS",
    "WRITE_DATABASE_URL",
    "READ_DATABASE_URL",
    "ELASTICSEARCH_URL",
    "SCHEMA_REGISTRY_URL",
    "CONNECT_URL",
];
/// What `scripts/stack` has besides.
const FURTHER: [&str; 3] = ["READER_DATABASE_URL", "KAFKA_LINK", "KAFKA_BEHIND_LINK"];

/// Addresses of the components.
#[derive(Debug, Clone)]
pub struct Stack {
    variables: HashMap<String, String>,
    client: Client,
}

impl Stack {
    /// The stack of the environment when all its variables are there, else the one of `scripts/stack`. Connections are
    /// kept open between requests, at most this many to a component.
    ///
    /// # Errors
    /// When `scripts/stack env` fails or lacks an address, or TLS cannot be set up.
    pub fn find(idle_connections: usize) -> Result<Self> {
        let own: HashMap<_, _> = std::env::vars()
            .filter(|(name, _)| NEEDED.iter().chain(&FURTHER).any(|known| known == name))
            .collect();
        let complete = NEEDED.iter().all(|name| own.contains_key(*name));
        let variables = if complete { own } else { printed(&script(&["env"])?) };
        let missing = NEEDED.iter().find(|name| !variables.contains_key(**name));
        ensure!(missing.is_none(), "`scripts/stack env` does not print {missing:?}");
        let client = Client::builder().timeout(ANSWERS_WITHIN).pool_max_idle_per_host(idle_connections);
        Ok(Self { variables, client: client.build()? })
    }

    /// The address that a variable of `scripts/stack env` names; empty when it is none of them.
    pub fn address(&self, variable: &str) -> &str {
        self.variables.get(variable).map_or("", String::as_str)
    }

    /// All variables, for a process.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The brokers.
    pub fn kafka_brokers(&self) -> &str {
        self.address("KAFKA_BROKERS")
    }

    /// The database of the write side.
    pub fn write_database_url(&self) -> &str {
        self.address("WRITE_DATABASE_URL")
    }

    /// The database of the read side.
    pub fn read_database_url(&self) -> &str {
        self.address("READ_DATABASE_URL")
    }

    /// Elasticsearch.
    pub fn elasticsearch_url(&self) -> &str {
        self.address("ELASTICSEARCH_URL")
    }

    /// The schema registry.
    pub fn schema_registry_url(&self) -> &str {
        self.address("SCHEMA_REGISTRY_URL")
    }

    /// Kafka Connect.
    pub fn connect_url(&self) -> &str {
        self.address("CONNECT_URL")
    }

    /// The client of everything that speaks HTTP. Loading the certificates that TLS trusts takes longer than most answers.
    pub fn http(&self) -> &Client {
        &self.client
    }

    /// A client of Kafka without a group.
    pub fn kafka(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.kafka_brokers());
        config
    }

    /// A producer that sends keys to the partitions to which Java's clients send them.
    pub fn producer(&self) -> ClientConfig {
        let mut config = self.kafka();
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random");
        config
    }

    /// Asks Elasticsearch; null when it answers nothing.
    ///
    /// # Errors
    /// When it does not answer, or with another status than success.
    pub async fn elasticsearch(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        self.ask(method, self.elasticsearch_url(), path, body).await
    }

    /// Asks Kafka Connect, likewise.
    ///
    /// # Errors
    /// As [`elasticsearch`](Self::elasticsearch).
    pub async fn connect(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        self.ask(method, self.connect_url(), path, body).await
    }

    /// Asks the schema registry, likewise.
    ///
    /// # Errors
    /// As [`elasticsearch`](Self::elasticsearch).
    pub async fn registry(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        self.ask(method, self.schema_registry_url(), path, body).await
    }

    async fn ask(&self, method: Method, base: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}/{path}", base.trim_end_matches('/'));
        let request = self.client.request(method.clone(), &url);
        let request = body.into_iter().fold(request, |request, body| request.json(body));
        let answer = request.send().await.with_context(|| format!("{method} {url}"))?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{method} {url}: {status}: {text}");
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// The port of a service, when its address names one.
    pub fn port(address: &str) -> Option<u16> {
        match Url::parse(address).ok().filter(Url::has_host) {
            Some(url) => url.port_or_known_default(),
            None => address.split(',').next()?.rsplit_once(':')?.1.parse().ok(),
        }
    }
}

/// The variables of lines such as `export NAME='value'`.
fn printed(lines: &str) -> HashMap<String, String> {
    let pair = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    lines.lines().filter_map(pair).collect()
}

/// Runs `scripts/stack` and returns what it printed.
///
/// # Errors
/// When it fails.
pub fn script(arguments: &[&str]) -> Result<String> {
    script_with(arguments, &[])
}

/// As [`script`], with variables of its environment.
///
/// # Errors
/// When it fails.
pub fn script_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    let mut command = Command::new(repository().join("scripts/stack"));
    let output = command.args(arguments).envs(variables.iter().copied()).output();
    let output = output.context("scripts/stack")?;
    let talk = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "scripts/stack {arguments:?}: {talk}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
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

    #[test]
    fn variables_are_read_as_the_script_prints_them() {
        let variables = printed("export A='x=1'\nother\nexport B='y'\n");
        assert_eq!((variables["A"].as_str(), variables["B"].as_str(), variables.len()), ("x=1", "y", 2));
    }
}
