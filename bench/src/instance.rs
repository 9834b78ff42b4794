//! The instance that is measured: its namespace, created and removed by the program itself.

use std::ops::Deref;
use std::time::Duration;

use anyhow::{Result, bail};
use millrace_testkit::{Running, Stack};
use reqwest::Method;

use crate::cli::Global;

/// How long there may be no progress before a measurement is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An instance of Millrace with a separate namespace.
#[derive(Clone)]
pub(crate) struct Instance {
    kit: millrace_testkit::Instance,
    partitions: i32,
}

impl Deref for Instance {
    type Target = millrace_testkit::Instance;

    fn deref(&self) -> &millrace_testkit::Instance {
        &self.kit
    }
}

impl Instance {
    /// Nothing is created yet.
    pub(crate) fn new(stack: Stack, global: &Global, name: &str, partitions: i32) -> Result<Self> {
        let mut settings = vec![format!("topics.partitions={partitions}"), "sagas.enabled=false".to_owned()];
        settings.extend(global.set.iter().cloned());
        let name = format!("bench_{name}");
        let kit = millrace_testkit::Instance::new(stack, name, &global.millrace, settings, &global.out)?;
        Ok(Self { kit, partitions })
    }

    /// The same with another number of partitions.
    pub(crate) fn with_partitions(&self, partitions: i32) -> Self {
        Self { kit: self.kit.with(format!("topics.partitions={partitions}")), partitions }
    }

    /// The same with a further setting.
    pub(crate) fn with(&self, setting: &str) -> Self {
        Self { kit: self.kit.with(setting.to_owned()), partitions: self.partitions }
    }

    /// Removes what an earlier run has left and sets up anew.
    pub(crate) async fn recreate(&self) -> Result<()> {
        self.remove().await?;
        self.millrace(&["setup"]).await
    }

    /// Removes everything.
    pub(crate) async fn remove(&self) -> Result<()> {
        let kit = self.kit.clone();
        tokio::task::spawn_blocking(move || kit.tear_down()).await?
    }

    /// Runs one of its commands to the end.
    pub(crate) async fn millrace(&self, arguments: &[&str]) -> Result<()> {
        let output = self.kit.run(arguments, &[]).await?;
        if !output.status.success() {
            bail!("millrace {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Partitions of each topic.
    pub(crate) fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Starts `millrace run` with these roles (all without any) and further settings, and waits until it serves.
    pub(crate) async fn start(&self, roles: &[&str], settings: &[String]) -> Result<Running> {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let arguments: Vec<&str> = ["run"].into_iter().chain(roles.iter().copied()).chain(settings).collect();
        let mut running = self.kit.start(&arguments, &[])?;
        running.serves().await?;
        Ok(running)
    }

    /// Stops the connector's task, so that carrying events to Kafka does not compete with the stage that is measured.
    pub(crate) async fn stop_debezium(&self) -> Result<()> {
        self.ask_connector("stop").await
    }

    /// Lets it go on.
    pub(crate) async fn resume_debezium(&self) -> Result<()> {
        self.ask_connector("resume").await
    }

    /// Removes it, until the next `setup`.
    pub(crate) async fn remove_debezium(&self) -> Result<()> {
        let path = format!("connectors/{}_outbox", self.name);
        self.stack.connect(Method::DELETE, &path, None).await.map(|_| ())
    }

    async fn ask_connector(&self, action: &str) -> Result<()> {
        let path = format!("connectors/{}_outbox/{action}", self.name);
        self.stack.connect(Method::PUT, &path, None).await.map(|_| ())
    }
}
