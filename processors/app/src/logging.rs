//! Logs, on standard error.

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};
use crate::failure::Failure;

/// Begins to log as configured. Called once.
///
/// # Errors
/// [`Failure::Usage`] when the filter cannot be read.
pub fn begin(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::builder().parse(&config.log).map_err(|error| {
        Failure::usage(format!("log: `{}` is not a filter ({error}); such as millrace_runtime=debug,info", config.log))
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = match config.log_format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    begun.map_err(|error| Failure::refused(format!("the log cannot begin: {error}")))
}
