//! A dead letter.

use chrono::{DateTime, Utc};
use millrace_store::dead_letter::{self, DOCUMENT_REFUSED};
use schemars::JsonSchema;
use serde::Serialize;

use super::id::Id;
use crate::layout::Side;

/// The status of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Open: neither redriven nor discarded.
    Dead,
    /// Its record was given to its group again.
    Redriven,
    /// It was given up.
    Discarded,
}

impl Status {
    /// The text in the table `dead_letter`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Redriven => "redriven",
            Self::Discarded => "discarded",
        }
    }
}

/// A row of the table `dead_letter`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetter")]
pub struct Letter {
    /// Its side and row.
    pub id: Id,
    /// When its last attempt failed.
    pub failed_at: DateTime<Utc>,
    /// The consumer group that gave it up.
    pub group: String,
    /// The generation of the view whose group it is; 1 on the write side.
    pub generation: i32,
    /// The topic of its record.
    pub topic: String,
    /// The partition of its record.
    pub partition: i32,
    /// The offset of its record.
    pub offset: i64,
    /// The record's Kafka key; of a refused document its id.
    pub key: Option<String>,
    /// The full name of the record's type, when that could be read.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// The error code.
    pub code: String,
    /// The error message.
    pub message: String,
    /// The number of attempts.
    pub attempts: i32,
    /// `dead`, `redriven` or `discarded`.
    pub status: String,
    /// The version of an event, or of a refused document.
    pub version: Option<i64>,
    /// The stream of the event that a refused document of a log is made of.
    pub stream: Option<String>,
    /// The place of its copy on the dead letter topic; a refused document has none.
    pub copy: Option<CopyAt>,
}

/// A place on a dead letter topic.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct CopyAt {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl Letter {
    /// Whether it is about a document that Elasticsearch refused, not about a record.
    pub(super) fn is_of_a_document(&self) -> bool {
        self.code == DOCUMENT_REFUSED
    }

    pub(super) fn of(side: Side, row: dead_letter::Letter) -> Self {
        Self {
            id: Id { side, row: row.id },
            failed_at: row.failed_at,
            group: row.group,
            generation: row.generation,
            topic: row.topic,
            partition: row.partition,
            offset: row.offset,
            key: row.key.as_deref().map(text),
            type_: row.record_type,
            code: row.code,
            message: row.message,
            attempts: row.attempts,
            status: row.status,
            version: row.version,
            stream: row.stream,
            copy: row.copy.map(|(partition, offset)| CopyAt { partition, offset }),
        }
    }
}

/// Bytes for people: as text if they are UTF-8, else in hexadecimal.
pub(super) fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| hex(bytes, usize::MAX), str::to_owned)
}

/// Bytes in hexadecimal, at most this many.
pub(super) fn hex(bytes: &[u8], most: usize) -> String {
    let digits: String = bytes.iter().take(most).map(|byte| format!("{byte:02x}")).collect();
    let rest = bytes.len().saturating_sub(most);
    if rest == 0 { format!("0x{digits}") } else { format!("0x{digits}… and {rest} bytes more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_in_hexadecimal() {
        assert_eq!(text("ä".as_bytes()), "ä");
        assert_eq!(text(&[0xff, 0x00]), "0xff00");
        assert_eq!(hex(&[1, 2, 3], 2), "0x0102… and 1 bytes more");
    }
}
