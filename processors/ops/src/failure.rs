//! How what an operator asks for fails.

use std::fmt;

/// Why something was not done as it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Something was refused, rejected or failed as asked.
    #[error("{0}")]
    Refused(String),
    /// Another process is at the same thing.
    #[error("{0}")]
    Busy(String),
    /// The command line or the configuration is wrong.
    #[error("{0}")]
    Usage(String),
    /// A dependency does not answer.
    #[error("{service} at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Which one.
        service: Service,
        /// Where it was looked for; never with a password.
        address: String,
        /// What its client says.
        reason: String,
    },
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// What is stored is not what it should be.
    #[error("{0}")]
    Drift(String),
}

/// A component that the operator's commands talk to.
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
}
