//! `millrace status`: the state of the instance at a glance.

mod text;

use std::time::Duration;

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::status;

use crate::output::{self, Format};
use crate::progress::Terminal;

/// The help's explanation of output and exit codes.
pub const HELP: &str = "\
The first line is the verdict and what to do. Then comes only what is wrong, in progress or behind. The state of a component \
that does not answer is `unknown`. --all shows everything; JSON always has everything.

Exit codes:
  0  nothing is missing or lost; lag is being worked off, failed records are being retried
  1  the write side has lost commits. With --wait: not everything has caught up in time
  3  a component does not answer
  4  the namespace was never set up
  6  waiting does not resolve it: topics, indices or schemas are missing; the slot or the connector is lost, failed or paused;
     records were deleted before they were read; a group was reset in a way that the next start refuses; a view has another shape than this build and is not
     being rebuilt, or the rebuilt generation differs; keys wait behind a dead letter, or for longer than a minute for a
     missing version. Dead letters behind which nothing waits are only listed
  7  nothing else is wrong, and no process works in a group where records wait
  8  nothing is wrong, and a group is further behind than --lag-max
The state of components that answer is shown in every case.";

/// Prints the state of the instance; of a component that does not answer, the error.
///
/// # Errors
/// What is missing, lost or has failed, after everything was printed; with `wait`, when not everything has caught up in that
/// time; with `lag_max`, when a group is further behind.
pub async fn status(
    config: &Config,
    format: Format,
    all: bool,
    wait: Option<Duration>,
    lag_max: Option<Duration>,
) -> Result<(), Failure> {
    status::refuse_unknown(config).await?;
    if let Some(timeout) = wait {
        status::wait(config, timeout, &Terminal::default()).await?;
    }
    let report = status::look(config).await?;
    output::print(format, &text::text(&report, all), &report.document())?;
    report.verdict()?;
    lag_max.map_or(Ok(()), |most| report.within(most))
}
