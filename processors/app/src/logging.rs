//! Logs, on standard error.

use std::io::{IsTerminal as _, stderr};

use millrace_ops::config::{LogFormat, Logging};
use millrace_ops::failure::Failure;
use millrace_ops::known;
use tracing_subscriber::EnvFilter;

use crate::cli::Command;

/// The default filter of `millrace run`.
const OF_RUN: &str = "info";
/// The default filter of other commands.
const OF_OPERATOR: &str = "warn";
/// Of Kafka's client nothing, unless the filter names it: it calls the end of a partition an error, and repeats an outage several
/// times a second. The log says once that a component is away, and failures have their reason.
const QUIET: &str = "librdkafka=off,rdkafka=off";

/// Sets up logging. Called once.
///
/// # Errors
/// [`Failure::Usage`] when the filter cannot be read.
pub fn begin(logging: &Logging, command: &Command) -> Result<(), Failure> {
    let usual = if matches!(command, Command::Run { .. }) { OF_RUN } else { OF_OPERATOR };
    let wanted = logging.filter.as_deref().unwrap_or(usual);
    let filter = filter(wanted)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    let begun = match logging.format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    begun.map_err(|error| Failure::refused("the log cannot begin").caused_by(error))
}

/// The levels that may stand alone in a filter. Any other word would be taken for the name of a module, and silence all others.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn filter(text: &str) -> Result<EnvFilter, Failure> {
    let alone =
        text.split(',').map(str::trim).filter(|part| !part.is_empty() && !part.contains(['=', ':', '[']));
    for word in alone {
        known::among("level", &word.to_lowercase(), &LEVELS)
            .map_err(|refused| Failure::usage(format!("logging.filter: {refused}")))?;
    }
    EnvFilter::builder().parse(format!("{QUIET},{text}")).map_err(|error| {
        let example = "such as millrace_engine=debug,info";
        let refused =
            Failure::usage(format!("logging.filter: `{text}` is not a filter ({error}); {example}"));
        refused.with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_does_not_silence_everything() {
        for good in [OF_RUN, OF_OPERATOR, "millrace_engine=debug,INFO", "millrace_engine::retry=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        let refused = filter("warnn").unwrap_err().to_string();
        assert!(
            refused.starts_with("logging.filter: there is no level `warnn`: did you mean `warn`?"),
            "{refused}"
        );
        assert!(filter("loud").is_err());
    }

    #[test]
    fn kafkas_client_logs_only_where_the_filter_names_it() {
        let quiet = filter("info").unwrap().to_string();
        assert!(quiet.contains("librdkafka=off") && quiet.contains("info"), "{quiet}");
        let loud = filter("info,librdkafka=debug").unwrap().to_string();
        assert!(loud.contains("librdkafka=debug") && !loud.contains("librdkafka=off"), "{loud}");
    }
}
