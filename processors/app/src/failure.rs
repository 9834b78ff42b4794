//! How a command of the operator fails, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

/// Why a command did not do what it was asked for. The kind decides the exit code.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Exit code 1: something was refused, rejected or failed as asked.
    #[error("{0}")]
    Refused(String),
    /// Exit code 1: another process is at the same thing.
    #[error("{0}")]
    Busy(String),
    /// Exit code 2: the command line or the configuration is wrong.
    #[error("{0}")]
    Usage(String),
    /// Exit code 3: a dependency does not answer.
    #[error("{service} at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Which one.
        service: Service,
        /// Where it was looked for; never with a password.
        address: String,
        /// What its client says.
        reason: String,
    },
    /// Exit code 4: there is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Exit code 5: what is stored is not what it should be.
    #[error("{0}")]
    Drift(String),
}

/// Something outside that the operator's commands talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The database of the write side.
    WriteDatabase,
    /// The database of the read side.
    ReadDatabase,
    /// The brokers.
    Kafka,
    /// The schema registry.
    Registry,
    /// Kafka Connect.
    Connect,
    /// The search cluster.
    Elasticsearch,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Service::WriteDatabase => "the write database",
            Service::ReadDatabase => "the read database",
            Service::Kafka => "Kafka",
            Service::Registry => "the schema registry",
            Service::Connect => "Kafka Connect",
            Service::Elasticsearch => "Elasticsearch",
        })
    }
}

impl Failure {
    /// Something was refused.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    /// The command line or the configuration is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// The number that the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Refused(_) | Failure::Busy(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable { .. } => 3,
            Failure::NotFound(_) => 4,
            Failure::Drift(_) => 5,
        })
    }
}
