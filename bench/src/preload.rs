//! Records onto topics: framed Avro with the headers that `millrace send` and Debezium write.

pub(crate) mod sale;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millrace_schemas::{Message, definition, frame};
use millrace_testkit::{Stack, schema_id};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryFuture, DeliveryResult, FutureProducer, FutureRecord, Producer as _, ProducerContext,
    ThreadedProducer,
};
use uuid::Uuid;

use crate::cli::Order;
use crate::instance::Instance;
use crate::load::{self, Step, customers, orders, steps};

const FLUSH_WITHIN: Duration = Duration::from_secs(120);

/// A record on its way.
pub(crate) struct Outgoing {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// The registry's ids of a context's record types.
pub(crate) struct Encoder<'s> {
    ids: std::collections::HashMap<&'static str, u32>,
    stack: &'s Stack,
}

impl<'s> Encoder<'s> {
    /// Knows no ids yet.
    pub(crate) fn new(stack: &'s Stack) -> Self {
        Self { ids: std::collections::HashMap::new(), stack }
    }

    /// Asks for the id of a record type of this build.
    pub(crate) async fn learn(mut self, name: &str) -> Result<Self> {
        let definition = definition(name).with_context(|| format!("there is no record type {name}"))?;
        self.ids.insert(definition.full_name, schema_id(self.stack, definition).await?);
        Ok(self)
    }

    /// All ids that it knows.
    pub(crate) fn into_ids(self) -> std::collections::HashMap<&'static str, u32> {
        self.ids
    }

    /// A record's framed value.
    pub(crate) fn encode(&self, message: &impl Message) -> Result<Vec<u8>> {
        let id = self.ids.get(message.full_name()).context("a record type without id")?;
        Ok(frame(*id, &message.encode()?))
    }
}

/// A command of a customer.
pub(crate) fn customer_command(encoder: &Encoder<'_>, step: Step) -> Result<Outgoing> {
    let id = load::id("command", customers::number(step));
    command(encoder, &customers::command(step), id, load::time(step).0)
}

/// A command, as `millrace send` writes it.
pub(crate) fn command(
    encoder: &Encoder<'_>,
    message: &impl Message,
    id: Uuid,
    time: String,
) -> Result<Outgoing> {
    let headers = vec![
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", id.to_string()),
        ("ce_source", "bench".to_owned()),
        ("ce_type", message.full_name().to_owned()),
        ("ce_time", time),
        ("content-type", "application/avro".to_owned()),
    ];
    Ok(Outgoing { key: message.key().to_owned(), value: encoder.encode(message)?, headers })
}

/// An event, as Debezium carries it.
fn event(encoder: &Encoder<'_>, step: Step, message: &impl Message) -> Result<Outgoing> {
    let (key, cause) = (message.key().to_owned(), load::id("command", step.stream).to_string());
    let headers = vec![
        ("ce_id", load::event_id(&key, step.version).to_string()),
        ("ce_type", message.full_name().to_owned()),
        ("ce_time", load::time(step).0),
        ("ce_sequence", step.version.to_string()),
        ("correlation-id", cause.clone()),
        ("causation-id", cause),
        ("ce_specversion", "1.0".to_owned()),
        ("ce_source", "/bench".to_owned()),
        ("content-type", "application/avro".to_owned()),
    ];
    Ok(Outgoing { key, value: encoder.encode(message)?, headers })
}

/// Fills the topic of the customers' commands.
pub(crate) async fn customer_commands(instance: &Instance, streams: Range<u64>, order: Order) -> Result<()> {
    traced_customer_commands(instance, streams, order, None).await
}

/// The same, of which this part has a trace that is sampled, in percent, and the others one that is not; `None` for no traces.
pub(crate) async fn traced_customer_commands(
    instance: &Instance,
    streams: Range<u64>,
    order: Order,
    traced: Option<u64>,
) -> Result<()> {
    let encoder = customers_encoder(instance).await?;
    let records = steps(streams, customers::VERSIONS, order).map(|step| {
        let mut command = customer_command(&encoder, step)?;
        command.headers.extend(traced.map(|percent| traceparent(customers::number(step), percent)));
        Ok(command)
    });
    fill(&instance.stack, &instance.topic("cmd", "customers"), records)
}

/// A trace of its own for the `number`-th command.
fn traceparent(number: u64, percent: u64) -> (&'static str, String) {
    let sampled = u8::from(number % 100 < percent);
    ("traceparent", format!("00-{:032x}-{:016x}-{sampled:02x}", number + 1, number + 1))
}

async fn customers_encoder(instance: &Instance) -> Result<Encoder<'_>> {
    Encoder::new(&instance.stack).learn("RegisterCustomer").await?.learn("ChangeCustomerDetails").await
}

/// Fills the topic of the customers' commands with those that lead to these versions.
pub(crate) async fn customer_steps(instance: &Instance, steps: impl Iterator<Item = Step>) -> Result<()> {
    let encoder = customers_encoder(instance).await?;
    let records = steps.map(|step| customer_command(&encoder, step));
    fill(&instance.stack, &instance.topic("cmd", "customers"), records)
}

/// Fills the topic of the customers' events.
pub(crate) async fn customer_events(instance: &Instance, streams: Range<u64>, order: Order) -> Result<()> {
    customer_event_steps(instance, steps(streams, customers::VERSIONS, order)).await
}

/// The same with so many events of each customer.
pub(crate) async fn customer_versions(instance: &Instance, streams: Range<u64>, versions: u64) -> Result<()> {
    customer_event_steps(instance, steps(streams, versions, Order::Together)).await
}

async fn customer_event_steps(instance: &Instance, steps: impl Iterator<Item = Step>) -> Result<()> {
    let encoder = Encoder::new(&instance.stack).learn("CustomerRegistered").await?;
    let encoder = encoder.learn("CustomerDetailsChanged").await?;
    let records = steps.map(|step| event(&encoder, step, &customers::event(step)));
    fill(&instance.stack, &instance.topic("evt", "customers"), records)
}

/// Fills a topic with the rows that the customers' events lead to, as JSON without headers.
pub(crate) fn customer_rows(
    instance: &Instance,
    topic: &str,
    streams: Range<u64>,
    order: Order,
) -> Result<()> {
    let records = steps(streams, customers::VERSIONS, order).map(|step| {
        let (key, value) = (customers::customer(step), customers::row(step).to_string().into_bytes());
        Ok(Outgoing { key, value, headers: Vec::new() })
    });
    fill(&instance.stack, topic, records)
}

/// Fills the topic of the orders' events.
pub(crate) async fn order_events(instance: &Instance, streams: Range<u64>, order: Order) -> Result<()> {
    let encoder = Encoder::new(&instance.stack).learn("OrderPlaced").await?;
    let encoder = encoder.learn("OrderConfirmed").await?.learn("OrderShipped").await?;
    let steps = steps(streams, orders::VERSIONS, order);
    let records = steps.map(|step| event(&encoder, step, &orders::event(step)));
    fill(&instance.stack, &instance.topic("evt", "orders"), records)
}

/// Counts what Kafka has taken.
#[derive(Clone, Default)]
struct Deliveries(Arc<AtomicU64>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
    }
}

/// Produces records in order and waits until all are acknowledged.
fn fill(stack: &Stack, topic: &str, records: impl Iterator<Item = Result<Outgoing>>) -> Result<()> {
    let delivered = Deliveries::default();
    let mut config = stack.producer();
    config.set("linger.ms", "20").set("batch.size", "131072").set("compression.type", "lz4");
    let producer: ThreadedProducer<Deliveries> = config.create_with_context(delivered.clone())?;
    let mut sent = 0;
    for record in records {
        send(&producer, topic, &record?)?;
        sent += 1;
    }
    producer.flush(FLUSH_WITHIN)?;
    let delivered = delivered.0.load(Ordering::Relaxed);
    ensure!(delivered == sent, "{delivered} of {sent} records were delivered");
    Ok(())
}

fn send(producer: &ThreadedProducer<Deliveries>, topic: &str, outgoing: &Outgoing) -> Result<()> {
    let mut record =
        BaseRecord::to(topic).key(&outgoing.key).payload(&outgoing.value).headers(headers(outgoing));
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), full)) => {
                record = full;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// Hands a record to Kafka's client.
pub(crate) fn produce(producer: &FutureProducer, topic: &str, outgoing: &Outgoing) -> Result<DeliveryFuture> {
    let record =
        FutureRecord::to(topic).key(&outgoing.key).payload(&outgoing.value).headers(headers(outgoing));
    producer.send_result(record).map_err(|(error, _)| error.into())
}

/// A record's headers for Kafka's client.
fn headers(outgoing: &Outgoing) -> OwnedHeaders {
    outgoing
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}
