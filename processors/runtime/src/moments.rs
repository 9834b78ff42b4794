//! Named moments at which a story can stop the process: between the steps whose order matters.
//!
//! Without the feature `failpoints` nothing of this is compiled in. With it the environment variable `FAILPOINTS`
//! says what happens, such as `after-commit=20*off->return` (the 21st batch kills the process).

/// After the batch was folded, before its transaction is committed.
pub const BEFORE_COMMIT: &str = "before-commit";
/// After the Postgres commit: before caches, documents and the mirror in Kafka.
pub const AFTER_COMMIT: &str = "after-commit";
/// After Elasticsearch took the documents, before `published` moves.
pub const AFTER_BULK: &str = "after-bulk";

/// Passes a moment; kills the process without any clean-up when `FAILPOINTS` says `return` for it.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
pub fn pass(moment: &'static str) {
    fail::fail_point!(moment, |_| {
        tracing::warn!(moment, "killed by a failpoint");
        std::process::abort()
    });
}

/// Reads `FAILPOINTS`; keep the guard as long as the process runs.
#[cfg(feature = "failpoints")]
pub fn arm() -> impl Drop {
    fail::FailScenario::setup()
}
