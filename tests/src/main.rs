//! `millrace` as the stories run it: with the feature `failpoints`, so that it can be killed at failpoints.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace::main()
}
