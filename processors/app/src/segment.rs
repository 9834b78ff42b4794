//! `millrace segment preview`: how many customers a segment has now, and some of them.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::moment;
use millrace_ops::segments::{self, Audience, Recipient, Request, Rules};

use crate::output::{self, Format, Table};

/// The help's examples and notes.
pub const HELP: &str = "Examples:
  millrace segment preview best-customers        a defined segment
  millrace segment preview --rules rules.json    rules of no segment yet: {\"fact\": \"orders\", \"is\": \">=\", \"value\": 5}

A customer counts who matches the rules, wants notifications, and has an address for the channel: the recipients of a \
campaign that is launched now. Events that the view `customers` has not folded yet are not included.";

/// What to do with segments.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Show how many customers a segment has, and some of them
    Preview(Preview),
}

/// Options of `segment preview`.
#[derive(Debug, Args)]
pub struct Preview {
    /// The segment
    #[arg(required_unless_present = "rules", conflicts_with = "rules")]
    segment_id: Option<String>,
    /// A file with rules as JSON, instead of a segment
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// The channel of the campaign
    #[arg(long, value_enum, default_value_t)]
    channel: Channel,
    /// The time from which days are counted back: 15m, 1h, 2d ago, or an RFC 3339 time [default: now]
    #[arg(long, value_parser = moment::moment, value_name = "WHEN")]
    as_of: Option<DateTime<Utc>>,
    /// Show at most this many
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i64).range(0..=1_000))]
    limit: i64,
}

/// The channel of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Channel {
    /// By e-mail.
    #[default]
    Email,
    /// By text message.
    Sms,
}

impl From<Channel> for segments::Channel {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::Email => Self::Email,
            Channel::Sms => Self::Sms,
        }
    }
}

/// Runs the action.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such segment, [`Failure::Usage`] when the rules cannot be read.
pub async fn segment(config: &Config, format: Format, action: &Action) -> Result<(), Failure> {
    match action {
        Action::Preview(options) => preview(config, format, options).await,
    }
}

async fn preview(config: &Config, format: Format, options: &Preview) -> Result<(), Failure> {
    let rules = match (&options.rules, &options.segment_id) {
        (Some(file), _) => Rules::Json(from_file(file)?),
        (None, segment_id) => Rules::Segment(segment_id.clone().unwrap_or_default()),
    };
    let (channel, as_of, limit) = (options.channel.into(), options.as_of, options.limit);
    let audience = segments::preview(config, &Request { rules, channel, as_of, limit }).await?;
    output::print(format, &text(&audience), &audience)
}

fn from_file(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("--rules {}", file.display())).caused_by(error))
}

fn text(Audience { count, customers }: &Audience) -> String {
    let mut table = Table::new(&["customer", "name", "address"]);
    for Recipient { customer_id, name, address, .. } in customers {
        table.row([customer_id, name, address].map(String::as_str));
    }
    let shown = if table.is_empty() { String::new() } else { format!("\n{}", table.render()) };
    format!("{count} customers\n{shown}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_preview_shows_the_size_and_some_customers() {
        let [customer_id, name, address] = ["ANATR", "Ana", "ana@example.com"].map(str::to_owned);
        let customers = vec![Recipient { customer_id, name, contact_name: None, address }];
        let audience = Audience { count: 7, customers };
        assert_eq!(
            text(&audience),
            "7 customers\n\nCUSTOMER  NAME  ADDRESS\nANATR     Ana   ana@example.com\n"
        );
        assert_eq!(json!(audience)["audience"], 7);
        assert_eq!(text(&Audience { count: 0, customers: Vec::new() }), "0 customers\n");
    }
}
