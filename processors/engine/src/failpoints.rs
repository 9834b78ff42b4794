//! Failpoints: named points at which a story can kill the process, between the steps whose order matters, and mechanisms
//! that it can switch off.
//!
//! Without the feature `failpoints` nothing of this is compiled in. With it the environment variable `FAILPOINTS`
//! says what happens, such as `after-commit=20*off->return` (the 21st batch kills the process).

use crate::record::Record;

/// After the batch was folded, before its transaction is committed.
pub const BEFORE_COMMIT: &str = "before-commit";
/// After the Postgres commit: before caches, documents and the mirror in Kafka.
pub const AFTER_COMMIT: &str = "after-commit";
/// After Elasticsearch took the documents, before `published` moves.
pub const AFTER_BULK: &str = "after-bulk";
/// A call has its lease and was not made yet.
pub const BEFORE_CALL: &str = "before-call";
/// A call was made, and its answer is not written yet.
pub const AFTER_CALL: &str = "after-call";

/// Passes a failpoint; kills the process without any clean-up when `FAILPOINTS` says `return` for it.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
pub fn pass(failpoint: &'static str) {
    fail::fail_point!(failpoint, |_| {
        tracing::warn!(failpoint, "killed by a failpoint");
        std::process::abort()
    });
}

/// The fold of a record that has the header that `FAILPOINTS` names panics: `poison-fold=return(poison)`.
pub(crate) const POISON_FOLD: &str = "poison-fold";
/// Likewise what copies it out of the client's buffer.
pub(crate) const POISON_DETACH: &str = "poison-detach";
/// Likewise the member of a group that receives it.
pub(crate) const POISON_MEMBER: &str = "poison-member";

/// Panics at a poisoned record.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
#[allow(clippy::panic, reason = "a story asks for it")]
pub(crate) fn poison(failpoint: &'static str, record: &Record) {
    fail::fail_point!(failpoint, |header| {
        if header.is_some_and(|name: String| record.header(&name).is_some()) {
            panic!("poisoned by a failpoint");
        }
    });
}

/// Mechanisms that can be switched off, to see that a story notices: `FAILPOINTS=fence=return`.
pub mod mechanism {
    /// A worker whose partition was claimed again may not write.
    pub const FENCE: &str = "fence";
    /// The offset moves in the transaction of its batch.
    pub const ONE_TRANSACTION: &str = "one-transaction";
    /// An event that was folded is not folded again.
    pub const PROGRESS: &str = "progress";
    /// An event ahead of a gap waits for it.
    pub const SEQUENCE_CHECK: &str = "sequence-check";
    /// A document has its row's version.
    pub const ROW_VERSION: &str = "row-version";
    /// An event is folded into a row once.
    pub const FOLD: &str = "fold";
    /// What was answered before a group was set back is passed over where ledger rows are gone.
    pub const PRUNED_MARK: &str = "pruned-mark";
    /// A command that was decided is not decided again.
    pub const LEDGER: &str = "ledger";
    /// A command whose identity is there and cannot be read is refused.
    pub const IDENTITY: &str = "identity";
    /// A command in this instance's own name counts only when its outbox has it.
    pub const OWN_SOURCE: &str = "own-source";
    /// What arrives behind a blocked key waits.
    pub const KEY_ORDER: &str = "key-order";
    /// A wake-up copy that no longer fits its key is dropped.
    pub const STALE_COPY: &str = "stale-copy";
    /// Partitions that are added to a topic are held.
    pub const GROWTH_HOLD: &str = "growth-hold";
    /// An offset moves beyond what is no record.
    pub const NO_RECORD: &str = "no-record";
    /// A panic of a fold is a fault of its record.
    pub const CATCH_PANIC: &str = "catch-panic";
    /// A call has the same key at every try.
    pub const CALL_KEY: &str = "call-key";
    /// Only a document that is itself wrong is given up when Elasticsearch does not take it.
    pub const ERROR_TYPE: &str = "error-type";
    /// Rows are compared with events as of one moment.
    pub const SNAPSHOT: &str = "snapshot";
}

/// Whether a mechanism is switched off; never without the feature.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
pub fn broken(mechanism: &'static str) -> bool {
    fail::fail_point!(mechanism, |_| true);
    false
}

/// How this process has a view otherwise than its build: `FAILPOINTS=shape=return(orders+column products+mapping)`.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
pub fn other_shape(view: &str) -> Option<String> {
    fail::fail_point!("shape", |changes: Option<String>| {
        let changes = changes.unwrap_or_default();
        let mut of_view = changes.split_whitespace().filter_map(|change| change.split_once('+'));
        of_view.find(|(name, _)| *name == view).map(|(_, change)| change.to_owned())
    });
    None
}

/// Whether this process does not know a record type, as an earlier build: `FAILPOINTS=unknown-types=return(millrace.a.B …)`.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
pub(crate) fn is_unknown(full_name: &str) -> bool {
    fail::fail_point!("unknown-types", |names: Option<String>| {
        names.unwrap_or_default().split_whitespace().any(|name| name == full_name)
    });
    false
}

/// The release of which this process is instead of its build's: `FAILPOINTS=release=return(2)`.
pub fn other_release() -> Option<i32> {
    fail::fail_point!("release", |number: Option<String>| number?.parse().ok());
    None
}

/// Reads `FAILPOINTS`; keep the guard as long as the process runs.
#[cfg(feature = "failpoints")]
pub fn arm() -> impl Drop {
    fail::FailScenario::setup()
}
