//! The process.

use prometheus::{IntCounterVec, IntGaugeVec, register_int_counter_vec, register_int_gauge_vec};

metric!(
    /// Panics, by task: fold, member, worker, publisher, timer, call, …
    ///
    /// High: Should be 0. A panic is a bug: the log has its place in the code. `/readyz` shows which task does not work.
    PANICS: IntCounterVec = register_int_counter_vec("millrace_panics_total", "Panics that were caught", &["task"])
);
metric!(
    /// Bytes that this process buffers: records that wait for their batch or are in it, copies and documents that are not
    /// acknowledged.
    ///
    /// High: Nothing: at `processing.buffer` fetching pauses.
    BUFFERED: IntGaugeVec = register_int_gauge_vec("millrace_buffer_bytes", "Bytes buffered in memory", &["what"])
);
metric!(
    /// The memory limit of the process's control group, in bytes. Absent without a limit.
    ///
    /// High: Nothing. `process_resident_memory_bytes` must stay below it.
    MEMORY_LIMIT: IntGaugeVec =
        register_int_gauge_vec("millrace_memory_limit_bytes", "The limit of the control group", &["source"])
);
metric!(
    /// Bytes that an allocator of the process has taken from the kernel (committed), and what the program has of them (allocated).
    /// `glibc` has librdkafka and OpenSSL, `mimalloc` everything else: of that, the most that it has taken; what it has returned since is
    /// still counted. It does not count what is allocated, which would cost each allocation.
    ///
    /// High: Compare with what is resident (`process_resident_memory_bytes`), which shows here by its origin. `glibc`: each group has a client that fetches;
    /// a lower `queued.max.messages.kbytes` among `kafka.properties`. `mimalloc` beyond `millrace_buffer_bytes` and
    /// `millrace_state_cache_bytes`: batches, which the `…_batch_max` settings of `processing` bound.
    ALLOCATOR_BYTES: IntGaugeVec = register_int_gauge_vec(
        "millrace_allocator_bytes",
        "Bytes that the allocators of the process hold",
        &["allocator", "state"]
    )
);
metric!(
    /// Always 1; the labels are the version and the release of the build.
    ///
    /// High: Nothing. Different releases at the same time mean that an upgrade is under way.
    BUILD: IntGaugeVec = register_int_gauge_vec("millrace_build_info", "The build", &["version", "release"])
);
