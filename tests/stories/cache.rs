//! The state cache is only an optimisation.

use millrace_tests::Load;

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_far_smaller_than_the_streams_changes_no_result() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance_with("small_cache", &[("processing.state_cache", "3000B")]).await;
    let process = instance.start();
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    instance.send(&Load::STANDARD.slices(1).concat()).await;
    instance.settle().await;
    instance.snapshot().await.assert_same(expected);
    let figures = process.metrics().await.expect("figures");
    let evictions = figures.sum("millrace_state_cache_events_total", &[("event", "evictions")]);
    assert!(evictions > 100.0, "states had to make room: {evictions}");
    let bytes = figures.sum("millrace_state_cache_bytes", &[]);
    assert!(bytes <= 3_000.0, "the cache stays within its bytes: {bytes}");
}
