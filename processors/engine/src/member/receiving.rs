//! What the client has fetched: records find room in the buffer and go to their partitions, errors are sorted.

use std::sync::Arc;

use futures::FutureExt as _;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use tokio::time::Instant;

use super::{GroupConsumer, Member, Partition, held};
use crate::buffer::{Permit, Room};
use crate::error::Fault;
use crate::failpoints;
use crate::metrics;
use crate::record::Record;
use crate::supervision;

/// How many records are received before the member handles other events.
const RECEIVED_AT_ONCE: usize = 500;

/// An error of the client that the member must handle.
pub(super) enum Trouble {
    /// The next offset of a partition does not exist.
    OutOfRange,
    Unfetchable,
    Fatal,
}

impl Trouble {
    fn of(error: &KafkaError) -> Option<Self> {
        match error {
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset) => Some(Self::OutOfRange),
            KafkaError::MessageConsumption(code) if millrace_kafka::is_unfetchable(*code) => {
                Some(Self::Unfetchable)
            }
            KafkaError::MessageConsumptionFatal(_) => Some(Self::Fatal),
            _ => None,
        }
    }
}

impl Member {
    /// Receives the records that the client has fetched, up to an error that the member must handle.
    pub(super) fn receive_all(
        &mut self,
        consumer: &GroupConsumer,
        first: KafkaResult<BorrowedMessage<'_>>,
    ) -> Option<Trouble> {
        let mut next = Some(first);
        for _ in 0..RECEIVED_AT_ONCE {
            if let Some(trouble) = self.receive(next?) {
                return Some(trouble);
            }
            next = if self.waiting.is_empty() { consumer.recv().now_or_never() } else { None };
        }
        next.and_then(|last| self.receive(last))
    }

    fn receive(&mut self, message: KafkaResult<BorrowedMessage<'_>>) -> Option<Trouble> {
        let error = match message {
            Ok(message) => {
                self.error_logged = false;
                self.arrived(&message);
                return None;
            }
            Err(error) => error,
        };
        let trouble = Trouble::of(&error);
        if let Some(Trouble::Fatal) = trouble {
            tracing::error!(group = self.name(), %error, "the client can do nothing more");
        } else if self.error_logged {
            tracing::debug!(%error, "the consumer reports an error");
        } else {
            self.error_logged = true;
            tracing::warn!(group = self.name(), %error, "the consumer reports an error");
        }
        trouble
    }

    fn arrived(&mut self, message: &BorrowedMessage<'_>) {
        let Some(topic) = self.topics.get(message.topic()).cloned() else { return };
        let record = detached(message, topic);
        failpoints::poison(failpoints::POISON_MEMBER, &record);
        metrics::FETCHED.with_label_values(&["group"]).inc();
        self.route(record);
    }

    /// Delivers a record to its partition, or lets it wait for room in the buffer; drops one that the shared client delivers.
    pub(super) fn route(&mut self, mut record: Record) {
        if self.is_delivered_by_shared(&record) {
            return;
        }
        let bytes = record.room_needed();
        record.room = if self.waiting.is_empty() { self.room.try_take(bytes) } else { None };
        if record.room.is_some() {
            self.deliver(record);
        } else {
            // What waits for its handover must not take the room that this record needs.
            self.share_no_early();
            self.full_since.get_or_insert_with(Instant::now);
            self.waiting.push_back((record, bytes));
        }
    }

    pub(super) fn release(&mut self, room: Permit) {
        if let Some((mut record, _)) = self.waiting.pop_front() {
            record.room = Some(room);
            self.deliver(record);
        }
        if self.waiting.is_empty() {
            self.full_since = None;
            self.resume();
        }
    }

    pub(super) fn pause(&mut self) {
        self.paused = self.fetching(|consumer, list| consumer.pause(list));
    }

    pub(super) fn resume(&mut self) {
        if self.paused && !self.looking {
            self.paused = !self.fetching(|consumer, list| consumer.resume(list));
        }
    }

    fn fetching(&self, change: impl Fn(&GroupConsumer, &TopicPartitionList) -> KafkaResult<()>) -> bool {
        let is_fetched = |partition: &Partition| !self.held.contains(partition) && !self.is_shared(partition);
        let fetched = self.consumer.assignment().map(|all| held::only(&all, is_fetched));
        let outcome = fetched.and_then(|list| change(&self.consumer, &list));
        outcome.inspect_err(|error| tracing::warn!(%error, "fetching not paused or resumed")).is_ok()
    }
}

/// Copies a message out of the client's buffer. If that panics, the record becomes a dead letter that has only its place;
/// otherwise the group would read it again and again.
fn detached(message: &BorrowedMessage<'_>, topic: Arc<str>) -> Record {
    let detached = supervision::caught_at_once("detach", || {
        let record = Record::detach(message, topic.clone());
        failpoints::poison(failpoints::POISON_DETACH, &record);
        record
    });
    detached.unwrap_or_else(|panic| {
        let fault = Fault { hopeless: true, ..Fault::panicked(panic) };
        let timestamp_ms = message.timestamp().to_millis();
        Record { timestamp_ms, ..Record::place_only(topic, message.partition(), message.offset(), fault) }
    })
}

/// Waits for room in the buffer; for ever when no record needs it.
pub(super) async fn room_for(room: &Room, bytes: Option<usize>) -> Permit {
    match bytes {
        Some(bytes) => room.take(bytes).await,
        None => std::future::pending().await,
    }
}
