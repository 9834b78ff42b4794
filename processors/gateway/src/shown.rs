//! A receipt as clients see it: without places in Kafka and without the notes of operators.

use chrono::{DateTime, Utc};
use millrace_ops::receipts::Receipt;
use serde::Serialize;
use serde_json::Value;

/// A receipt. docs/http.md explains its members.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    id: String,
    source: String,
    #[serde(rename = "type")]
    type_: String,
    stream: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    produced_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts_max: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<String>,
}

impl From<Receipt> for Shown {
    fn from(receipt: Receipt) -> Self {
        Self {
            id: receipt.id,
            source: receipt.source,
            type_: receipt.type_,
            stream: format!("{}/{}", receipt.context, receipt.stream),
            status: receipt.status,
            code: receipt.code,
            message: receipt.message,
            versions: receipt.versions,
            produced_at: receipt.produced_at,
            received_at: receipt.received_at,
            decided_at: receipt.decided_at,
            attempts: receipt.attempts,
            attempts_max: receipt.attempts_max,
            next_try_at: receipt.next_try_at,
            behind: receipt.behind,
        }
    }
}
