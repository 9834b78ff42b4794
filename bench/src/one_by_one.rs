//! A peer, run as a process of its own: customers' commands with one transaction for each, on several connections at
//! once. It decides with the same code as Millrace and writes the same rows into the same tables by the plain SQL that
//! one would write first. It prints how many commands are committed, a line whenever that has changed.

mod lane;
mod order;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use millrace_testkit::Stack;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;

use crate::cli::OneByOne;
use crate::preload::Encoder;
use lane::Lane;
use order::Order;

/// Commands that wait for their connection; more would only take memory.
const WAITING_MAX: usize = 64;
const TELL_EVERY: Duration = Duration::from_millis(10);
const RECORD_TYPES: [&str; 5] = [
    "RegisterCustomer",
    "ChangeCustomerDetails",
    "CustomerRegistered",
    "CustomerDetailsChanged",
    "CommandRejected",
];

/// What all lanes share.
struct Shared {
    namespace: String,
    /// The registry's ids by the full names of record types, for writing.
    ids: HashMap<&'static str, u32>,
    committed: AtomicU64,
}

/// Decides until it is ended.
pub(crate) async fn run(options: &OneByOne) -> Result<()> {
    let stack = crate::stack::find()?;
    let mut encoder = Encoder::new(&stack);
    for name in RECORD_TYPES {
        encoder = encoder.learn(name).await?;
    }
    let (namespace, ids) = (options.namespace.clone(), encoder.into_ids());
    let shared = Arc::new(Shared { namespace, ids, committed: AtomicU64::new(0) });
    let (mut tasks, mut lanes) = (JoinSet::new(), Vec::new());
    for number in 0..options.connections {
        let (sender, orders) = channel(WAITING_MAX);
        let lane = Lane::open(&stack, shared.clone(), number, options.partitions).await?;
        tasks.spawn(lane.work(orders));
        lanes.push(sender);
    }
    tasks.spawn(hand_out(consumer(&stack, options)?, lanes));
    tasks.spawn(tell(shared));
    tasks.join_next().await.context("nothing runs")??
}

/// All partitions from their beginning.
fn consumer(stack: &Stack, options: &OneByOne) -> Result<StreamConsumer> {
    let mut config = stack.kafka();
    config.set("group.id", format!("{}.one-by-one", options.namespace)).set("enable.auto.commit", "false");
    let consumer: StreamConsumer = config.create()?;
    let (topic, mut list) = (format!("{}.cmd.customers.v1", options.namespace), TopicPartitionList::new());
    for partition in 0..options.partitions {
        list.add_partition_offset(&topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// Commands of one key go to one lane, in their order.
async fn hand_out(consumer: StreamConsumer, lanes: Vec<Sender<Order>>) -> Result<()> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    loop {
        let order = Order::of(&consumer.recv().await?)?;
        let place = hasher.hash_one(&order.key) % lanes.len() as u64;
        let Some(lane) = lanes.get(usize::try_from(place)?) else { bail!("there are no connections") };
        lane.send(order).await?;
    }
}

async fn tell(shared: Arc<Shared>) -> Result<()> {
    let mut told = 0;
    loop {
        let committed = shared.committed.load(Ordering::Relaxed);
        if committed != told {
            println!("{committed}");
            told = committed;
        }
        tokio::time::sleep(TELL_EVERY).await;
    }
}
