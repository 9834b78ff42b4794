//! Raw records: bytes and headers, written and read without Millrace.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_kafka::Header;
use millrace_schemas::json::{encode_json, key_of};
use millrace_schemas::{Definition, definition, frame};
use millrace_testkit::schema_id;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ConfigSource, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::patience::eventually;
use crate::stack::stack;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A record's bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Raw {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; a tombstone has none.
    pub value: Option<Vec<u8>>,
    /// The headers in order: a name is bytes, a header may be null.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A record with its partition and offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The bytes.
    pub raw: Raw,
}

impl Raw {
    /// A record with a value and nothing else.
    pub fn value(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// With a key.
    pub fn key(self, key: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// With one more header.
    pub fn header(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// The first header of this name, as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name.as_bytes())?;
        value.as_deref().map(|bytes| std::str::from_utf8(bytes).expect("a header that is text"))
    }

    /// Fields of the contract, encoded and framed as an upstream system would.
    pub async fn of(name: &str, data: &Value) -> Self {
        let known = contract(name);
        encoded(known, registered(known).await, data)
    }

    /// Commands of one type, each with its identity.
    pub async fn commands(name: &str, of: impl IntoIterator<Item = (String, Value)>) -> Vec<Self> {
        let known = contract(name);
        let schema = registered(known).await;
        let of = of.into_iter().map(|(id, data)| encoded(known, schema, &data).identified(&id));
        of.collect()
    }

    /// A command with an identity.
    pub async fn command(id: &str, name: &str, data: &Value) -> Self {
        Self::of(name, data).await.identified(id)
    }

    fn identified(self, id: &str) -> Self {
        self.header("ce_id", id).header("ce_source", "stories")
    }
}

fn contract(name: &str) -> &'static Definition {
    definition(name).unwrap_or_else(|| panic!("{name} is not in the contract"))
}

async fn registered(known: &Definition) -> u32 {
    schema_id(stack(), known).await.expect("a registered schema")
}

fn encoded(known: &Definition, schema: u32, data: &Value) -> Raw {
    let body = encode_json(known, data).expect("fields that fit");
    Raw::value(frame(schema, &body)).key(key_of(known, data).expect("a key"))
}

/// Registers a schema that is not part of the contract.
pub async fn register_schema(subject: &str, schema: &Value) -> u32 {
    register_referring(subject, schema, &[]).await
}

/// As [`register_schema`], for one that refers to others: to each by its name, which a version of a subject defines.
pub async fn register_referring(subject: &str, schema: &Value, references: &[(&str, &str, u32)]) -> u32 {
    let reference = |(name, subject, version): &(&str, &str, u32)| json!({"name": name, "subject": subject, "version": version});
    let references: Vec<Value> = references.iter().map(reference).collect();
    let mut body = json!({"schema": schema.to_string(), "schemaType": "AVRO"});
    if !references.is_empty() {
        body["references"] = references.into();
    }
    let path = format!("subjects/{subject}/versions");
    let answer = stack().registry(reqwest::Method::POST, &path, Some(&body)).await.expect("the registry");
    u32::try_from(answer["id"].as_u64().expect("an id")).expect("a schema id")
}

/// Writes records in order; to the partition of their key unless one is named.
pub async fn produce(topic: &str, partition: Option<i32>, records: &[Raw]) {
    produce_as(topic, partition, records, &[]).await;
}

/// As [`produce`], by a producer with further properties.
pub async fn produce_as(topic: &str, partition: Option<i32>, records: &[Raw], properties: &[(&str, &str)]) {
    send(&producer(properties), (topic, partition, None), records).await;
}

/// Writes records in order with given timestamps, in milliseconds since 1970.
pub async fn produce_stamped(topic: &str, stamp: i64, records: &[Raw]) {
    send(&producer(&[]), (topic, None, Some(stamp)), records).await;
}

/// As [`produce_stamped`] of a record that the broker refuses; returns why.
pub async fn refused_stamped(topic: &str, stamp: i64, record: &Raw) -> Option<RDKafkaErrorCode> {
    let sent = producer(&[]).send(message((topic, None, Some(stamp)), record), TIMEOUT).await;
    sent.err().and_then(|(error, _)| error.rdkafka_error_code())
}

/// A long-lived producer, which refreshes its own metadata of topics.
pub struct Sender(FutureProducer);

impl Sender {
    /// With further properties.
    pub fn new(properties: &[(&str, &str)]) -> Self {
        Self(producer(properties))
    }

    /// Writes records in order without waiting for each; to the partition of their key unless one is named. Where they are.
    pub async fn send(&self, topic: &str, partition: Option<i32>, records: &[Raw]) -> Vec<i32> {
        let place = (topic, partition, None);
        let sent: Vec<_> = records
            .iter()
            .map(|raw| self.0.send_result(message(place, raw)).expect("room in the queue"))
            .collect();
        let mut partitions = Vec::new();
        for sent in sent {
            let delivery = sent.await.expect("a producer that lives").expect("an acknowledged record");
            partitions.push(delivery.partition);
        }
        partitions
    }
}

fn producer(properties: &[(&str, &str)]) -> FutureProducer {
    let mut config = stack().producer();
    config.extend(properties.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    config.create().expect("a producer")
}

/// Topic, partition and stamp of what is sent.
type At<'t> = (&'t str, Option<i32>, Option<i64>);

async fn send(producer: &FutureProducer, (topic, partition, stamp): At<'_>, records: &[Raw]) {
    for record in records {
        let message = message((topic, partition, stamp), record);
        producer.send(message, TIMEOUT).await.expect("an acknowledged record");
    }
}

fn message<'r>((topic, partition, stamp): At<'r>, record: &'r Raw) -> FutureRecord<'r, [u8], [u8]> {
    let headers = record.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() });
    let mut message = FutureRecord::to(topic).headers(millrace_kafka::owned_headers(headers));
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    message.partition = partition;
    message.timestamp = stamp;
    message
}

/// Writes records into one batch of zstd, however large they are decompressed.
pub async fn produce_packed(topic: &str, partition: i32, records: &[Raw]) {
    let producer = producer(&[
        ("compression.type", "zstd"),
        ("message.max.bytes", "1000000000"),
        ("batch.size", "1000000000"),
        ("linger.ms", "200"),
    ]);
    let place = (topic, Some(partition), None);
    let sent =
        records.iter().map(|raw| producer.send_result(message(place, raw)).expect("room in the queue"));
    for sent in sent.collect::<Vec<_>>() {
        sent.await.expect("a producer that lives").expect("an acknowledged record");
    }
}

/// A transaction of a producer that has written records of one partition and is still open. Kafka aborts it after a
/// minute by itself.
pub struct Transaction(FutureProducer);

impl Transaction {
    /// Begins one and writes records in it.
    pub async fn begin(topic: &str, partition: i32, records: &[Raw]) -> Self {
        let id = uuid::Uuid::now_v7().to_string();
        let producer: FutureProducer =
            stack().kafka().set("transactional.id", id).create().expect("a producer");
        tokio::task::block_in_place(|| {
            producer.init_transactions(TIMEOUT).expect("a producer of transactions");
            producer.begin_transaction().expect("a transaction");
        });
        send(&producer, (topic, Some(partition), None), records).await;
        Self(producer)
    }

    /// Commits it.
    pub fn commit(self) {
        tokio::task::block_in_place(|| self.0.commit_transaction(TIMEOUT)).expect("a committed transaction");
    }

    /// Aborts it.
    pub fn abort(self) {
        tokio::task::block_in_place(|| self.0.abort_transaction(TIMEOUT)).expect("an aborted transaction");
    }
}

/// The committed offsets of a group, with their metadata.
pub fn committed(group: &str, topic: &str, partitions: &[i32]) -> BTreeMap<i32, (i64, String)> {
    let mut places = TopicPartitionList::new();
    for partition in partitions {
        places.add_partition(topic, *partition);
    }
    let found = tokio::task::block_in_place(|| of_group(group).committed_offsets(places, TIMEOUT));
    let found = found.expect("committed offsets");
    let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        let committed = (element.offset().to_raw()?, element.metadata().to_owned());
        Some((element.partition(), committed)).filter(|(_, (offset, _))| *offset >= 0)
    };
    found.elements().iter().filter_map(offset).collect()
}

/// Commits an offset for a group without members, with metadata.
pub fn commit(group: &str, topic: &str, (partition, offset): (i32, i64), metadata: &str) {
    let mut places = TopicPartitionList::new();
    let mut place = places.add_partition(topic, partition);
    place.set_offset(Offset::Offset(offset)).expect("an offset");
    place.set_metadata(metadata);
    tokio::task::block_in_place(|| of_group(group).commit(&places, CommitMode::Sync)).expect("a commit");
}

fn of_group(group: &str) -> BaseConsumer {
    stack().kafka().set("group.id", group).set("enable.auto.commit", "false").create().expect("a consumer")
}

/// Lets Kafka delete the records of some partitions before an offset; all of them when there is none.
pub async fn delete_records(topic: &str, partitions: &[i32], before: Option<i64>) {
    let admin: AdminClient<_> = stack().kafka().create().expect("an admin client");
    let mut places = TopicPartitionList::new();
    for partition in partitions {
        let before = before.map_or(Offset::End, Offset::Offset);
        places.add_partition_offset(topic, *partition, before).expect("an offset");
    }
    let deleted = admin.delete_records(&places, &AdminOptions::new()).await.expect("deleted records");
    for partition in deleted.elements() {
        partition.error().expect("deleted records of a partition");
    }
}

/// The settings of a topic, without defaults.
pub async fn topic_settings(topic: &str) -> BTreeMap<String, String> {
    let admin: AdminClient<_> = stack().kafka().create().expect("an admin client");
    let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await;
    let described = described.expect("a description").remove(0).expect("a described topic");
    let own = described.entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
    own.filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

/// Changes one setting of a topic, and waits until the broker knows.
pub async fn set_topic(topic: &str, name: &str, value: &str) {
    let mut settings = topic_settings(topic).await;
    settings.insert(name.to_owned(), value.to_owned());
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let config = settings.iter().fold(config, |config, (name, value)| config.set(name, value));
    let admin: AdminClient<_> = stack().kafka().create().expect("an admin client");
    let altered = admin.alter_configs([&config], &AdminOptions::new()).await.expect("altered settings");
    altered.into_iter().for_each(|topic| drop(topic.expect("an altered topic")));
    eventually("the broker knows the setting", async || {
        let known = topic_settings(topic).await.get(name).cloned();
        if known.as_deref() == Some(value) { Ok(()) } else { Err(format!("{known:?}")) }
    })
    .await;
}

/// Reads without a group.
pub struct Reader(BaseConsumer);

impl Default for Reader {
    fn default() -> Self {
        let mut config = stack().kafka();
        config.set("group.id", "stories-read-without-a-group").set("enable.auto.commit", "false");
        config.set("fetch.wait.max.ms", "20");
        Self(config.create().expect("a consumer"))
    }
}

impl Reader {
    /// The offset behind the last record of each partition.
    pub fn ends(&self, topic: &str) -> BTreeMap<i32, i64> {
        tokio::task::block_in_place(|| {
            let end =
                |partition| Some((partition, self.0.fetch_watermarks(topic, partition, TIMEOUT).ok()?.1));
            self.partitions(topic).into_iter().filter_map(end).collect()
        })
    }

    fn partitions(&self, topic: &str) -> Vec<i32> {
        let metadata = self.0.fetch_metadata(Some(topic), TIMEOUT);
        let Ok(metadata) = metadata else { return Vec::new() };
        metadata.topics()[0].partitions().iter().map(|partition| partition.id()).collect()
    }

    /// Every record of a topic, partition by partition, in order.
    pub fn all(&self, topic: &str) -> Vec<Placed> {
        tokio::task::block_in_place(|| {
            let (mut all, mut count) = (TopicPartitionList::new(), 0);
            for partition in self.partitions(topic) {
                let (low, high) = self.0.fetch_watermarks(topic, partition, TIMEOUT).expect("watermarks");
                all.add_partition_offset(topic, partition, Offset::Offset(low)).expect("an offset");
                count += high - low;
            }
            self.0.assign(&all).expect("an assignment");
            let mut records: Vec<Placed> = (0..count).map(|_| self.next(topic)).collect();
            self.0.unassign().expect("no assignment");
            records.sort_by_key(|record| (record.partition, record.offset));
            records
        })
    }

    fn next(&self, topic: &str) -> Placed {
        // Errors are about brokers that were away; the client reconnects.
        let message = std::iter::from_fn(|| self.0.poll(TIMEOUT)).find_map(Result::ok);
        let message = message.unwrap_or_else(|| panic!("{topic} has fewer records than it says"));
        let headers = millrace_kafka::headers(&message).expect("headers that can be read");
        let headers =
            headers.map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec))).collect();
        let (key, value) = (message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec));
        Placed { partition: message.partition(), offset: message.offset(), raw: Raw { key, value, headers } }
    }
}

/// The partition that Java's clients choose for a key.
pub fn murmur2_partition(key: &[u8], partitions: u32) -> i32 {
    let hash = murmur2(key) & 0x7fff_ffff;
    i32::try_from(hash % partitions).expect("a partition")
}

/// As in `org.apache.kafka.common.utils.Utils`.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ u32::try_from(data.len()).expect("a short key");
    let words = data.chunks_exact(4);
    let rest = words.remainder();
    for word in words {
        let mut k = u32::from_le_bytes(word.try_into().expect("four bytes")).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    for (place, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * place);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}
