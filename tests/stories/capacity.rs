//! Many commands in flight.

use millrace_tests::Load;

use crate::{beside_others, instance_with};

const LARGE: Load = Load { customers: 400, products: 400, orders: 1_750 };
/// Every group may hold a whole batch of each partition at once; 150 to 205 MB, by how fast the machine fetches.
const MEMORY_MAX_MB: u64 = 256;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_commands_in_flight_all_have_an_outcome_in_bounded_memory() {
    let _turn = beside_others().await;
    let defaults = [("partitions", "4"), ("commands_batch_max", "2000"), ("events_batch_max", "5000")];
    let instance = instance_with("ten_thousand", &defaults).await;
    let process = instance.start();
    let basics = LARGE.basics();
    instance.send_and_wait(&basics).await.expect_success();
    let commands = LARGE.slices(1).concat();
    assert!(basics.len() + commands.len() > 10_000, "{} + {}", basics.len(), commands.len());
    // 1 means that not every command was completed: some orders were never placed.
    instance.send_and_wait(&commands).await.expect_code(1);
    let sent = i64::try_from(basics.len() + commands.len()).unwrap();
    assert_eq!(instance.count("SELECT count(*) FROM command").await, Ok(sent), "every command has a receipt");
    assert_eq!(instance.count("SELECT count(*) FROM command WHERE status = 'dead'").await, Ok(0));
    instance.settle().await;
    instance.assert_both_read_models_agree().await;
    let peak = process.memory_peak_mb();
    assert!(peak < MEMORY_MAX_MB, "{peak} MB resident at the most");
}
