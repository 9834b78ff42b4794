//! The client of a member of a group, and how it closes.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Partition, Rebalance};

/// Passes rebalances to the member's loop: waiting inside the callback would block the client.
pub(super) struct Context {
    rebalances: mpsc::UnboundedSender<Rebalance>,
    closing: AtomicBool,
}

impl ClientContext for Context {
    /// The loop receives the same errors and logs each outage once.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the client reports an error");
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<Partition> =
            list.elements().iter().map(|e| (e.topic().into(), e.partition())).collect();
        let rebalance = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assigned(partitions),
            _ => Rebalance::Revoked(partitions),
        };
        let not_sent = self.closing.load(Ordering::SeqCst) || self.rebalances.send(rebalance).is_err();
        // The partitions must be unassigned here, or closing the client would wait for ever.
        if not_sent && let Err(error) = consumer.incremental_unassign(list) {
            tracing::debug!(%error, "partitions not given back while closing");
        }
    }
}

/// A client that leaves its group when it is dropped.
pub(super) struct GroupConsumer {
    client: Option<StreamConsumer<Context>>,
    closed: CancellationToken,
}

impl GroupConsumer {
    pub(super) fn new(
        config: &ClientConfig,
        rebalances: mpsc::UnboundedSender<Rebalance>,
    ) -> KafkaResult<Self> {
        let context = Context { rebalances, closing: AtomicBool::new(false) };
        let client = config.create_with_context(context)?;
        Ok(Self { client: Some(client), closed: CancellationToken::new() })
    }

    /// A token that is cancelled once the client has left the group.
    pub(super) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }
}

impl Deref for GroupConsumer {
    type Target = StreamConsumer<Context>;

    #[allow(clippy::expect_used, reason = "only `drop` takes it out")]
    fn deref(&self) -> &StreamConsumer<Context> {
        self.client.as_ref().expect("a client that is not dropped")
    }
}

impl Drop for GroupConsumer {
    /// Closes the client on a separate thread: closing waits for the group's coordinator and the rebalance callback, and would
    /// block a thread of tokio.
    fn drop(&mut self) {
        let (client, closed) = (self.client.take(), self.closed.clone());
        if let Some(client) = &client {
            client.context().closing.store(true, Ordering::SeqCst);
        }
        let close = move || {
            if let Some(client) = client {
                client.unsubscribe();
                drop(client);
            }
            closed.cancel();
        };
        if let Err(error) = std::thread::Builder::new().name("closes-consumer".to_owned()).spawn(close) {
            tracing::error!(%error, "no thread to close a consumer on");
        }
    }
}
