//! The exit code that says how a command failed.

use std::process::ExitCode;

use millrace_ops::failure::Failure;

/// 1: something was refused, or another process is at it; 2: the command line or the configuration is wrong; 3: a dependency
/// does not answer; 4: there is no such thing; 5: what is stored is not what it should be.
pub(crate) fn code(failure: &Failure) -> ExitCode {
    ExitCode::from(match failure {
        Failure::Refused(_) | Failure::Busy(_) => 1,
        Failure::Usage(_) => 2,
        Failure::Unreachable { .. } => 3,
        Failure::NotFound(_) => 4,
        Failure::Drift(_) => 5,
    })
}
