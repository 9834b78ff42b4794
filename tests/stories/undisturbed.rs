//! What the standard load leads to when nothing gets in its way: what disturbed instances are compared with.

use millrace_tests::{Load, Snapshot};
use tokio::sync::OnceCell;

use crate::instance;

/// The snapshot of an instance that has worked off the standard load in peace; made once.
pub(crate) async fn undisturbed() -> &'static Snapshot {
    static SNAPSHOT: OnceCell<Snapshot> = OnceCell::const_new();
    SNAPSHOT.get_or_init(in_peace).await
}

async fn in_peace() -> Snapshot {
    let instance = instance("undisturbed").await;
    let _process = instance.start();
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    instance.send(&Load::STANDARD.slices(1).concat()).await;
    instance.settle().await;
    instance.assert_both_read_models_agree().await;
    let snapshot = instance.snapshot().await;
    assert_worthwhile(&snapshot);
    snapshot
}

/// Comparing with an empty snapshot would prove nothing.
fn assert_worthwhile(snapshot: &Snapshot) {
    for (part, lines) in &snapshot.0 {
        assert!(lines.len() >= 30, "the standard load leads to only {} lines of {part}", lines.len());
    }
    let receipts = &snapshot.0["written command"];
    let with = |status: &str| {
        receipts.iter().filter(|line| line.contains(&format!("\"status\":\"{status}\""))).count()
    };
    assert_eq!(
        (with("rejected"), with("dead")),
        (24, 0),
        "orders that nobody placed are rejected, nothing dies"
    );
    assert_eq!(with("completed") + with("rejected"), receipts.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_nothing_disturbs_end_in_the_same_rows() {
    let _turn = crate::beside_others().await;
    let first = undisturbed().await;
    in_peace().await.assert_same(first);
}
