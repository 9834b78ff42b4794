//! `millrace stream show`: a stream's events and the state that they fold to, now or at a past time.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::moment;
use millrace_ops::streams::{self, Event, Request, Shown};
use millrace_schemas::short_name;
use serde_json::json;

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
}

/// Shows a stream.
///
/// # Errors
/// [`Failure::NotFound`] when the stream has no such events, [`Failure::Usage`] when it is not said which stream.
pub async fn show(config: &Config, format: Format, options: &Show) -> Result<(), Failure> {
    let Show { id, context, at_version, as_of } = options.clone();
    let shown = streams::show(config, &Request { id, context, at_version, as_of }).await?;
    output::print(format, &text(&shown), &json!(shown))
}

fn text(Shown { context, id, version, events, state }: &Shown) -> String {
    let mut table = Table::new(&["version", "time", "type", "data"]);
    for Event { version, type_, occurred_at, data, .. } in events {
        let name = short_name(type_).to_owned();
        table.row([version.to_string(), moment::written(*occurred_at), name, data.to_string()]);
    }
    format!("{context}/{id}\n\n{}\nstate at version {version}\n{state:#}\n", table.render())
}

#[cfg(test)]
mod tests {
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
        let text = text(&shown);
        assert!(
            text.contains("2        1970-01-01T00:00:00.000Z  OrderConfirmed  {\"order_id\":\"1\"}"),
            "{text}"
        );
        assert!(text.contains("state at version 2\n{\n  \"status\": \"confirmed\"\n}"), "{text}");
        assert_eq!(json!(shown)["events"][0]["time"], "1970-01-01T00:00:00.000Z");
    }
}
