//! What docs/first-hour.md lets new users type, and how much they have to read.

use std::path::Path;
use std::process::Output;
use std::time::Instant;

use millrace_tests::{Instance, Process};

use super::{DOCS, blocks, producers};

/// Lines of `status` when all is well, at most.
const STATUS_MAX: usize = 15;
/// Lines of a repeated `setup`, at most.
const SETUP_MAX: usize = 2;
/// Lines of a start's log beside one for each group, at most.
const LOG_MAX: usize = 12;

pub(super) fn every_action_works(instance: &Instance) {
    for (language, block) in blocks(&Path::new(DOCS).join("first-hour.md")) {
        assert_eq!(language, "sh", "{block}");
        for action in block.lines() {
            let (began, Output { status, stdout, stderr }) = (Instant::now(), done(instance, action));
            let told = String::from_utf8_lossy(&stdout);
            assert!(status.success(), "{action}\n{told}\n{}", String::from_utf8_lossy(&stderr));
            eprintln!("{:6.2} s, {:4} lines: {action}", began.elapsed().as_secs_f64(), told.lines().count());
        }
    }
}

pub(super) fn there_is_little_to_read(instance: &Instance, process: &Process) {
    for (action, most) in [("millrace status", STATUS_MAX), ("millrace setup 2>&1", SETUP_MAX)] {
        let told = String::from_utf8(done(instance, action).stdout).expect("text");
        assert!((1..=most).contains(&told.lines().count()), "{action}:\n{told}");
    }
    let log = process.log();
    let start: Vec<&str> =
        log.lines().filter(|line| line.contains(" INFO ") || line.contains(" WARN ")).collect();
    let groups = start.iter().filter(|line| line.contains("partitions claimed")).count();
    assert!(groups > 20 && start.len() <= groups + LOG_MAX, "{groups} groups:\n{log}");
}

fn done(instance: &Instance, action: &str) -> Output {
    let mut shell = producers::command(instance, "sh", action).expect("a shell");
    shell.output().expect("an end")
}
