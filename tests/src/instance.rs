//! An instance of Millrace in a separate namespace.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use millrace_schemas::CONTEXTS;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};

use crate::kafka::Reader;
use crate::outcome::Outcome;
use crate::process::Process;
use crate::stack::stack;
use crate::views::{self, View};

/// Postgres's warnings when a transaction is begun inside another (25001) or ended without one (25P01): then a snapshot or an
/// atomic change is not one. sqlx logs warnings without their codes.
const WARNINGS: [&str; 2] =
    ["there is already a transaction in progress", "there is no transaction in progress"];

/// How stories configure their instances unless they say otherwise: small, quick to notice the dead, with the contexts
/// that [`Load`](crate::Load) uses, and without sagas, so that nothing happens but what the story sends.
const DEFAULTS: [(&str, &str); 12] = [
    ("contexts", r#"["carts", "catalog", "customers", "inventory", "orders"]"#),
    ("topics.partitions", "2"),
    // Several connectors share the processors with everything else.
    ("connect.outbox_poll_interval", "50ms"),
    ("kafka.session_timeout", "6s"),
    ("kafka.heartbeat_interval", "1s"),
    ("postgres.transaction_timeout", "4s"),
    ("processing.commands_batch_max", "100"),
    ("processing.events_batch_max", "200"),
    ("retries.delays", "[400ms, 1s]"),
    ("sagas.enabled", "false"),
    // One story tests it.
    ("metrics.interval", "never"),
    ("logging.filter", "info"),
];

/// The paths of the programs and of logs, which only a test target knows.
#[derive(Debug, Clone, Copy)]
pub struct Workshop {
    /// The binary under test.
    pub binary: &'static str,
    /// The simulator.
    pub simulator: &'static str,
    /// A folder for logs.
    pub folder: &'static str,
}

/// A namespace that `millrace setup` has set up. Torn down at the end, also when the story fails.
pub struct Instance {
    kit: millrace_testkit::Instance,
    /// The write side, with the namespace's schema in the search path.
    pub write: PgPool,
    /// The read side, likewise.
    pub read: PgPool,
    /// Kafka.
    pub kafka: Reader,
    /// The contexts that it has.
    pub contexts: Vec<&'static str>,
    /// Views and contexts that they read, but not in an earlier release that works on it.
    pub unread: &'static [(&'static str, &'static str)],
    /// Views that an earlier release that works on it does not publish.
    pub unpublished: &'static [&'static str],
}

/// Another build of Millrace, which works on an instance.
#[derive(Debug, Clone)]
pub struct Build {
    kit: millrace_testkit::Instance,
    variables: Vec<(&'static str, &'static str)>,
}

impl Build {
    /// The same with variables.
    #[must_use]
    pub fn with(&self, variables: &[(&'static str, &'static str)]) -> Self {
        Self { variables: variables.to_vec(), ..self.clone() }
    }

    /// Starts every role in one process.
    pub fn start(&self) -> Process {
        Process(self.kit.start(&["run"], &self.variables).expect("the binary of another build"))
    }

    /// Runs an operator's command to its end.
    pub async fn millrace(&self, arguments: &[&str]) -> Outcome {
        let output = self.kit.run(arguments, &self.variables).await;
        Outcome::new(arguments, output.expect("the binary of another build"))
    }

    /// Sends commands, one per line, and expects that all are accepted.
    pub async fn send(&self, lines: &[String]) {
        self.millrace(&["send", &written(&self.kit, lines)]).await.expect_success();
    }
}

impl Deref for Instance {
    type Target = millrace_testkit::Instance;

    fn deref(&self) -> &millrace_testkit::Instance {
        &self.kit
    }
}

impl Instance {
    /// Sets up a new namespace called after a story.
    pub async fn new(workshop: Workshop, story: &str) -> Self {
        Self::with(workshop, story, &[]).await
    }

    /// As [`new`](Self::new), with further settings.
    pub async fn with(workshop: Workshop, story: &str, settings: &[(&str, &str)]) -> Self {
        Self::without(workshop, story, settings, &[]).await
    }

    /// As [`with`](Self::with), for a build that does not know some of the stories' own settings.
    pub async fn without(
        workshop: Workshop,
        story: &str,
        settings: &[(&str, &str)],
        unknown: &[&str],
    ) -> Self {
        let random = uuid::Uuid::now_v7().simple().to_string().split_off(26);
        let name = format!("s_{story}_{random}");
        let own = DEFAULTS.iter().filter(|(setting, _)| !unknown.contains(setting));
        let settings: Vec<(&str, &str)> = own.chain(settings).copied().collect();
        let instance = Self {
            write: pool("WRITE_DATABASE_URL", &name),
            read: pool("READ_DATABASE_URL", &name),
            kafka: Reader::default(),
            contexts: contexts(&settings),
            unread: &[],
            unpublished: &[],
            kit: kit(workshop, name, &settings),
        };
        instance.millrace(&["setup"]).await.expect_success();
        instance
    }

    /// Another build, by its binary.
    pub fn build(&self, binary: &Path) -> Build {
        Build { kit: self.kit.of_program(binary), variables: Vec::new() }
    }

    /// Starts every role in one process.
    pub fn start(&self) -> Process {
        self.start_with(&[], &[])
    }

    /// Starts a process with further arguments of `millrace run` and further variables.
    pub fn start_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Process {
        self.process(&[&["run"], arguments].concat(), variables)
    }

    /// Starts a process that a failpoint kills.
    pub fn start_doomed(&self, failpoints: &str) -> Process {
        self.start_with(&[], &[("FAILPOINTS", failpoints)])
    }

    /// Starts a command of the operator, which may then be killed.
    pub fn begin(&self, arguments: &[&str]) -> Process {
        self.process(arguments, &[])
    }

    fn process(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Process {
        let variables = with_broken(variables);
        Process(self.kit.start(arguments, &borrowed(&variables)).expect("the binary under test"))
    }

    /// Runs an operator's command to its end.
    pub async fn millrace(&self, arguments: &[&str]) -> Outcome {
        self.millrace_with(arguments, &[]).await
    }

    /// As [`millrace`](Self::millrace), with further variables.
    pub async fn millrace_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let variables = with_broken(variables);
        let output = self.kit.run(arguments, &borrowed(&variables)).await.expect("the binary under test");
        let outcome = Outcome::new(arguments, output);
        expect_no_warning(&outcome.arguments, &outcome.stderr);
        outcome
    }

    /// Sends commands, one per line, and expects that all are accepted.
    pub async fn send(&self, lines: &[String]) {
        self.millrace(&["send", &self.written(lines)]).await.expect_success();
    }

    /// Sends commands and waits until each has its outcome.
    pub async fn send_and_wait(&self, lines: &[String]) -> Outcome {
        self.millrace(&["send", &self.written(lines), "--wait", "--timeout", "300s", "--format", "json"])
            .await
    }

    /// Lets Postgres refuse rows of a table of the read side that do not fulfil a condition (CHECK).
    ///
    /// # Panics
    /// When an existing row does not fulfil it, or there is a condition already.
    pub async fn refuse_unless(&self, table: &str, condition: &str) {
        self.alter(format!("ALTER TABLE {table} ADD CONSTRAINT refused CHECK ({condition})")).await;
    }

    /// Removes the condition.
    ///
    /// # Panics
    /// When none was refused.
    pub async fn refuse_no_more(&self, table: &str) {
        self.alter(format!("ALTER TABLE {table} DROP CONSTRAINT refused")).await;
    }

    async fn alter(&self, sql: String) {
        sqlx::query(AssertSqlSafe(sql)).execute(&self.read).await.expect("a table that can be altered");
    }

    /// Those of them that the instance has: another release may have set it up, which lacks one.
    pub async fn views_set_up(&self) -> Result<Vec<View>, String> {
        let there: Vec<String> = sqlx::query_scalar("SELECT DISTINCT view FROM replay")
            .fetch_all(&self.read)
            .await
            .map_err(|error| error.to_string())?;
        Ok(self.views().into_iter().filter(|view| there.iter().any(|name| name == view.name)).collect())
    }

    /// The views that it has.
    pub fn views(&self) -> Vec<View> {
        let mut views = views::of(&self.contexts);
        for view in &mut views {
            view.contexts.retain(|context| !self.unread.contains(&(view.name, context)));
            view.index &= !self.unpublished.contains(&view.name);
        }
        views
    }

    /// Writes commands to a file of the instance, one per line; returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn written(&self, lines: &[String]) -> String {
        written(&self.kit, lines)
    }

    /// The logs of all its processes.
    fn logs(&self) -> Vec<(String, String)> {
        let files = std::fs::read_dir(self.folder()).expect("the folder for logs").flatten();
        let logs = files.map(|file| file.path()).filter(|path| path.extension() == Some("log".as_ref()));
        let text =
            |path: PathBuf| String::from_utf8_lossy(&std::fs::read(&path).expect("a log")).into_owned();
        logs.map(|path| (path.display().to_string(), text(path))).collect()
    }
}

/// Mechanisms that are switched off for the whole story stay switched off beside further failpoints.
fn with_broken<'v>(variables: &[(&'v str, &str)]) -> Vec<(&'v str, String)> {
    let broken = std::env::var("FAILPOINTS").unwrap_or_default();
    let value = |name: &str, value: &str| match name {
        "FAILPOINTS" => format!("{broken};{value}"),
        _ => value.to_owned(),
    };
    variables.iter().map(|(name, given)| (*name, value(name, given))).collect()
}

fn borrowed<'v>(variables: &'v [(&'v str, String)]) -> Vec<(&'v str, &'v str)> {
    variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn written(kit: &millrace_testkit::Instance, lines: &[String]) -> String {
    let file = kit.file("commands.jsonl");
    std::fs::write(&file, lines.join("\n")).expect("a file of commands");
    file.to_str().expect("a path that is text").to_owned()
}

fn kit(workshop: Workshop, name: String, settings: &[(&str, &str)]) -> millrace_testkit::Instance {
    let settings = settings.iter().map(|(field, value)| format!("{field}={value}")).collect();
    let (binary, folder) = (Path::new(workshop.binary), Path::new(workshop.folder));
    millrace_testkit::Instance::new(stack().clone(), name, binary, settings, folder)
        .expect("a folder for logs")
}

/// The contexts in the last setting.
fn contexts(settings: &[(&str, &str)]) -> Vec<&'static str> {
    let setting = settings.iter().rfind(|(field, _)| *field == "contexts").map(|(_, value)| value);
    let names: Vec<String> = serde_json::from_str(setting.expect("contexts")).expect("a list of contexts");
    CONTEXTS.iter().copied().filter(|context| names.iter().any(|name| name == context)).collect()
}

/// Another connection pool, for a story that holds locks.
pub fn pool(variable: &str, schema: &str) -> PgPool {
    let options = PgConnectOptions::from_str(stack().address(variable)).expect("a Postgres URL");
    let options = options.application_name("stories").options([("search_path", schema)]);
    PgPoolOptions::new().max_connections(4).connect_lazy_with(options)
}

fn expect_no_warning(of: &str, log: &str) {
    let warned = log.lines().find(|line| WARNINGS.iter().any(|warning| line.contains(warning)));
    assert_eq!(warned, None, "Postgres warns {of}");
}

impl Drop for Instance {
    fn drop(&mut self) {
        let gone = tokio::task::block_in_place(|| self.tear_down());
        if std::thread::panicking() {
            eprintln!("--- the logs of this story are in {}", self.folder().display());
            return;
        }
        gone.expect("nothing is left of the instance");
        self.logs().iter().for_each(|(file, log)| expect_no_warning(file, log));
        let _ = std::fs::remove_dir_all(self.folder());
    }
}
