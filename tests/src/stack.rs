//! The real components, and their outages.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use millrace_testkit::Stack;
use reqwest::Method;
use serde_json::Value;

use crate::patience::eventually;

/// The stack of all stories. It keeps no connections, which would belong to the story that made them.
///
/// # Panics
/// When `scripts/stack env` fails.
pub fn stack() -> &'static Stack {
    static STACK: LazyLock<Stack> = LazyLock::new(|| Stack::find(0).expect("the stack"));
    &STACK
}

/// Runs one of Kafka's own tools and returns what it printed.
pub async fn kafka_tool(arguments: &[&str]) -> String {
    let words: Vec<String> = ["tool"].iter().chain(arguments).map(ToString::to_string).collect();
    let tool = move || run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(tool).await.expect("scripts/stack")
}

/// Components that were killed. They are started again, also when the story fails.
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
        script("kill", &components, &[]).await;
        Self { components: components.to_vec(), began: Instant::now() }
    }

    /// Starts the components, not before the outage has lasted as long as `STORY_OUTAGE` says (in seconds), and waits
    /// until they are healthy.
    pub async fn ends(self) {
        self.ends_with(&[]).await;
    }

    /// As [`Outage::ends`], with variables of the script's: they count until the components start again.
    pub async fn ends_with(self, variables: &[(&'static str, &'static str)]) {
        tokio::time::sleep(wanted().saturating_sub(self.began.elapsed())).await;
        script("up", &self.components, variables).await;
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            run(&[&["up"], self.components.as_slice()].concat());
        }
    }
}

/// How long an outage lasts at least; by default no longer than its story needs.
fn wanted() -> Duration {
    let seconds = std::env::var("STORY_OUTAGE").map_or(0, |text| text.parse().expect("seconds"));
    Duration::from_secs(seconds)
}

async fn script(
    action: &'static str,
    components: &[&'static str],
    variables: &[(&'static str, &'static str)],
) {
    let (arguments, variables) = ([&[action], components].concat(), variables.to_vec());
    let script = move || millrace_testkit::script_with(&arguments, &variables).expect("scripts/stack");
    tokio::task::spawn_blocking(script).await.expect("scripts/stack");
}

/// A client of anything that speaks HTTP.
pub fn http() -> &'static reqwest::Client {
    stack().http()
}

/// Queries Kafka Connect; repeats the request during a rebalance of its workers.
pub async fn connect(method: Method, path: &str) -> Value {
    eventually(&format!("Connect does {method} {path}"), async || {
        stack().connect(method.clone(), path, None).await.map_err(|error| error.to_string())
    })
    .await
}

fn run(arguments: &[&str]) -> String {
    millrace_testkit::script(arguments).expect("scripts/stack")
}
