//! `millrace-simulator` as the stories run it.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_simulator::main()
}
