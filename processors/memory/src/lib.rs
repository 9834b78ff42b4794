//! The allocator of the program, and how much memory the allocators of the process hold: mimalloc has what is written in Rust, the C
//! library's has librdkafka and OpenSSL.

use std::ptr;

use mimalloc::MiMalloc;

/// A third of a batch's time is allocation, and glibc's allocator does not return memory after a backlog.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What an allocator holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// What it has taken from the kernel. mimalloc's is about the most that it has taken: what it has returned since is still counted.
    /// Not all of it need be resident.
    pub committed: usize,
    /// What the program has of that; the rest is kept for later. `None` when the allocator does not count it.
    pub allocated: Option<usize>,
}

/// What each allocator of this process holds now, by its name. Usually takes microseconds.
pub fn held() -> Vec<(&'static str, Held)> {
    [Some(("mimalloc", of_rust())), of_c().map(|held| ("glibc", held))].into_iter().flatten().collect()
}

/// The C library's blocks from this size on, in bytes, are the kernel's again once they are freed: its default.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const RETURNED_FROM: libc::c_int = 128 << 10;

/// Lets the C library return every large block to the kernel. Without this it keeps those below the largest that was ever freed, up to
/// 32 MB (mallopt(3), `M_MMAP_THRESHOLD`): fetched answers of Kafka's client, in the arena of each of its threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn return_large_blocks() {
    // SAFETY: it has plain arguments, and locks what it writes.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED_FROM) };
}

/// Other C libraries have no such setting.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn return_large_blocks() {}

/// mimalloc counts what is allocated only in a build that is slower for it.
fn of_rust() -> Held {
    let mut committed = 0;
    let unread = ptr::null_mut;
    // SAFETY: all arguments are places for one number each; mimalloc leaves out those that are null.
    unsafe {
        libmimalloc_sys::mi_process_info(
            unread(),
            unread(),
            unread(),
            unread(),
            unread(),
            &mut committed,
            unread(),
            unread(),
        );
    }
    Held { committed, allocated: None }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn of_c() -> Option<Held> {
    // SAFETY: it has no arguments, locks what it reads, and returns numbers by value.
    let told = unsafe { libc::mallinfo2() };
    let mapped = told.hblkhd;
    Some(Held { committed: told.arena + mapped, allocated: Some(told.uordblks + mapped) })
}

/// Other C libraries do not tell it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn of_c() -> Option<Held> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: usize = 64 << 20;

    fn of(name: &str) -> Held {
        held().into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    #[test]
    fn what_rust_takes_is_seen_at_mimalloc() {
        let before = of("mimalloc").committed;
        let taken = vec![1_u8; MUCH];
        let while_taken = of("mimalloc").committed;
        assert!(while_taken >= before + MUCH, "{before} {while_taken} {}", taken.len());
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn what_a_library_in_c_takes_is_seen_at_glibc() {
        let before = of("glibc").allocated.unwrap();
        // SAFETY: it is freed once, and not used.
        let (while_taken, after) = unsafe {
            // Otherwise the compiler leaves out what is not used.
            let taken = std::hint::black_box(libc::malloc(MUCH));
            assert!(!taken.is_null());
            let while_taken = of("glibc");
            libc::free(taken);
            (while_taken, of("glibc"))
        };
        let allocated = while_taken.allocated.unwrap();
        assert!(allocated >= before + MUCH && while_taken.committed >= allocated, "{before} {while_taken:?}");
        assert!(after.allocated.unwrap() < before + MUCH, "{after:?}");
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn large_blocks_are_returned_however_large_those_were_that_were_freed_before() {
        return_large_blocks();
        // SAFETY: each block is freed once, and not used.
        unsafe {
            libc::free(std::hint::black_box(libc::malloc(16 << 20)));
            let before = libc::mallinfo2().hblks;
            let blocks: Vec<_> = (0..64).map(|_| std::hint::black_box(libc::malloc(1 << 20))).collect();
            let mapped = libc::mallinfo2().hblks;
            blocks.into_iter().for_each(|block| libc::free(block));
            // Another test may have freed one meanwhile.
            assert!(mapped >= before + 60, "{mapped} of {before}");
        }
    }
}
