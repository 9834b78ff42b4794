//! A span that has ended.

use std::time::SystemTime;

use super::Context;

/// The kind of a span, as OpenTelemetry names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Takes a record of Kafka.
    Consumer,
    /// Calls another system.
    Client,
    /// Answers a request.
    Server,
    /// Neither.
    Internal,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// Bytes of a text in a span, at most: keys and headers of records come from outside, and thousands of spans wait.
const TEXT_BYTES_MAX: usize = 256;

/// The beginning of a text, if it is long.
pub(super) fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text)
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(cut(text).to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// Something that has happened at a time of its own.
#[derive(Debug, Clone)]
pub struct Moment {
    /// What.
    pub name: &'static str,
    /// When.
    pub at: SystemTime,
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct Span {
    /// Its own context.
    pub context: Context,
    /// The span above it; `None` for a trace of its own.
    pub parent: Option<[u8; 8]>,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// Attributes by name.
    pub attributes: Vec<(&'static str, Value)>,
    /// What has happened, also before it began.
    pub moments: Vec<Moment>,
    /// Spans that belong to it beside its parent.
    pub links: Vec<Context>,
    /// How many links there are beyond those.
    pub more_links: u32,
    /// Why it failed, if it did.
    pub failed: Option<String>,
}

impl Span {
    /// A span that ends now.
    pub fn ending_now(
        (parent, context): (Option<[u8; 8]>, Context),
        name: String,
        kind: Kind,
        began: SystemTime,
    ) -> Self {
        Self {
            context,
            parent,
            name,
            kind,
            began,
            ended: SystemTime::now(),
            attributes: Vec::new(),
            moments: Vec::new(),
            links: Vec::new(),
            more_links: 0,
            failed: None,
        }
    }
}
