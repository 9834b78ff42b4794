//! Exit codes of failures.

use std::process::ExitCode;

use millrace_ops::failure::Failure;

/// 1: something was refused, or another process is doing it; 2: the command line or the configuration is wrong; 3: a dependency
/// does not answer; 4: not found; 5: stored data is wrong.
pub(crate) fn code(failure: &Failure) -> ExitCode {
    ExitCode::from(match failure {
        Failure::Refused(_) | Failure::Busy(_) => 1,
        Failure::Usage(_) => 2,
        Failure::Unreachable { .. } => 3,
        Failure::NotFound(_) => 4,
        Failure::Drift(_) => 5,
    })
}
