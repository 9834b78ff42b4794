//! Every event, searchable.

use chrono::{DateTime, Utc};
use millrace_schemas::short_name;
use serde::Serialize;
use serde_json::Value;

use crate::{Log, Recorded};

/// The log of events.
#[derive(Debug)]
pub struct EventLog;

/// One event with where, when and why it happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventDocument {
    /// The event's id.
    pub event_id: String,
    /// Full name of its type.
    #[serde(rename = "type")]
    pub event_type: &'static str,
    /// The type without its namespace, such as `OrderPlaced`.
    pub event: &'static str,
    /// The context that it belongs to.
    pub context: &'static str,
    /// The stream that it happened to.
    pub stream: String,
    /// Its version in the stream.
    pub version: i64,
    /// When it was decided.
    pub occurred_at: DateTime<Utc>,
    /// The conversation that it belongs to.
    pub correlation_id: Option<String>,
    /// The command that caused it.
    pub causation_id: Option<String>,
    /// Its fields.
    pub data: Value,
}

impl Log for EventLog {
    const NAME: &'static str = "events";
    const CONTEXTS: &'static [&'static str] = millrace_schemas::CONTEXTS;
    const MAPPING: &'static str = include_str!("mapping.json");
    const FOLD: u32 = 2;
    /// Release 1 leaves out fields that it does not know.
    const CHANGED: &'static [&'static str] = &["data"];
    type Document = EventDocument;

    fn document(event: &Recorded, fields: Value) -> EventDocument {
        let Recorded { id, stream, version, occurred_at, correlation_id, causation_id, event, .. } =
            event.clone();
        EventDocument {
            event_id: id,
            event_type: event.full_name(),
            event: short_name(event.full_name()),
            context: event.context(),
            stream,
            version,
            occurred_at,
            correlation_id,
            causation_id,
            data: fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::views::tests::shipped;
    use crate::views::time;

    #[test]
    fn a_document_says_what_happened_where_when_and_why() {
        let recorded = Recorded {
            id: "e1".into(),
            stream: "10248".into(),
            version: 3,
            occurred_at: time(836_438_400_000_000),
            correlation_id: Some("c1".into()),
            causation_id: None,
            traceparent: None,
            event: shipped("10248", 7),
        };
        let fields = serde_json::to_value(&recorded.event).expect("JSON");
        let expected = json!({
            "event_id": "e1",
            "type": "millrace.orders.OrderShipped",
            "event": "OrderShipped",
            "context": "orders",
            "stream": "10248",
            "version": 3,
            "occurred_at": "1996-07-04T00:00:00Z",
            "correlation_id": "c1",
            "causation_id": null,
            "data": {
                "order_id": "10248", "customer_id": "VINET", "shipped_at": 836_438_400_000_007_i64,
                "carrier": "Speedy Express", "tracking_number": "SE-1",
            },
        });
        assert_eq!(serde_json::to_value(EventLog::document(&recorded, fields)).expect("JSON"), expected);
    }
}
