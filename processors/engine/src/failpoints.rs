//! Failpoints: named points at which a story can kill the process, between steps whose order matters, and mechanisms that it can
//! switch off.
//!
//! They are compiled in only with the feature `failpoints`. The environment variable `FAILPOINTS` activates them, such as
//! `after-commit=20*off->return` (the 21st batch kills the process).

use crate::record::Record;

/// After the batch was folded, before its transaction is committed.
pub const BEFORE_COMMIT: &str = "before-commit";
/// After the Postgres commit: before caches, documents and the mirror in Kafka.
pub const AFTER_COMMIT: &str = "after-commit";
/// After Elasticsearch took the documents, before `published` moves.
pub const AFTER_BULK: &str = "after-bulk";
/// After a call has its lease, before it is made.
pub const BEFORE_CALL: &str = "before-call";
/// After a call was made, before its answer is written.
pub const AFTER_CALL: &str = "after-call";

/// Passes a failpoint; kills the process without clean-up when `FAILPOINTS` has `return` for it.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
pub fn pass(failpoint: &'static str) {
    fail::fail_point!(failpoint, |_| {
        tracing::warn!(failpoint, "killed by a failpoint");
        std::process::abort()
    });
}

/// Makes the fold of a record panic that has the header named in `FAILPOINTS`: `poison-fold=return(poison)`.
pub(crate) const POISON_FOLD: &str = "poison-fold";
/// Makes the copying of such a record out of the client's buffer panic.
pub(crate) const POISON_DETACH: &str = "poison-detach";
/// Makes the member that receives such a record panic.
pub(crate) const POISON_MEMBER: &str = "poison-member";

/// Panics if the record has the header.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
#[allow(clippy::panic, reason = "a story asks for it")]
pub(crate) fn poison(failpoint: &'static str, record: &Record) {
    fail::fail_point!(failpoint, |header| {
        if header.is_some_and(|name: String| record.header(&name).is_some()) {
            panic!("poisoned by a failpoint");
        }
    });
}

/// Mechanisms that can be switched off, to check that a story fails without them: `FAILPOINTS=fence=return`.
pub mod mechanism {
    /// A worker whose partition was claimed again may not write.
    pub const FENCE: &str = "fence";
    /// The offset moves in the transaction of its batch.
    pub const ONE_TRANSACTION: &str = "one-transaction";
    /// A group that leaves a joint batch tries its records itself.
    pub const JOINT_BATCH: &str = "joint-batch";
    /// An event that was folded is not folded again.
    pub const PROGRESS: &str = "progress";
    /// An event ahead of a gap waits for it.
    pub const SEQUENCE_CHECK: &str = "sequence-check";
    /// A document has its row's version.
    pub const ROW_VERSION: &str = "row-version";
    /// An event is folded into a row once.
    pub const FOLD: &str = "fold";
    /// A record that was answered before a reset is skipped when retention has removed its ledger row.
    pub const PRUNED_MARK: &str = "pruned-mark";
    /// A command that was decided is not decided again.
    pub const LEDGER: &str = "ledger";
    /// A command with an unreadable identity is refused.
    pub const IDENTITY: &str = "identity";
    /// A command in this instance's own name counts only when its outbox has it.
    pub const OWN_SOURCE: &str = "own-source";
    /// A record of a blocked key waits.
    pub const KEY_ORDER: &str = "key-order";
    /// A wake-up copy that does not match its key's row is dropped.
    pub const STALE_COPY: &str = "stale-copy";
    /// A group goes on where the shared fetch has ended for it.
    pub const FETCH_END: &str = "fetch-end";
    /// Partitions that are added to a topic are held.
    pub const GROWTH_HOLD: &str = "growth-hold";
    /// The applied offset moves beyond offsets without a record.
    pub const NO_RECORD: &str = "no-record";
    /// A panic of a fold is a fault of its record.
    pub const CATCH_PANIC: &str = "catch-panic";
    /// A call has the same key at every attempt.
    pub const CALL_KEY: &str = "call-key";
    /// A call whose request a later release has stored is left to it.
    pub const LATER_CALL: &str = "later-call";
    /// What this build does not know waits for the later release that is deployed.
    pub const BUILD_TOO_OLD: &str = "build-too-old";
    /// A build does not begin again the shape of a generation that was rolled back.
    pub const DECLINED_SHAPE: &str = "declined-shape";
    /// A document is given up only for an error of the document itself.
    pub const ERROR_TYPE: &str = "error-type";
    /// A migration waits for a lock for a moment only.
    pub const SHORT_TRIES: &str = "short-tries";
    /// Rows and events are compared in one snapshot.
    pub const SNAPSHOT: &str = "snapshot";
}

/// Whether a mechanism is switched off; never without the feature.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
pub fn broken(mechanism: &'static str) -> bool {
    fail::fail_point!(mechanism, |_| true);
    false
}

/// A change to this process's shape of a view: `FAILPOINTS=shape=return(orders+column products+mapping)`.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
pub fn other_shape(view: &str) -> Option<String> {
    fail::fail_point!("shape", |changes: Option<String>| {
        let changes = changes.unwrap_or_default();
        let mut of_view = changes.split_whitespace().filter_map(|change| change.split_once('+'));
        of_view.find(|(name, _)| *name == view).map(|(_, change)| change.to_owned())
    });
    None
}

/// Whether this process must not know a record type, like an earlier build: `FAILPOINTS=unknown-types=return(millrace.a.B …)`.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
pub(crate) fn is_unknown(full_name: &str) -> bool {
    fail::fail_point!("unknown-types", |names: Option<String>| {
        names.unwrap_or_default().split_whitespace().any(|name| name == full_name)
    });
    false
}

/// The release of this process instead of its build's: `FAILPOINTS=release=return(2)`.
pub fn other_release() -> Option<i32> {
    fail::fail_point!("release", |number: Option<String>| number?.parse().ok());
    None
}

/// Reads `FAILPOINTS`; keep the guard for as long as the process runs.
#[cfg(feature = "failpoints")]
pub fn arm() -> impl Drop {
    fail::FailScenario::setup()
}
