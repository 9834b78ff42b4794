//! `millrace status`: how far everything is, at a glance.

mod text;

use std::time::Duration;

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::status;

use crate::output::{self, Format};
use crate::progress::Terminal;

/// What the exit code says.
pub const HELP: &str = "\
The first line is the verdict and what to do; then comes only what is not as it should be, goes on or is behind. What could
not be asked is `unknown` in its place. --all shows everything; JSON always has everything.

Exit codes:
  0  nothing is missing or lost; what is behind is being worked on, what failed is tried again
  1  what waiting does not resolve: topics, indices or schemas are missing; records wait in a group where no process works;
     the slot or the connector is lost, failed or paused; the write side has lost commits; records were deleted before they
     were read; a reset that the next start refuses; a view is of another shape, and its next generation is not built or
     differs; keys wait behind a dead letter, or for longer than a minute for a
     version that is missing. Dead letters that nothing waits behind are only listed.
     With --wait: not everything was caught up in time
  3  something could not be asked
  4  the namespace was never set up
What can be reached is shown in every case.";

/// Shows what can be reached; the rest says why not.
///
/// # Errors
/// What is missing, lost or has failed, after everything else was shown; with `wait`, when not everything has caught up in
/// that time.
pub async fn status(
    config: &Config,
    format: Format,
    all: bool,
    wait: Option<Duration>,
) -> Result<(), Failure> {
    status::refuse_unknown(config).await?;
    if let Some(timeout) = wait {
        status::wait(config, timeout, &Terminal::default()).await?;
    }
    let report = status::look(config).await?;
    output::print(format, &text::text(&report, all), &report.json())?;
    report.verdict()
}
