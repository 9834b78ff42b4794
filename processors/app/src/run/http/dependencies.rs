//! What each component that this process uses answered last, and since when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures::FutureExt as _;
use futures::future::{LocalBoxFuture, join_all};
use millrace_engine::database::Pool;
use millrace_ops::config::Config;
use millrace_ops::config::units::written_duration;
use millrace_ops::failure::Failure;
use millrace_ops::reached::{self, Connect, Elasticsearch, Kafka, Registry};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::ANSWER_WITHIN;

/// How long after an answer a component is asked again.
const ASKED_EVERY: Duration = Duration::from_secs(5);
const KAFKA: &str = "Kafka";
const ELASTICSEARCH: &str = "Elasticsearch";
const REGISTRY: &str = "the schema registry";
const CONNECT: &str = "Kafka Connect";
/// Characters of an error, at most.
const WHY_MAX: usize = 300;

/// A component.
#[derive(Debug, Clone)]
struct Dependency {
    name: &'static str,
    /// Whether nothing in this process works without it.
    needed: bool,
    /// `None` until it was asked: whether it answers, and why not.
    answers: Option<Result<(), String>>,
    since: DateTime<Utc>,
}

/// What the log says of an outage: one line when it begins, and one when it ends.
#[derive(Debug, PartialEq, Eq)]
enum Change<'a> {
    Away(&'a str),
    Back(String),
    /// The first answer of a component that is there.
    There,
}

impl<'a> Change<'a> {
    fn of(answered: Option<bool>, answer: &'a Result<(), String>, lasted: TimeDelta) -> Self {
        match answer {
            Err(why) => Self::Away(why),
            Ok(()) if answered == Some(false) => {
                Self::Back(written_duration(Duration::from_secs(lasted.num_seconds().unsigned_abs())))
            }
            Ok(()) => Self::There,
        }
    }

    fn tell(&self, component: &str) {
        match self {
            Self::Away(why) => tracing::warn!(component, why, "an outage begins: work that needs it waits"),
            Self::Back(after) => tracing::info!(component, after, "the outage is over"),
            Self::There => {}
        }
    }
}

/// The components that a process uses.
#[derive(Clone)]
pub(super) struct Dependencies(Arc<Mutex<Vec<Dependency>>>);

impl Dependencies {
    /// The databases that the process works on, and the other components; none was asked yet.
    pub(super) fn new(databases: &[(Pool, &'static str)]) -> Self {
        let needed = databases.iter().map(|(_, name)| (*name, true));
        // While they are away, other work goes on: commands are kept, documents wait, queries are answered.
        let others = [KAFKA, ELASTICSEARCH, REGISTRY].map(|name| (name, false));
        // A gateway alone sends nothing through Connect.
        let connect = (!databases.is_empty()).then_some((CONNECT, false));
        let others = others.into_iter().chain(connect);
        let unknown = |(name, needed)| Dependency { name, needed, answers: None, since: Utc::now() };
        Self(Arc::new(Mutex::new(needed.chain(others).map(unknown).collect())))
    }

    fn all(&self) -> MutexGuard<'_, Vec<Dependency>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, name: &str, answer: Result<(), String>) {
        let answer = answer.map_err(|why| why.chars().take(WHY_MAX).collect());
        for known in self.all().iter_mut().filter(|known| known.name == name) {
            let was = known.answers.as_ref().map(Result::is_ok);
            if was != Some(answer.is_ok()) {
                let now = Utc::now();
                Change::of(was, &answer, now - known.since).tell(name);
                known.since = now;
            }
            known.answers = Some(answer.clone());
        }
    }

    /// Why the process cannot work: what it needs and what does not answer.
    pub(super) fn missing(&self) -> Vec<String> {
        let missing = |known: &Dependency| match &known.answers {
            _ if !known.needed => None,
            None => Some(format!("{} was not asked yet", known.name)),
            Some(Ok(())) => None,
            Some(Err(_)) => Some(format!("{} does not answer", known.name)),
        };
        self.all().iter().filter_map(missing).collect()
    }

    /// Each with its state.
    pub(super) fn shown(&self) -> Vec<Value> {
        let shown = |known: &Dependency| {
            let (state, why) = match &known.answers {
                None => ("unknown", None),
                Some(Ok(())) => ("answers", None),
                Some(Err(why)) => ("away", Some(why)),
            };
            let Dependency { name, needed, since, .. } = known;
            let since = since.trunc_subsecs(0);
            json!({"name": name, "needed": needed, "state": state, "since": since, "why": why})
        };
        self.all().iter().map(shown).collect()
    }

    /// Asks each again and again, so that one that is silent keeps no other from being asked. Databases are asked by the worker
    /// threads, with the connections of the workers.
    pub(super) async fn follow(
        &self,
        config: Arc<Config>,
        work: &Handle,
        databases: &[(Pool, &'static str)],
    ) {
        let databases = databases
            .iter()
            .map(|(pool, name)| self.ask(name, async || select(work, pool.clone()).await).boxed_local());
        let mut elasticsearch = Elasticsearch::default();
        let (mut registry, mut connect) = (Registry::default(), Connect::default());
        let others: [LocalBoxFuture<'_, ()>; 4] = [
            self.kafka(config.clone()).boxed_local(),
            self.ask(ELASTICSEARCH, async || told(elasticsearch.answers(&config)).await).boxed_local(),
            self.ask(REGISTRY, async || told(registry.answers(&config)).await).boxed_local(),
            self.ask(CONNECT, async || told(connect.answers(&config)).await).boxed_local(),
        ];
        join_all(databases.chain(others)).await;
    }

    async fn ask(&self, name: &str, mut question: impl AsyncFnMut() -> Result<(), String>) {
        while self.all().iter().any(|known| known.name == name) {
            self.answered(name, question().await);
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }

    /// Its client blocks.
    async fn kafka(&self, config: Arc<Config>) {
        let mut client = Kafka::default();
        loop {
            let config = config.clone();
            let asked = tokio::task::spawn_blocking(move || {
                let answer = client.answers(&config, reached::ANSWER_WITHIN);
                (client, answer)
            });
            let (again, answer) = asked.await.unwrap_or_else(|error| {
                (Kafka::default(), Err(Failure::refused("it cannot be asked").caused_by(error)))
            });
            client = again;
            self.answered(KAFKA, answer.map_err(|error| error.to_string()));
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }
}

async fn told<E: std::fmt::Display>(asked: impl Future<Output = Result<(), E>>) -> Result<(), String> {
    asked.await.map_err(|error| error.to_string())
}

async fn select(work: &Handle, pool: Pool) -> Result<(), String> {
    let within = pool.answer_timeout() + ANSWER_WITHIN;
    let asked = async move {
        pool.in_time(async { Ok(sqlx::query("SELECT 1").execute(&*pool).await.map(drop)?) }).await
    };
    match timeout(within, work.spawn(asked)).await {
        Ok(Ok(answer)) => answer.map_err(|error| error.to_string()),
        Ok(Err(panicked)) => Err(panicked.to_string()),
        Err(_) => Err(format!("no answer within {} s", within.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_one_line_when_it_begins_and_one_with_its_length_when_it_ends() {
        let (away, back, lasted) = (Err("refused".to_owned()), Ok(()), TimeDelta::seconds(125));
        assert_eq!(Change::of(None, &away, lasted), Change::Away("refused"), "it may begin with the process");
        assert_eq!(Change::of(Some(true), &away, lasted), Change::Away("refused"));
        assert_eq!(Change::of(Some(false), &back, lasted), Change::Back("2m 5s".to_owned()));
        assert_eq!(Change::of(None, &back, lasted), Change::There);
    }

    #[test]
    fn a_component_has_its_state_since_it_changed_and_only_what_is_needed_is_missed() {
        let known = Dependencies::new(&[]);
        known.all().push(Dependency { name: "the database", needed: true, answers: None, since: Utc::now() });
        assert_eq!(known.missing(), ["the database was not asked yet"]);
        known.answered("the database", Ok(()));
        let since = known.all()[3].since;
        known.answered("the database", Ok(()));
        known.answered("Kafka", Err("x".repeat(1_000)));
        assert_eq!(known.missing(), Vec::<String>::new());
        assert_eq!(known.all()[3].since, since, "it has answered all the time");
        let shown = known.shown();
        assert_eq!((&shown[0]["state"], &shown[1]["state"]), (&json!("away"), &json!("unknown")));
        assert_eq!(shown[0]["why"].as_str().map(str::len), Some(WHY_MAX));
        known.answered("the database", Err("refused".to_owned()));
        assert!(known.all()[3].since > since);
        assert_eq!(known.missing(), ["the database does not answer"]);
    }
}
