//! The program `millrace-simulator`; everything is in the library, so that stories can build it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_simulator::main()
}
