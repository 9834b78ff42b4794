//! Failures of operators' requests.

use std::error::Error;
use std::fmt;

use millrace_engine::Reason;

/// Why a request was not carried out. The text includes the message of its source, so the chain of sources need not be printed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Something was refused, was rejected or failed.
    #[error(transparent)]
    Refused(Reason),
    /// Another process is doing the same.
    #[error("{0}")]
    Busy(String),
    /// The command line or the configuration is wrong.
    #[error(transparent)]
    Usage(Reason),
    /// A dependency does not answer.
    #[error("{service} at {address} cannot be reached: {reason}")]
    Unreachable {
        /// The service.
        service: Service,
        /// Its address, without a password.
        address: String,
        /// The client's error.
        #[source]
        reason: Reason,
    },
    /// Not found.
    #[error("{0}")]
    NotFound(String),
    /// Stored data is wrong.
    #[error("{0}")]
    Drift(String),
    /// Something is missing, lost or blocked, and needs an operator.
    #[error("{0}")]
    Blocked(String),
    /// No process works where records wait.
    #[error("{0}")]
    Idle(String),
    /// A lag is beyond what was asked for.
    #[error("{0}")]
    Behind(String),
}

/// A component that operators' commands use.
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

impl Service {
    /// The section of the settings that says where it is.
    pub fn setting(self) -> &'static str {
        match self {
            Service::WriteDatabase => "postgres.write",
            Service::ReadDatabase => "postgres.read",
            Service::Kafka => "kafka",
            Service::Registry => "registry",
            Service::Connect => "connect",
            Service::Elasticsearch => "elasticsearch",
        }
    }
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

    /// Appends the message of an error after a colon, and makes the error the source.
    #[must_use]
    pub fn caused_by(mut self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = Reason::of(error);
        match &mut self {
            Self::Refused(reason) | Self::Usage(reason) | Self::Unreachable { reason, .. } => {
                *reason = error.with_text(|said| format!("{reason}: {said}"));
            }
            Self::Busy(text)
            | Self::NotFound(text)
            | Self::Drift(text)
            | Self::Blocked(text)
            | Self::Idle(text)
            | Self::Behind(text) => text.push_str(&format!(": {error}")),
        }
        self
    }

    /// Makes an error the source, whose message the text already includes.
    #[must_use]
    pub fn with_source(mut self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        match &mut self {
            Self::Refused(reason) | Self::Usage(reason) | Self::Unreachable { reason, .. } => {
                *reason = reason.clone().with_source(error);
            }
            // These have no source.
            Self::Busy(_)
            | Self::NotFound(_)
            | Self::Drift(_)
            | Self::Blocked(_)
            | Self::Idle(_)
            | Self::Behind(_) => {}
        }
        self
    }

    /// A component does not answer, with the client's error.
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
