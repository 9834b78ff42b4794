//! `millrace stream show`: a stream's events and the state that they fold to, now or at a past time.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::moment;
use millrace_ops::streams::{self, Event, Request, Shown};
use millrace_schemas::short_name;
use schemars::JsonSchema;
use serde::Serialize;

use crate::output::{self, Format, Table};

/// What to do with a stream.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Show a stream's events and the state that they fold to, now, at a version or at a past time
    Show(Show),
}

/// Options of `stream show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// `context/id`, such as orders/10248; or an id, with --context when several contexts have it
    pub id: String,
    /// The context, when the id does not include it
    #[arg(long)]
    pub context: Option<String>,
    /// Only the first N events
    #[arg(long, value_name = "N", conflicts_with = "as_of", value_parser = clap::value_parser!(i64).range(1..))]
    pub at_version: Option<i64>,
    /// Only events up to this time: 15m, 1h, 2d ago, or an RFC 3339 time
    #[arg(long, value_parser = moment::moment, value_name = "WHEN")]
    pub as_of: Option<DateTime<Utc>>,
    /// Show at most this many events, the newest; the state is that after all of them. JSON has the number of the others in `left_out`
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
}

/// Shows a stream.
///
/// # Errors
/// [`Failure::NotFound`] when the stream has no such events, [`Failure::Usage`] when it is not said which stream.
pub async fn show(config: &Config, format: Format, options: &Show) -> Result<(), Failure> {
    let Show { id, context, at_version, as_of, limit } = options.clone();
    let mut shown = streams::show(config, &Request { id, context, at_version, as_of }).await?;
    let left_out = shown.events.len().saturating_sub(limit);
    shown.events.drain(..left_out);
    output::print(format, &text(&shown, left_out), &Document { shown, left_out })
}

/// A stream with its newest events.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Stream")]
pub(crate) struct Document {
    #[serde(flatten)]
    shown: Shown,
    /// The number of events before those that are shown.
    left_out: usize,
}

/// The time of an event is that of its command, which a producer may set: a later version can be of an earlier time.
fn text(Shown { context, id, version, events, state }: &Shown, left_out: usize) -> String {
    let mut table = Table::new(&["version", "happened", "type", "data"]);
    for Event { version, type_, occurred_at, data, .. } in events {
        let name = short_name(type_).to_owned();
        table.row([version.to_string(), moment::written(*occurred_at), name, data.to_string()]);
    }
    let before = match left_out {
        0 => String::new(),
        more => {
            format!("{more} events before these: --limit {} shows them\n", more.saturating_add(events.len()))
        }
    };
    format!("{context}/{id}\n\n{before}{}\nstate at version {version}\n{state:#}\n", table.render())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_stream_is_shown_with_its_state() {
        let event = Event {
            version: 2,
            type_: "millrace.orders.OrderConfirmed".to_owned(),
            id: Uuid::nil(),
            occurred_at: DateTime::UNIX_EPOCH,
            causation_id: None,
            data: json!({"order_id": "1"}),
        };
        let shown = Shown {
            context: "orders".to_owned(),
            id: "1".to_owned(),
            version: 2,
            events: vec![event],
            state: json!({"status": "confirmed"}),
        };
        let more = text(&shown, 3);
        assert!(more.contains("3 events before these: --limit 4 shows them"), "{more}");
        let text = text(&shown, 0);
        assert!(!text.contains("--limit"), "{text}");
        assert!(
            text.contains("2        1970-01-01T00:00:00.000Z  OrderConfirmed  {\"order_id\":\"1\"}"),
            "{text}"
        );
        assert!(text.contains("state at version 2\n{\n  \"status\": \"confirmed\"\n}"), "{text}");
        let told = json!(Document { shown, left_out: 3 });
        assert_eq!(told["events"][0]["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!((&told["version"], &told["left_out"]), (&json!(2), &json!(3)));
    }
}
