//! Faults of records, and errors because of which a batch is not committed.

use std::error::Error as _;
use std::fmt;

use millrace_schemas::definition;
use millrace_store::Means;
use millrace_store::names::Namespace;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::reason::Reason;

/// Bytes of a message, at most: it is stored in headers and tables, and may quote a whole record.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// A system that the process depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dependency {
    /// Either database.
    Postgres,
    /// The brokers.
    Kafka,
    /// The schema registry.
    Registry,
    /// The search cluster.
    Elasticsearch,
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dependency::Postgres => "postgres",
            Dependency::Kafka => "kafka",
            Dependency::Registry => "registry",
            Dependency::Elasticsearch => "elasticsearch",
        })
    }
}

/// An error of one record. The record is retried, then becomes a dead letter; the other records of its batch are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A stable code for programs, such as `undecodable`.
    pub code: &'static str,
    /// A text for people.
    pub message: String,
    /// No retry can succeed: the record becomes a dead letter at once.
    pub hopeless: bool,
    /// The record is of a kind that this build does not know; a build of a later release may know it.
    pub unknown_here: bool,
}

impl Fault {
    /// A fault with a code for programs and a message for people; a retry may succeed.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: bounded(message.into()), hopeless: false, unknown_here: false }
    }

    /// The code of a record whose type does not belong on its topic.
    pub const UNKNOWN_TYPE: &str = "unknown-type";

    /// The code of a record that the client cannot fetch: its bytes are only in its source topic.
    pub const UNFETCHABLE: &str = "unfetchable";

    /// The client cannot fetch the record, now or later.
    pub(crate) fn unfetchable(reason: impl fmt::Display) -> Self {
        Self::hopeless(Self::UNFETCHABLE, format!("the client cannot fetch it: {reason}"))
    }

    /// The client can read the record except for its headers.
    pub(crate) fn headers_unreadable(reason: impl fmt::Display) -> Self {
        Self::hopeless("headers-unreadable", format!("the client cannot read its headers: {reason}"))
    }

    /// The record is of a type that its topic does not carry.
    pub(crate) fn unknown_type(full_name: &str, topic: &str) -> Self {
        let belongs = belongs(full_name, topic).map(|other| format!(": it belongs on {other}"));
        let belongs = belongs.unwrap_or_default();
        let message = format!("`{full_name}` does not belong on the topic {topic}{belongs}");
        Self::hopeless(Self::UNKNOWN_TYPE, message)
    }

    /// Postgres refuses the result of the record.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::new("refused-by-database", reason)
    }

    /// This program panicked at the record; a later build may succeed.
    pub fn panicked(panic: impl fmt::Display) -> Self {
        Self::new("panicked", panic.to_string())
    }

    /// A fault of the record's bytes, which no retry can change.
    pub fn hopeless(code: &'static str, message: impl Into<String>) -> Self {
        Self { hopeless: true, ..Self::new(code, message) }
    }
}

/// A text that may quote anything, cut to [`MESSAGE_BYTES_MAX`].
pub(crate) fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX - '…'.len_utf8()));
        message.push('…');
    }
    message
}

impl From<millrace_schemas::CodecError> for Fault {
    fn from(error: millrace_schemas::CodecError) -> Self {
        use millrace_schemas::CodecError::{Another, Body, NotFramed, Schema, UnknownType};
        let code = match &error {
            NotFramed(_) | Body { .. } | Another { .. } => "undecodable",
            UnknownType(_) => Self::UNKNOWN_TYPE,
            Schema(_) => "unknown-schema",
        };
        let unknown_here = matches!(error, Another { .. } | UnknownType(_));
        Self { unknown_here, ..Self::hopeless(code, error.to_string()) }
    }
}

/// Why a batch was not committed. Only the worker's `match` on it decides what follows.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// Another worker has claimed the partition, or a commit's answer was lost: claim again or give the partition back.
    #[error("the partition was claimed by another worker")]
    Fenced,
    /// The generation is being compared with another: nothing from this offset, the pause point, on may be applied now.
    #[error("the partition is paused at offset {0}")]
    Paused(i64),
    /// Two transactions conflicted: try the same batch again after a short, growing delay.
    #[error("the transaction conflicted with another: {0}")]
    Contended(#[source] Reason),
    /// The transaction exceeded a limit of time or memory: try again after a short delay, with fewer records.
    #[error("the transaction exceeded a limit: {0}")]
    Overran(#[source] Reason),
    /// The types of columns have changed since a statement was prepared: try again soon, on new connections.
    #[error("a prepared statement is out of date: {0}")]
    Outdated(#[source] Reason),
    /// Postgres refuses the data of at least one record: bisect to find it, and commit the others.
    #[error("Postgres refuses the data: {0}")]
    Refused(#[source] Reason),
    /// Kafka refuses the record, because it is too large for the topic, or the principal may not write there. A retry changes
    /// nothing.
    #[error("Kafka refuses the record: {0}")]
    NotTaken(#[source] Reason),
    /// A record of the batch has this fault, but it is not known which one: bisect to find it, and commit the others.
    #[error("a record of the batch: {}", .0.message)]
    Faulty(Fault),
    /// A later release is deployed, and a record, or data stored for it, is of a kind that this build does not know: wait, count no
    /// attempt, and leave the partition to a later build.
    #[error("build-too-old: {0}")]
    BuildTooOld(String),
    /// A dependency does not answer: wait, count no attempt, try the same batch again.
    #[error("{dependency} is out of reach: {reason}")]
    Outage {
        /// The dependency.
        dependency: Dependency,
        /// The client's error, for people.
        #[source]
        reason: Reason,
    },
}

impl WorkError {
    /// An outage of a dependency.
    pub fn outage(dependency: Dependency, reason: impl Into<Reason>) -> Self {
        Self::Outage { dependency, reason: reason.into() }
    }

    /// The database does not have the schema that this build needs: an outage that an operator must end.
    pub(crate) fn other_shape(reason: impl Into<Reason>) -> Self {
        Self::outage(Dependency::Postgres, with_way_on(reason.into(), Means::OtherShape))
    }

    /// The fault of a record of the batch, if the error is one that bisecting finds.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Refused(reason) => Some(Fault::refused(reason.text())),
            Self::Faulty(fault) => Some(fault.clone()),
            Self::Fenced
            | Self::Paused(_)
            | Self::Contended(_)
            | Self::Overran(_)
            | Self::Outdated(_)
            | Self::NotTaken(_)
            | Self::BuildTooOld(_)
            | Self::Outage { .. } => None,
        }
    }

    /// Whether a dependency has answered, with an error that others who ask it need not meet.
    pub(crate) fn is_answer(&self) -> bool {
        let Self::Outage { dependency, reason } = self else { return false };
        match reason.source() {
            Some(cause) => {
                let means = cause.downcast_ref().map(Means::of);
                matches!(means, Some(Means::OtherShape | Means::SharedSession))
            }
            // What it says of an index; a lost connection has a cause.
            None => *dependency == Dependency::Elasticsearch,
        }
    }

    /// The dependency that does not answer, if the error is an outage.
    pub(crate) fn dependency(&self) -> Option<Dependency> {
        match self {
            Self::Outage { dependency, .. } => Some(*dependency),
            Self::Fenced
            | Self::Contended(_)
            | Self::Overran(_)
            | Self::Outdated(_)
            | Self::Refused(_)
            | Self::NotTaken(_)
            | Self::Faulty(_)
            | Self::BuildTooOld(_)
            | Self::Paused(_) => None,
        }
    }
}

/// The reason, and what an operator can do about it.
fn with_way_on(reason: Reason, means: Means) -> Reason {
    match means.way_on() {
        Some(way_on) => reason.with_text(|said| format!("{said}: {way_on}")),
        None => reason,
    }
}

impl From<sqlx::Error> for WorkError {
    fn from(error: sqlx::Error) -> Self {
        let means = Means::of(&error);
        let reason = Reason::of(error);
        match means {
            Means::BadData => Self::Refused(reason),
            Means::InTheWay => Self::Contended(reason),
            Means::TooMuch => Self::Overran(reason),
            Means::Outdated => Self::Outdated(reason),
            Means::OtherShape | Means::SharedSession | Means::NotNow => {
                Self::outage(Dependency::Postgres, with_way_on(reason, means))
            }
        }
    }
}

impl From<KafkaError> for WorkError {
    /// An error because of the record to be written is [`NotTaken`](WorkError::NotTaken); any other error is an outage.
    fn from(error: KafkaError) -> Self {
        match &error {
            KafkaError::MessageProduction(code) if is_about_the_record(*code) => {
                Self::NotTaken(Reason::of(error))
            }
            _ => Self::outage(Dependency::Kafka, Reason::of(error)),
        }
    }
}

/// Whether a code of Kafka's protocol is about the record, so that the same record would fail again on the same topic.
fn is_about_the_record(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::UnsupportedForMessageFormat
            | Code::PolicyViolation
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
    )
}

/// The topic of the same instance that carries records of this type.
fn belongs(full_name: &str, topic: &str) -> Option<String> {
    let known = definition(full_name).filter(|known| !known.context.is_empty())?;
    let namespace = Namespace::new(topic.split('.').next()?).ok()?;
    Some(namespace.topic(known.kind, known.context)).filter(|other| other != topic)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_kafka_says_of_a_record_is_no_outage() {
        let of = |code| WorkError::from(KafkaError::MessageProduction(code));
        for code in [Code::MessageSizeTooLarge, Code::InvalidRecord, Code::TopicAuthorizationFailed] {
            assert!(matches!(of(code), WorkError::NotTaken(_)), "{code:?}");
        }
        for code in [Code::MessageTimedOut, Code::NotEnoughReplicas, Code::BrokerTransportFailure] {
            assert_eq!(of(code).dependency(), Some(Dependency::Kafka), "{code:?}");
        }
    }

    #[test]
    fn an_answer_of_a_dependency_is_told_from_its_absence() {
        let away = WorkError::from(sqlx::Error::PoolTimedOut);
        let of_an_index = WorkError::outage(Dependency::Elasticsearch, "the index is closed");
        let lost = io::Error::from(io::ErrorKind::ConnectionRefused);
        let lost = WorkError::outage(Dependency::Elasticsearch, Reason::of(lost));
        let silent = WorkError::outage(Dependency::Postgres, "no answer in time");
        assert_eq!(
            [away, of_an_index, lost, silent].map(|error| error.is_answer()),
            [false, true, false, false]
        );
    }

    #[test]
    fn only_what_another_build_may_read_is_unknown_here() {
        use millrace_schemas::CodecError::{Another, Body, NotFramed, UnknownType};
        let (schema, reason) = ("s".to_owned(), "r".to_owned());
        let unknown = |error| Fault::from(error).unknown_here;
        assert!(unknown(UnknownType("t".to_owned())));
        assert!(unknown(Another { schema: schema.clone(), reason: reason.clone() }));
        assert!(!unknown(NotFramed(3)) && !unknown(Body { schema, reason }));
    }

    #[test]
    fn a_type_on_the_wrong_topic_is_told_where_it_belongs() {
        let message = |name| Fault::unknown_type(name, "shop.cmd.orders.v1").message;
        assert_eq!(
            message("millrace.customers.TagCustomer"),
            "`millrace.customers.TagCustomer` does not belong on the topic shop.cmd.orders.v1: it belongs on shop.cmd.customers.v1"
        );
        assert!(message("other.Type").ends_with("the topic shop.cmd.orders.v1"));
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let fault = Fault::new("test", "ä".repeat(100_000));
        assert!(fault.message.len() <= MESSAGE_BYTES_MAX && fault.message.ends_with("ä…"));
        assert_eq!(bounded(fault.message.clone()), fault.message);
        assert_eq!(Fault::new("test", "short").message, "short");
    }
}
