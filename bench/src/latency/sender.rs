//! The open loop: a command leaves at its time, whatever became of the ones before it.

use std::time::Instant;

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use rdkafka::producer::{DeliveryFuture, FutureProducer};
use tokio::sync::mpsc::UnboundedSender;

use super::probe::{Sent, microseconds};
use crate::cli::Latency;
use crate::instance::Instance;
use crate::load::{Step, customers, intended};
use crate::preload::{self, Encoder};

/// Sends all commands; returns how late each was handed to Kafka's client.
pub(super) async fn send(
    instance: &Instance,
    options: &Latency,
    probes: [UnboundedSender<Sent>; 2],
    placed: UnboundedSender<Sent>,
) -> Result<Histogram<u64>> {
    let encoder = Encoder::new(&instance.stack).learn("RegisterCustomer").await?;
    let mut config = preload::producer_config(&instance.stack);
    let producer: FutureProducer = config.set("linger.ms", "0").create()?;
    let topic = instance.topic("cmd", "customers");
    let (mut late, mut deliveries) = (Histogram::new(3)?, Vec::new());
    let (warm_up, all) = (options.rate * options.warm_up, options.rate * (options.warm_up + options.seconds));
    let began = Instant::now();
    for number in 0..all {
        let step = Step { stream: u64::from(number), version: 1 };
        let outgoing = preload::customer_command(&encoder, step)?;
        let intended = intended(began, number, options.rate);
        tokio::time::sleep_until(intended.into()).await;
        let sent =
            Sent { customer: customers::customer(step), intended, counts: number >= warm_up, place: (0, 0) };
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
