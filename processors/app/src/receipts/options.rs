//! Options of `millrace commands`.

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use millrace_ops::moment;
use millrace_ops::receipts;

/// Options of `commands`.
#[derive(Debug, Args)]
pub struct Options {
    /// Only of this stream, such as orders/10248 or 10248
    #[arg(long, value_name = "ID")]
    pub stream: Option<String>,
    /// Only with this status
    #[arg(long, value_enum)]
    pub status: Option<Status>,
    /// Only decided since: 15m, 1h, 2d ago, or an RFC 3339 time
    #[arg(long, value_parser = moment::moment, value_name = "WHEN")]
    pub since: Option<DateTime<Utc>>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    pub limit: i64,
}

/// The status of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// Being retried, or waiting behind a command of its key that is.
    Retrying,
    /// Decided; its events are written.
    Completed,
    /// Refused by the business.
    Rejected,
    /// A dead letter: it could not be decided.
    Dead,
}

impl From<Status> for receipts::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Retrying => Self::Retrying,
            Status::Completed => Self::Completed,
            Status::Rejected => Self::Rejected,
            Status::Dead => Self::Dead,
        }
    }
}
