//! An instance of Millrace in a separate namespace.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::running::Running;
use crate::stack::Stack;

/// How long teardown is retried: the group of a killed process is empty only after its session timeout.
const TEARDOWN_PATIENCE: Duration = Duration::from_secs(40);
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// A namespace, its program and its settings. The value itself creates and removes nothing.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The addresses of its components.
    pub stack: Stack,
    /// The namespace.
    pub name: String,
    program: PathBuf,
    settings: Vec<String>,
    folder: PathBuf,
    files: Arc<AtomicU32>,
}

impl Instance {
    /// With settings such as `topics.partitions=2` in addition to the program's defaults, of which a later one wins. Its
    /// processes work in a folder of its own, where their logs go.
    ///
    /// # Errors
    /// When the folder cannot be there.
    pub fn new(
        stack: Stack,
        name: String,
        program: &Path,
        settings: Vec<String>,
        folder: &Path,
    ) -> Result<Self> {
        let (program, folder) = (std::path::absolute(program)?, std::path::absolute(folder)?.join(&name));
        std::fs::create_dir_all(&folder)?;
        Ok(Self { stack, name, program, settings, folder, files: Arc::default() })
    }

    /// The same with one more setting.
    #[must_use]
    pub fn with(&self, setting: String) -> Self {
        let settings = self.settings.iter().cloned().chain([setting]).collect();
        Self { settings, ..self.clone() }
    }

    /// The same, worked on by another program.
    #[must_use]
    pub fn of_program(&self, program: &Path) -> Self {
        Self { program: program.to_owned(), ..self.clone() }
    }

    /// Its settings besides the defaults.
    pub fn settings(&self) -> &[String] {
        &self.settings
    }

    /// The folder of its logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A new file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{:02}-{name}", self.files.fetch_add(1, Ordering::Relaxed)))
    }

    /// The program with the instance's settings; the caller adds the arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(&self.folder)
            .args(["--namespace", &self.name])
            .args(self.settings.iter().flat_map(|setting| ["--set", setting]))
            .envs(self.stack.variables())
            // The stack has no TLS; reading the certificates would be a third of the time of a short command.
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "/dev/null");
        command
    }

    /// Starts a process with these arguments, such as `run`, and further variables.
    ///
    /// # Errors
    /// When the program or the log cannot be opened.
    pub fn start(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Running> {
        let (name, log) = (arguments.join(" "), self.file("process.log"));
        let mut command = self.command();
        command.args(arguments).envs(variables.iter().copied());
        Running::start(&format!("millrace {name}"), &mut command, &log, self.stack.http())
    }

    /// Runs an operator's command to its end, successful or not.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Output> {
        let mut command = self.command();
        command.args(arguments).envs(variables.iter().copied());
        let output = tokio::process::Command::from(command).output().await;
        output.with_context(|| format!("{} cannot be started", self.program.display()))
    }

    /// Removes everything that the namespace owns; tried again while groups still count members that were killed. Blocks.
    ///
    /// # Errors
    /// What the program says, when it still fails after 40 s.
    pub fn tear_down(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let output = self.command().args(["teardown", "--yes"]).output()?;
            if output.status.success() {
                return Ok(());
            }
            let talk = String::from_utf8_lossy(&output.stderr);
            ensure!(began.elapsed() < TEARDOWN_PATIENCE, "teardown of {}: {talk}", self.name);
            std::thread::sleep(BETWEEN_TRIES);
        }
    }

    /// The topic of a context's commands (`cmd`), events (`evt`) or rejections (`rej`).
    pub fn topic(&self, kind: &str, context: &str) -> String {
        format!("{}.{kind}.{context}.v1", self.name)
    }

    /// The consumer group of a role.
    pub fn group(&self, role: &str) -> String {
        format!("{}.{role}", self.name)
    }

    /// The name under which readers search a view.
    pub fn alias(&self, view: &str) -> String {
        format!("{}-{view}", self.name)
    }

    /// The `application_name` of its sessions in Postgres.
    pub fn session_name(&self) -> String {
        format!("millrace {}", self.name)
    }
}
