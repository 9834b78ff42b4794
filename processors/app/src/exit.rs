//! Exit codes of failures.

use std::process::ExitCode;

use millrace_ops::failure::Failure;

/// 1: something was refused, or another process is doing it; 2: the command line or the configuration is wrong; 3: a dependency
/// does not answer; 4: not found; 5: stored data is wrong; 6: something is missing or blocked; 7: no process works; 8: a lag is beyond
/// what was asked for.
pub(crate) fn code(failure: &Failure) -> ExitCode {
    ExitCode::from(match failure {
        Failure::Refused(_) | Failure::Busy(_) => 1,
        Failure::Usage(_) => 2,
        Failure::Unreachable { .. } => 3,
        Failure::NotFound(_) => 4,
        Failure::Drift(_) => 5,
        Failure::Blocked(_) => 6,
        Failure::Idle(_) => 7,
        Failure::Behind(_) => 8,
    })
}
