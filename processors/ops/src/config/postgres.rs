//! The two databases.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::{at_least, positive};
use super::units::{Human, written_duration};
use crate::address::Address;
use crate::failure::Failure;

/// How the databases are reached, and timeouts.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Postgres {
    /// The write side.
    pub write: Database,
    /// The read side.
    pub read: Database,
    /// The role that is granted SELECT on the views, when it exists.
    pub reader_role: String,
    /// Connections of a process to each database, at most.
    pub connections_max: u32,
    /// Postgres aborts a transaction that lasts longer (`transaction_timeout`). Must be below `kafka.session_timeout`, so that
    /// the transaction of a frozen host holds no lock after its partitions were reassigned.
    #[serde_as(as = "Human")]
    pub transaction_timeout: Duration,
    /// A database that has not answered after this time counts as an outage, since a broken connection may never report an
    /// error. Must be above `postgres.transaction_timeout`.
    #[serde_as(as = "Human")]
    pub answer_timeout: Duration,
    /// How long `millrace setup` tries to lock a table that other sessions use. Each try waits two seconds, and workers go on
    /// between them.
    #[serde_as(as = "Human")]
    pub setup_lock_timeout: Duration,
}

/// One of the two databases.
#[derive(Clone, Deserialize, Serialize)]
pub struct Database {
    /// The URL, such as `postgres://user@host:5432/database`; keep the password in a file.
    pub url: Address,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            write: Database::at("postgres://millrace@127.0.0.1:5432/millrace_write"),
            read: Database::at("postgres://millrace@127.0.0.1:5432/millrace_read"),
            reader_role: "millrace_reader".to_owned(),
            connections_max: 16,
            transaction_timeout: Duration::from_secs(20),
            answer_timeout: Duration::from_secs(40),
            setup_lock_timeout: Duration::from_secs(600),
        }
    }
}

impl Postgres {
    pub(super) fn with_passwords(self) -> Result<Self, Failure> {
        let write = self.write.with_password("postgres.write.password_file")?;
        let read = self.read.with_password("postgres.read.password_file")?;
        Ok(Self { write, read, ..self })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let Self { transaction_timeout: transaction, answer_timeout: answer, .. } = *self;
        let problems = [
            positive("postgres.connections_max", self.connections_max),
            at_least("postgres.transaction_timeout", transaction, Duration::from_millis(1)),
            at_least("postgres.setup_lock_timeout", self.setup_lock_timeout, Duration::from_secs(1)),
            (answer <= transaction).then(|| {
                let [answer, transaction] = [answer, transaction].map(written_duration);
                format!(
                    "postgres.answer_timeout ({answer}) must be above postgres.transaction_timeout ({transaction}), so that Postgres ends first what takes too long"
                )
            }),
            self.write.problem("postgres.write.url"),
            self.read.problem("postgres.read.url"),
        ];
        problems.into_iter().flatten().collect()
    }
}

impl Database {
    fn at(url: &'static str) -> Self {
        Self { url: Address::literal(url), password_file: None }
    }

    fn with_password(mut self, name: &str) -> Result<Self, Failure> {
        if let Some(file) = &self.password_file {
            let read = self.url.with_password_file(file);
            self.url = read.map_err(|problem| Failure::usage(format!("{name}: {problem}")))?;
        }
        Ok(self)
    }

    fn problem(&self, name: &str) -> Option<String> {
        let scheme = self.url.url().scheme();
        let known = ["postgres", "postgresql"].contains(&scheme);
        (!known).then(|| format!("{name} must begin with postgres://, not {scheme}://"))
    }
}
