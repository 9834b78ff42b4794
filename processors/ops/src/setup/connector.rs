//! The Debezium connector, from `connectors/outbox.json`.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use super::steps::{Did, Steps};
use crate::config::Config;
use crate::config::connect::ssl_mode;
use crate::failure::Failure;
use crate::http::{Answer, Http};
use crate::layout::Side;
use crate::postgres::Database;

const TEMPLATE: &str = include_str!("../../../../connectors/outbox.json");
const DEFAULT_PORT: u16 = 5432;
const RUNNING_WITHIN: Duration = Duration::from_secs(60);
/// How long a query waits for a rebalance of Connect's workers.
const AGREED_WITHIN: Duration = Duration::from_secs(5);
/// Connect's statuses during a rebalance of its workers: 409, or 500 when it begins during a request.
const REBALANCING: &[StatusCode] = &[StatusCode::CONFLICT, StatusCode::INTERNAL_SERVER_ERROR];
/// Connect's statuses when offsets cannot be deleted yet, since the task is still stopping.
const STOPPING: &[StatusCode] =
    &[StatusCode::BAD_REQUEST, StatusCode::CONFLICT, StatusCode::INTERNAL_SERVER_ERROR];
const FAILED_AGAIN_AFTER: Duration = Duration::from_secs(3);
const SETTLED_AFTER: Duration = Duration::from_secs(6);

/// Creates or updates the connector and waits until it runs.
pub(super) async fn create(config: &Config, steps: &mut Steps<'_>) -> Result<(), Failure> {
    let connect = Http::connect(&config.connect)?;
    let name = config.namespace.outbox();
    let wanted = configuration(config)?;
    let path = ["connectors", &name, "config"];
    let found = patiently(&connect, Method::GET, &path, None).await?.found()?;
    let same = found.as_ref().is_some_and(|found| equal(found, &wanted));
    if steps.dry {
        let did = if found.is_none() {
            Did::Created
        } else if same {
            Did::Nothing
        } else {
            Did::Updated
        };
        return steps.report(did, "connector", &name);
    }
    if !same {
        let wanted = Value::Object(wanted);
        patiently(&connect, Method::PUT, &path, Some(&wanted)).await?.success()?;
    }
    let forgot = forget_what_the_server_has_not(config, &connect, &name).await?;
    wait_until_running(&connect, &name).await?;
    let did = match found {
        Some(_) if same && !forgot => Did::Nothing,
        Some(_) => Did::Updated,
        None => Did::Created,
    };
    steps.report(did, "connector", &name)
}

/// Repeats a request during a rebalance of Connect's workers.
async fn patiently(
    connect: &Http,
    method: Method,
    path: &[&str],
    body: Option<&Value>,
) -> Result<Answer, Failure> {
    connect.patiently(method, path, body, REBALANCING, RUNNING_WITHIN).await
}

/// Deletes Connect's offsets when Debezium cannot continue from them: a position before the beginning of a slot that was created
/// again, or one that the server has not reached, after rows were restored into another server. Debezium would refuse the first,
/// and wait silently for the second. It then continues from the slot's beginning; `millrace verify` finds what was not carried.
async fn forget_what_the_server_has_not(
    config: &Config,
    connect: &Http,
    name: &str,
) -> Result<bool, Failure> {
    let write = Database::of(config, Side::Write)?;
    let path = ["connectors", name, "offsets"];
    let offsets = patiently(connect, Method::GET, &path, None).await?.success()?;
    let Some(remembered) = place(&offsets) else { return Ok(false) };
    let begins =
        "SELECT pg_wal_lsn_diff(restart_lsn, '0/0') > $2 FROM pg_replication_slots WHERE slot_name = $1";
    let begins = sqlx::query_scalar(begins).bind(name).bind(remembered).fetch_one(&write.pool).await;
    let newer: Option<bool> = begins.map_err(|error| write.failure(error))?;
    if newer != Some(true) && ahead(&write, remembered).await? == 0 {
        return Ok(false);
    }
    tracing::warn!(slot = name, "the server has not what the connector's offsets say: they are forgotten");
    stop_and_forget(connect, name).await?;
    let path = ["connectors", name, "resume"];
    patiently(connect, Method::PUT, &path, None).await?.success()?;
    Ok(true)
}

/// Debezium's position in Connect's offsets: a WAL position in bytes. `None` before it has carried anything.
fn place(offsets: &Value) -> Option<i64> {
    offsets.pointer("/offsets/0/offset/lsn").and_then(Value::as_i64)
}

/// The number of bytes by which a WAL position is ahead of the end of the WAL.
async fn ahead(write: &Database, place: i64) -> Result<i64, Failure> {
    let ahead = "SELECT greatest(0, $1 - pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'))::bigint";
    let ahead = sqlx::query_scalar(ahead).bind(place).fetch_one(&write.pool).await;
    ahead.map_err(|error| write.failure(error))
}

/// The number of bytes by which the connector's offsets are ahead of the server's WAL; nothing is carried until the WAL reaches
/// them.
pub(crate) async fn offsets_ahead(connect: &Http, name: &str, write: &Database) -> Result<i64, Failure> {
    let offsets = connect.find(&["connectors", name, "offsets"]).await?;
    match offsets.as_ref().and_then(place) {
        Some(place) => ahead(write, place).await,
        None => Ok(0),
    }
}

/// Stops a connector and deletes its offsets.
pub(super) async fn stop_and_forget(connect: &Http, name: &str) -> Result<(), Failure> {
    let path = ["connectors", name, "stop"];
    patiently(connect, Method::PUT, &path, None).await?.success()?;
    let path = ["connectors", name, "offsets"];
    let forgotten = connect.patiently(Method::DELETE, &path, None, STOPPING, RUNNING_WITHIN).await?;
    forgotten.success().map(|_| ())
}

/// Whether a connector has the configuration that [`leniently`] sets.
pub(crate) async fn drops_rows(connect: &Http, name: &str) -> Result<bool, Failure> {
    let path = ["connectors", name, "config"];
    let answer = connect.patiently(Method::GET, &path, None, REBALANCING, AGREED_WITHIN).await?;
    let found = answer.found()?;
    Ok(found.is_some_and(|found| found.get(TOLERANCE).is_some_and(|tolerance| tolerance == "all")))
}

/// The setting for records that Kafka refuses.
const TOLERANCE: &str = "errors.tolerance";

/// Lets a connector skip records that Kafka refuses during `work`, and restores the strict setting afterwards in any case.
pub(crate) async fn leniently(
    connect: &Http,
    name: &str,
    passes: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let path = ["connectors", name, "config"];
    let found = patiently(connect, Method::GET, &path, None).await?.success()?;
    let mut strict = found.as_object().cloned().unwrap_or_default();
    strict.remove(TOLERANCE);
    let mut lenient = strict.clone();
    lenient.insert(TOLERANCE.to_owned(), Value::from("all"));
    let put = async |config: Map<String, Value>| {
        let config = Value::Object(config);
        let answer = patiently(connect, Method::PUT, &path, Some(&config)).await?;
        answer.success().map(|_| ())
    };
    put(lenient).await?;
    let passed = passes.await;
    put(strict).await?;
    wait_until_running(connect, name).await?;
    passed
}

fn equal(found: &Value, wanted: &Map<String, Value>) -> bool {
    // Connect adds the connector's name.
    let theirs =
        found.as_object().map(|found| found.iter().filter(|(key, _)| *key != "name").collect::<Vec<_>>());
    theirs.is_some_and(|theirs| {
        theirs.len() == wanted.len() && theirs.iter().all(|(key, value)| wanted.get(*key) == Some(value))
    })
}

/// The template with its placeholders `{…}` filled in. The password is sent to Connect in clear text, unless
/// `connect.database_password` refers to a config provider of the worker.
fn configuration(config: &Config) -> Result<Map<String, Value>, Failure> {
    let template: Map<String, Value> = serde_json::from_str(TEMPLATE)
        .map_err(|error| Failure::refused("connectors/outbox.json is not a JSON object").caused_by(error))?;
    let values = placeholders(config)?;
    let fill =
        |text: &str| values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    let filled = |(key, value): (String, Value)| match value {
        Value::String(text) => (key, Value::from(fill(&text))),
        other => (key, other),
    };
    let overrides =
        config.connect.overrides.iter().map(|(key, value)| (key.clone(), Value::from(value.expose_secret())));
    Ok(template.into_iter().map(filled).chain(encryption(config)).chain(overrides).collect())
}

/// As `postgres.write.url` says it for Millrace's own connections. Debezium has no `allow`.
fn encryption(config: &Config) -> impl Iterator<Item = (String, Value)> {
    let mode = ssl_mode(&config.postgres.write.url).map(|mode| mode.replace("allow", "prefer"));
    let mode = mode.map(|mode| ("database.sslmode".to_owned(), Value::from(mode)));
    let ca = config.connect.database_ca_file.as_ref().map(|file| file.display().to_string());
    let ca = ca.map(|file| ("database.sslrootcert".to_owned(), Value::from(file)));
    mode.into_iter().chain(ca)
}

fn placeholders(config: &Config) -> Result<Vec<(&'static str, String)>, Failure> {
    let url = config.postgres.write.url.url();
    let decoded = |text: &str| percent_decoded(text);
    let (host, port) = match &config.connect.database {
        Some(place) => place
            .rsplit_once(':')
            .map(|(host, port)| (host.to_owned(), port.to_owned()))
            .ok_or_else(|| Failure::usage(format!("connect.database: `{place}` is not host:port")))?,
        None => {
            let host = url.host_str().unwrap_or("127.0.0.1").trim_matches(['[', ']']).to_owned();
            (host, url.port().unwrap_or(DEFAULT_PORT).to_string())
        }
    };
    let password = config.connect.database_password.as_ref();
    let password = password.map(|password| password.expose_secret().to_owned());
    let user = config.connect.database_user.clone().unwrap_or_else(|| decoded(url.username()));
    let password = password.unwrap_or_else(|| decoded(url.password().unwrap_or_default()));
    Ok(vec![
        ("{namespace}", config.namespace.to_string()),
        ("{outbox}", config.namespace.outbox()),
        ("{poll.interval.ms}", config.connect.outbox_poll_interval.as_millis().to_string()),
        ("{database.host}", host),
        ("{database.port}", port),
        ("{database.user}", user),
        ("{database.name}", decoded(url.path().trim_start_matches('/'))),
        // Last, so that nothing is replaced inside a password.
        ("{database.password}", password),
    ])
}

fn percent_decoded(text: &str) -> String {
    // Form decoding differs from URL decoding only in the plus sign.
    let text = text.replace('+', "%2B");
    let pairs = format!("v={text}");
    reqwest::Url::parse(&format!("x:?{pairs}"))
        .ok()
        .and_then(|url| url.query_pairs().next().map(|(_, value)| value.into_owned()))
        .unwrap_or_default()
}

/// Waits until the connector runs. A failed one is restarted once, since its error may be from before.
async fn wait_until_running(connect: &Http, name: &str) -> Result<(), Failure> {
    let until = Instant::now() + RUNNING_WITHIN;
    let mut restarted: Option<Instant> = None;
    loop {
        let state = State::find(connect, name).await?.unwrap_or_else(State::unassigned);
        match (&state.trace, restarted) {
            // A restarted task runs for a moment before it fails again.
            (None, since) if state.running() && since.is_none_or(|since| since.elapsed() > SETTLED_AFTER) => {
                return Ok(());
            }
            (Some(_), None) => {
                restart(connect, name).await?;
                restarted = Some(Instant::now());
            }
            (Some(trace), Some(since)) if since.elapsed() > FAILED_AGAIN_AFTER => {
                return Err(Failure::refused(format!("the connector `{name}` fails: {trace}")));
            }
            _ if Instant::now() > until => return Err(not_running(name, &state)),
            _ => (),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

async fn restart(connect: &Http, name: &str) -> Result<(), Failure> {
    let path = ["connectors", name, "restart"];
    let query = [("includeTasks", "true"), ("onlyFailed", "true")];
    let answer = connect.send_query(Method::POST, &path, &query, None).await?;
    answer.success().map(|_| ())
}

fn not_running(name: &str, state: &State) -> Failure {
    let task = state.task.as_deref().unwrap_or("not there");
    let seconds = RUNNING_WITHIN.as_secs();
    Failure::refused(format!(
        "the connector `{name}` is {} and its task {task} after {seconds} s",
        state.connector
    ))
}

/// The state of a connector and its task.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "Connector")]
pub struct State {
    /// Such as `RUNNING`; `UNASSIGNED` until a worker has it.
    pub connector: String,
    /// The state of its only task.
    pub task: Option<String>,
    /// The error in one line, if it failed.
    pub trace: Option<String>,
    /// The number of bytes of WAL by which Connect's offsets are ahead of the server; 0 when they are not.
    pub offsets_ahead: i64,
    /// Whether it skips rows that Kafka refuses, as during `millrace outbox skip`, or after that was killed.
    pub drops_rows: bool,
}

impl State {
    /// Queries Connect; `None` when there is no such connector.
    pub async fn find(connect: &Http, name: &str) -> Result<Option<Self>, Failure> {
        let status = connect.find(&["connectors", name, "status"]).await?;
        Ok(status.as_ref().map(Self::read))
    }

    /// The state of a new connector that no worker has reported yet.
    fn unassigned() -> Self {
        Self::read(&Value::Null)
    }

    fn read(status: &Value) -> Self {
        let text = |path: &str| status.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let trace = text("/tasks/0/trace").or_else(|| text("/connector/trace"));
        Self {
            connector: text("/connector/state").unwrap_or_else(|| "UNASSIGNED".to_owned()),
            task: text("/tasks/0/state"),
            trace: trace.as_deref().map(root_cause),
            offsets_ahead: 0,
            drops_rows: false,
        }
    }

    /// Whether it was paused or stopped.
    pub fn is_paused(&self) -> bool {
        matches!(self.connector.as_str(), "PAUSED" | "STOPPED")
    }

    /// Whether it needs an operator.
    pub fn is_wrong(&self) -> bool {
        self.trace.is_some() || self.is_paused() || self.offsets_ahead > 0 || self.drops_rows
    }

    /// Whether it has failed and must be restarted.
    pub fn failed(&self) -> bool {
        self.connector == "FAILED" || self.task.as_deref() == Some("FAILED")
    }

    /// Whether connector and task run.
    pub fn running(&self) -> bool {
        self.connector == "RUNNING" && self.task.as_deref() == Some("RUNNING")
    }
}

/// The innermost cause of a trace; its first line usually says only that the tolerance was exceeded.
fn root_cause(trace: &str) -> String {
    let cause = trace.lines().filter_map(|line| line.trim().strip_prefix("Caused by: ")).next_back();
    cause.or_else(|| trace.lines().next()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(set: &[&str]) -> Map<String, Value> {
        configuration(&Config::with(set).unwrap()).unwrap()
    }

    #[test]
    fn every_placeholder_is_filled_and_debezium_keeps_its_own() {
        let url = "postgres.write.url=postgres://me:p%40ss%2Bword@db:6543/orders";
        let configuration = filled(&["namespace=shop", url]);
        for (key, value) in [
            ("database.hostname", "db"),
            ("database.port", "6543"),
            ("database.user", "me"),
            ("database.password", "p@ss+word"),
            ("database.dbname", "orders"),
            ("slot.name", "shop_outbox"),
            ("table.include.list", "shop.outbox"),
            ("transforms.outbox.route.topic.replacement", "${routedByValue}"),
        ] {
            assert_eq!(configuration[key], json!(value), "{key}");
        }
        let left = configuration.iter().find(|(_, value)| value.to_string().replace("${", "").contains('{'));
        assert_eq!(left, None);
    }

    #[test]
    fn connect_may_know_the_database_by_other_names() {
        let configuration =
            filled(&["connect.database=postgres:5432", "connect.database_password=${file:/p:x}"]);
        assert_eq!(configuration["database.hostname"], json!("postgres"));
        assert_eq!(configuration["database.password"], json!("${file:/p:x}"));
    }

    #[test]
    fn states_are_read() {
        let failed =
            json!({"connector": {"state": "RUNNING"}, "tasks": [{"state": "FAILED", "trace": "why\n\tat"}]});
        let state = State::read(&failed);
        assert!(!state.running());
        assert_eq!(state.trace.as_deref(), Some("why"));
        assert_eq!(
            root_cause("outer\n\tat a\nCaused by: middle\n\tat b\nCaused by: inner\n\t... 3 more"),
            "inner"
        );
        assert_eq!(State::unassigned().connector, "UNASSIGNED");
    }
}
