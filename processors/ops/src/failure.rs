//! How what an operator asks for fails.

use std::error::Error;
use std::fmt;

use millrace_engine::Reason;

/// Why something was not done as it was asked for. Its text has what its source says, so that the chain is printed once.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Something was refused, rejected or failed as asked.
    #[error(transparent)]
    Refused(Reason),
    /// Another process is at the same thing.
    #[error("{0}")]
    Busy(String),
    /// The command line or the configuration is wrong.
    #[error(transparent)]
    Usage(Reason),
    /// A dependency does not answer.
    #[error("{service} at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Which one.
        service: Service,
        /// Where it was looked for; never with a password.
        address: String,
        /// What its client says.
        #[source]
        reason: Reason,
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
    pub fn refused(message: impl Into<Reason>) -> Self {
        Self::Refused(message.into())
    }

    /// The command line or the configuration is wrong.
    pub fn usage(message: impl Into<Reason>) -> Self {
        Self::Usage(message.into())
    }

    /// Says behind a colon what the error says that it follows from, and has that as its source.
    #[must_use]
    pub fn caused_by(mut self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = Reason::of(error);
        match &mut self {
            Self::Refused(reason) | Self::Usage(reason) | Self::Unreachable { reason, .. } => {
                *reason = error.with_text(|said| format!("{reason}: {said}"));
            }
            Self::Busy(text) | Self::NotFound(text) | Self::Drift(text) => {
                text.push_str(&format!(": {error}"))
            }
        }
        self
    }

    /// Has an error as its source of which its text says already what there is to say.
    #[must_use]
    pub fn with_source(mut self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        match &mut self {
            Self::Refused(reason) | Self::Usage(reason) | Self::Unreachable { reason, .. } => {
                *reason = reason.clone().with_source(error);
            }
            // These follow from no error.
            Self::Busy(_) | Self::NotFound(_) | Self::Drift(_) => {}
        }
        self
    }

    /// A component does not answer, as its client says.
    pub fn unreachable(service: Service, address: impl fmt::Display, reason: impl Into<Reason>) -> Self {
        Self::Unreachable { service, address: address.to_string(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_failure_says_its_cause_once_and_has_it_as_its_source() {
        let failure = Failure::usage("rules.json").caused_by(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(failure.to_string(), "rules.json: entity not found");
        let io = failure.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(io.map(io::Error::kind), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn what_a_client_says_is_said_once() {
        let failure = Failure::unreachable(Service::Kafka, "kafka:9092", "refused");
        let failure = failure.with_source(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(failure.to_string(), "Kafka at kafka:9092 cannot be reached: refused");
        assert!(failure.source().is_some());
    }
}
