//! What a process tells Prometheus of itself: its build, and how much memory it may have and has.

use std::fs;

use millrace_engine::metrics;
use millrace_engine::release::release;

/// The files with the memory limit of the process's control group, such as a container: version 2, version 1.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
/// Version 1's value for no limit, which is rounded to a page.
const NO_LIMIT: i64 = i64::MAX >> 16;

pub(super) fn tell() {
    metrics::BUILD.with_label_values(&[env!("CARGO_PKG_VERSION"), &release().to_string()]).set(1);
    let found = LIMITS.iter().find_map(|file| limit(&fs::read_to_string(file).ok()?));
    if let Some(bytes) = found {
        metrics::MEMORY_LIMIT.with_label_values(&["cgroup"]).set(bytes);
    }
}

/// What the allocators hold now.
pub(super) fn tell_memory() {
    let tell = |allocator, state, bytes| {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        metrics::ALLOCATOR_BYTES.with_label_values(&[allocator, state]).set(bytes);
    };
    for (allocator, held) in millrace_memory::held() {
        tell(allocator, "committed", held.committed);
        held.allocated.into_iter().for_each(|bytes| tell(allocator, "allocated", bytes));
    }
}

/// A limit in bytes; `None` for `max`.
fn limit(text: &str) -> Option<i64> {
    text.trim().parse().ok().filter(|bytes| *bytes < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_none() {
        assert_eq!(limit("536870912\n"), Some(536_870_912));
        assert_eq!((limit("max\n"), limit("9223372036854771712\n")), (None, None));
    }
}
