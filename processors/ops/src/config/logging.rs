//! Log lines.

use serde::{Deserialize, Serialize};

/// What is logged, and how.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Logging {
    /// The filter: `info`, or `millrace_engine=debug,info`. By default `millrace run` logs `info`, and other commands log `warn`.
    /// Kafka's own client logs only where the filter names it: `info,librdkafka=info,rdkafka=info`.
    pub filter: Option<String>,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
