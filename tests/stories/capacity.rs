//! Many commands in flight.

use millrace_tests::{Load, Raw, becomes, kafka};

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

/// In bytes: Kafka takes no record of more than a mebibyte.
const LARGE_RECORD: usize = 900_000;
const LARGE_RECORDS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn large_records_pass_through_every_group_in_bounded_memory() {
    let _turn = beside_others().await;
    let instance = instance_with("large", &[]).await;
    // No Avro: each is a dead letter of every group that reads it, with the same bytes.
    let large: Vec<Raw> = (0..LARGE_RECORDS).map(|i| Raw::value(vec![i as u8 | 1; LARGE_RECORD])).collect();
    for kind in ["cmd", "evt"] {
        kafka::produce(&instance.topic(kind, "customers"), None, &large).await;
    }
    let process = instance.start();
    let mut groups = instance.views();
    groups.retain(|view| view.contexts.contains(&"customers"));
    let letters = LARGE_RECORDS * (1 + groups.len());
    assert!(
        letters * LARGE_RECORD > MEMORY_MAX_MB as usize * 1_000_000,
        "{letters} letters are more than fits"
    );
    becomes(&instance.write, "SELECT count(*) FROM dead_letter", LARGE_RECORDS as i64).await;
    becomes(&instance.read, "SELECT count(*) FROM dead_letter", (letters - LARGE_RECORDS) as i64).await;
    let peak = process.memory_peak_mb();
    assert!(peak < MEMORY_MAX_MB, "{peak} MB resident at the most");
}
