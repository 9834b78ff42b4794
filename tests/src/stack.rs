//! The real components and where they are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::patience::eventually;

/// Addresses of the components.
#[derive(Debug)]
pub struct Stack {
    variables: HashMap<String, String>,
}

/// The variables that `scripts/stack env` prints.
const VARIABLES: [&str; 9] = [
    "KAFKA_BROKERS",
    "KAFKA_BEHIND_LINK",
    "KAFKA_LINK",
    "WRITE_DATABASE_URL",
    "READ_DATABASE_URL",
    "READER_DATABASE_URL",
    "ELASTICSEARCH_URL",
    "SCHEMA_REGISTRY_URL",
    "CONNECT_URL",
];

impl Stack {
    /// The stack of the environment, else the one of `scripts/stack`.
    pub fn get() -> &'static Self {
        static STACK: LazyLock<Stack> = LazyLock::new(|| {
            let told: Option<_> =
                VARIABLES.iter().map(|name| Some((*name, std::env::var(name).ok()?))).collect();
            let told =
                told.map(|told: Vec<_>| told.into_iter().map(|(name, value)| (name.to_owned(), value)));
            Stack { variables: told.map_or_else(asked, Iterator::collect) }
        });
        &STACK
    }

    /// The value of one of the variables.
    pub fn address(&self, variable: &str) -> &str {
        self.variables
            .get(variable)
            .unwrap_or_else(|| panic!("`scripts/stack env` does not print {variable}"))
    }

    /// All variables, for a process.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Runs one of Kafka's own tools and returns what it printed.
pub async fn kafka_tool(arguments: &[&str]) -> String {
    let words: Vec<String> = ["tool"].iter().chain(arguments).map(ToString::to_string).collect();
    let tool = move || run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(tool).await.expect("scripts/stack")
}

/// Components that were killed, as by a crash. They come back however the story ends.
#[must_use = "the components are away only as long as this is kept"]
pub struct Outage {
    components: Vec<&'static str>,
    began: Instant,
}

impl Outage {
    /// Kills a component.
    pub async fn of(component: &'static str) -> Self {
        Self::of_all([component]).await
    }

    /// Kills components, one right after the other.
    pub async fn of_all<const N: usize>(components: [&'static str; N]) -> Self {
        script("kill", components.to_vec()).await;
        Self { components: components.to_vec(), began: Instant::now() }
    }

    /// Starts the components, not before the outage has lasted as long as `STORY_OUTAGE` says (in seconds), and waits
    /// until they are healthy.
    pub async fn ends(self) {
        tokio::time::sleep(wanted().saturating_sub(self.began.elapsed())).await;
        script("up", self.components.clone()).await;
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            run(&[&["up"], self.components.as_slice()].concat());
        }
    }
}

/// How long an outage is to last at least; usually no longer than its story needs.
fn wanted() -> Duration {
    let seconds = std::env::var("STORY_OUTAGE").map_or(0, |text| text.parse().expect("seconds"));
    Duration::from_secs(seconds)
}

async fn script(action: &'static str, components: Vec<&'static str>) {
    let script = move || run(&[&[action], components.as_slice()].concat());
    tokio::task::spawn_blocking(script).await.expect("scripts/stack");
}

/// A client of anything that speaks HTTP. All share one, since loading the certificates that TLS trusts takes longer than
/// most answers; but no connections, which belong to the story that made them.
///
/// # Panics
/// When TLS cannot be set up.
pub fn http() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("an HTTP client")
    });
    CLIENT.clone()
}

/// Asks Kafka Connect, again while its workers agree on who does what.
pub async fn connect(method: Method, path: &str) -> Value {
    let url = format!("{}/{path}", Stack::get().address("CONNECT_URL"));
    eventually(&format!("Connect does {method} {path}"), async || {
        let request = http().request(method.clone(), &url).send().await;
        let answer = request.map_err(|error| error.to_string())?;
        let (status, text) = (answer.status(), answer.text().await.map_err(|error| error.to_string())?);
        if status.is_success() {
            return Ok(serde_json::from_str(&text).unwrap_or_default());
        }
        Err(format!("{status}: {text}"))
    })
    .await
}

fn asked() -> HashMap<String, String> {
    let printed = run(&["env"]);
    let pair = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    printed.lines().filter_map(pair).collect()
}

fn run(arguments: &[&str]) -> String {
    let output =
        Command::new(repository().join("scripts/stack")).args(arguments).output().expect("scripts/stack");
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/stack {arguments:?}: {talk}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository").to_owned()
}
