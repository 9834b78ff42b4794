//! `millrace` as the stories run it: with the feature `failpoints`, so that it can be killed at named moments.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace::main()
}
