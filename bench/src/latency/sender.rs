//! The open loop: a command is sent at its time, independently of the ones before it.

use std::time::Instant;

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use rdkafka::producer::{DeliveryFuture, FutureProducer};
use tokio::sync::mpsc::UnboundedSender;

use super::probe::{Sent, microseconds};
use crate::instance::Instance;
use crate::load::{Step, customers, intended};
use crate::preload::{self, Encoder};

/// The pace of an open loop.
pub(crate) struct Pace {
    /// Commands a second.
    pub(crate) rate: u32,
    /// Seconds that do not count.
    pub(crate) quiet: u32,
    /// Seconds that count, after those.
    pub(crate) seconds: u32,
    /// The number of the first customer; each command registers the next one.
    pub(crate) first: u64,
}

impl Pace {
    /// Commands in all.
    pub(crate) fn all(&self) -> u32 {
        self.rate * (self.quiet + self.seconds)
    }
}

/// Sends all commands; returns how late each was handed to Kafka's client. Probes are told of each command when it leaves,
/// and `placed` when Kafka has it.
pub(crate) async fn send(
    instance: &Instance,
    pace: &Pace,
    probes: Vec<UnboundedSender<Sent>>,
    placed: UnboundedSender<Sent>,
) -> Result<Histogram<u64>> {
    let encoder = Encoder::new(&instance.stack).learn("RegisterCustomer").await?;
    let mut config = instance.stack.producer();
    let producer: FutureProducer = config.set("linger.ms", "0").create()?;
    let topic = instance.topic("cmd", "customers");
    let (mut late, mut deliveries) = (Histogram::new(3)?, Vec::new());
    let began = Instant::now();
    for number in 0..pace.all() {
        let step = Step { stream: pace.first + u64::from(number), version: 1 };
        let outgoing = preload::customer_command(&encoder, step)?;
        let intended = intended(began, number, pace.rate);
        tokio::time::sleep_until(intended.into()).await;
        let sent = Sent {
            customer: customers::customer(step),
            intended,
            counts: number >= pace.rate * pace.quiet,
            place: (0, 0),
        };
        for probe in &probes {
            probe.send(sent.clone()).map_err(|_| anyhow!("a probe has failed"))?;
        }
        let delivery = preload::produce(&producer, &topic, &outgoing)?;
        late.record(microseconds(intended.elapsed()))?;
        deliveries.push(tokio::spawn(tell(delivery, sent, placed.clone())));
    }
    for delivery in deliveries {
        delivery.await??;
    }
    Ok(late)
}

/// Every command has one event, and both topics partition alike: the event has the command's partition and offset.
async fn tell(delivery: DeliveryFuture, sent: Sent, placed: UnboundedSender<Sent>) -> Result<()> {
    let delivered = delivery.await?.map_err(|(error, _)| error)?;
    placed
        .send(Sent { place: (delivered.partition, delivered.offset), ..sent })
        .map_err(|_| anyhow!("a probe has failed"))
}
