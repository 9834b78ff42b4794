//! The program `millrace`; everything is in the library, so that tests reach it.

use std::process::ExitCode;

/// A third of a batch's time is allocation; glibc's allocator also keeps what a backlog once took.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    millrace::main()
}
