//! SIGTERM: the batch in flight is finished, the rest is for the next process.

use millrace_tests::Load;

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance_with};

const SMALL_BATCHES: [(&str, &str); 2] =
    [("processing.commands_batch_max", "5"), ("processing.events_batch_max", "10")];

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_asked_to_stop_in_mid_load_stops_and_the_next_goes_on() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance_with("shutdown", &SMALL_BATCHES).await;
    let mut process = instance.start();
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    for slice in Load::STANDARD.slices(3) {
        let before = instance.count("SELECT count(*) FROM command").await.expect("receipts");
        instance.send(&slice).await;
        instance.decided(before + 30).await;
        process.stops().await;
        let backlog = instance.backlog().await;
        assert!(backlog.commands + backlog.events > 0, "it was stopped in mid-load: {backlog:?}");
        process = instance.start();
    }
    instance.settle().await;
    instance.snapshot().await.assert_same(expected);
}
