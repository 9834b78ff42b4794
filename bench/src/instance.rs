//! The instance that is measured: its namespace, created and removed by the program itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use tokio::process::Command;

use crate::cli::Global;
use crate::running::Running;
use crate::stack::Stack;

const REMOVAL_TRIES: u32 = 8;
const BETWEEN_TRIES: Duration = Duration::from_secs(5);

/// An instance of Millrace with a namespace of its own.
#[derive(Clone)]
pub(crate) struct Instance {
    pub(crate) stack: Stack,
    pub(crate) namespace: String,
    program: PathBuf,
    partitions: i32,
    settings: Vec<String>,
    out: PathBuf,
}

impl Instance {
    /// Nothing is created yet.
    pub(crate) fn new(stack: Stack, global: &Global, name: &str, partitions: i32) -> Self {
        let mut settings = vec![format!("topics.partitions={partitions}"), "sagas.enabled=false".to_owned()];
        settings.extend(global.set.iter().cloned());
        let (program, out) = (global.millrace.clone(), global.out.clone());
        Self { stack, namespace: format!("bench_{name}"), program, partitions, settings, out }
    }

    /// The same with another number of partitions.
    pub(crate) fn with_partitions(&self, partitions: i32) -> Self {
        let kept = self.settings.iter().filter(|setting| !setting.starts_with("topics.partitions=")).cloned();
        let settings = kept.chain([format!("topics.partitions={partitions}")]).collect();
        Self { partitions, settings, ..self.clone() }
    }

    /// Removes what an earlier run has left and sets up anew.
    pub(crate) async fn recreate(&self) -> Result<()> {
        self.remove().await?;
        self.millrace(&["setup"]).await
    }

    /// Removes everything. A group that was left behind in a crash is empty only after its session's end.
    pub(crate) async fn remove(&self) -> Result<()> {
        for _ in 1..REMOVAL_TRIES {
            if self.millrace(&["teardown", "--yes"]).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        self.millrace(&["teardown", "--yes"]).await
    }

    /// Runs one of its commands to the end.
    pub(crate) async fn millrace(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new(&self.program).args(self.options()).args(arguments).output().await;
        let output = output.with_context(|| format!("{} cannot be started", self.program.display()))?;
        if !output.status.success() {
            bail!("millrace {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn options(&self) -> Vec<String> {
        let settings = self.settings.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]);
        ["--namespace".to_owned(), self.namespace.clone()].into_iter().chain(settings).collect()
    }

    /// Partitions of each topic.
    pub(crate) fn partitions(&self) -> i32 {
        self.partitions
    }

    /// What was configured apart from the defaults.
    pub(crate) fn settings(&self) -> &[String] {
        &self.settings
    }

    /// Starts `millrace run` with these roles (all without any) and further settings.
    pub(crate) async fn start(&self, roles: &[&str], settings: &[String]) -> Result<Running> {
        let mut arguments = self.options();
        for setting in settings {
            arguments.extend(["--set".to_owned(), setting.clone()]);
        }
        arguments.push("run".to_owned());
        arguments.extend(roles.iter().map(|role| (*role).to_owned()));
        Running::start(&self.program, &arguments, &self.log("millrace")?).await
    }

    /// The log of a program that is measured.
    pub(crate) fn log(&self, program: &str) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.out)?;
        Ok(Path::new(&self.out).join(format!("{}.{program}.log", self.namespace)))
    }

    /// Stops the connector's task, so that carrying events to Kafka does not compete with the stage that is measured.
    pub(crate) async fn stop_debezium(&self) -> Result<()> {
        let path = format!("connectors/{}_outbox/stop", self.namespace);
        self.stack.connect(Method::PUT, &path, None).await.map(|_| ())
    }

    /// Lets it go on.
    pub(crate) async fn resume_debezium(&self) -> Result<()> {
        let path = format!("connectors/{}_outbox/resume", self.namespace);
        self.stack.connect(Method::PUT, &path, None).await.map(|_| ())
    }

    /// The topic of a context's commands (`cmd`) or events (`evt`).
    pub(crate) fn topic(&self, kind: &str, context: &str) -> String {
        format!("{}.{kind}.{context}.v1", self.namespace)
    }

    /// The consumer group of a role.
    pub(crate) fn group(&self, role: &str) -> String {
        format!("{}.{role}", self.namespace)
    }

    /// The name under which readers search a view.
    pub(crate) fn alias(&self, view: &str) -> String {
        format!("{}-{view}", self.namespace)
    }
}
