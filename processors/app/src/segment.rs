//! `millrace segment preview`: how many customers a segment takes now, and some of them.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use millrace_domain::effects::audience::Customer;
use millrace_domain::segments::{self, Query, Rule};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::layout::Side;
use millrace_ops::postgres::Database;
use millrace_ops::{moment, read_side};
use serde_json::json;

use crate::output::{self, Format, Table};

/// What `--help` says behind the actions.
pub const HELP: &str = r#"Examples:
  millrace segment preview best-customers        a segment that is defined
  millrace segment preview --rules rules.json    rules that are not: {"fact": "orders", "is": ">=", "value": 5}

Counted are customers whom the rules take, who want notifications, and who have an address of the channel: whom a
campaign that is launched now is sent to. Events that the view of customers has not folded yet do not count."#;

/// What to do with segments.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Tell how many customers a segment takes, and show some
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
    /// How they would be written to
    #[arg(long, value_enum, default_value_t)]
    channel: Channel,
    /// The moment from which days are counted back: 15m, 1h, 2d ago, or an RFC 3339 time [default: now]
    #[arg(long, value_parser = moment::moment, value_name = "WHEN")]
    as_of: Option<DateTime<Utc>>,
    /// Show at most this many
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i64).range(0..=1_000))]
    limit: i64,
}

/// How customers are written to.
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

/// Does what was asked for.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such segment, [`Failure::Usage`] when the rules cannot be read.
pub async fn segment(config: &Config, format: Format, action: &Action) -> Result<(), Failure> {
    match action {
        Action::Preview(options) => preview(config, format, options).await,
    }
}

async fn preview(config: &Config, format: Format, options: &Preview) -> Result<(), Failure> {
    let read = Database::of(config, Side::Read)?;
    let rules = match (&options.rules, &options.segment_id) {
        (Some(file), _) => from_file(file)?,
        (None, segment_id) => defined(&read, segment_id.as_deref().unwrap_or_default()).await?,
    };
    let rule = segments::parse(&rules).map_err(|error| Failure::usage(error.to_string()))?;
    let audience = audience(&read, &rule, options).await.map_err(|error| read.failure(error))?;
    let shown: Vec<_> = audience.some.iter().map(|customer| json!(customer)).collect();
    output::print(format, &audience.text(), &json!({ "audience": audience.count, "customers": shown }))
}

fn from_file(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("--rules {}: {error}", file.display())))
}

async fn defined(read: &Database, segment_id: &str) -> Result<String, Failure> {
    let rules = sqlx::query_scalar("SELECT rules FROM segments WHERE segment_id = $1").bind(segment_id);
    let rules: Option<String> =
        rules.fetch_optional(&read.pool).await.map_err(|error| read.failure(error))?;
    rules.ok_or_else(|| {
        Failure::NotFound(format!(
            "there is no segment `{segment_id}`; one that was just defined is there once the view has it"
        ))
    })
}

/// Whom rules take.
struct Audience {
    count: i64,
    some: Vec<Customer>,
}

/// Both of the same snapshot, so that they agree.
async fn audience(read: &Database, rule: &Rule, options: &Preview) -> Result<Audience, sqlx::Error> {
    let (channel, as_of) = (options.channel.into(), options.as_of.unwrap_or_else(Utc::now));
    let next = Query::Next { after: "", most: options.limit };
    let mut snapshot = read.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let count = read_side::value(segments::audience(rule, channel, as_of, Query::Count))?;
    let count = count.fetch_one(&mut *snapshot).await?;
    let some = read_side::customers(segments::audience(rule, channel, as_of, next))?;
    let some = some.fetch_all(&mut *snapshot).await?;
    Ok(Audience { count, some: some.into_iter().map(read_side::customer).collect() })
}

impl Audience {
    fn text(&self) -> String {
        let mut table = Table::new(&["customer", "name", "address"]);
        for Customer { customer_id, name, address, .. } in &self.some {
            table.row([customer_id, name, address].map(String::as_str));
        }
        let shown = if table.is_empty() { String::new() } else { format!("\n{}", table.render()) };
        format!("{} customers\n{shown}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_tells_the_size_and_shows_some() {
        let [customer_id, name, address] = ["ANATR", "Ana", "ana@example.com"].map(str::to_owned);
        let some = vec![Customer { customer_id, name, contact_name: None, address }];
        let text = Audience { count: 7, some }.text();
        assert_eq!(text, "7 customers\n\nCUSTOMER  NAME  ADDRESS\nANATR     Ana   ana@example.com\n");
        assert_eq!(Audience { count: 0, some: Vec::new() }.text(), "0 customers\n");
    }
}
