//! The task of a shared client: it fetches the partitions that members ask for, and ends all readings when the client is in trouble.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Request;
use super::readers::Fetched;
use crate::failpoints;
use crate::metrics;
use crate::record::Record;
use crate::supervision::{Restarts, Watch, caught};

/// How often offsets without a record are looked for.
const POSITIONS_EVERY: Duration = Duration::from_secs(1);
/// How many records are received before requests are handled.
const RECEIVED_AT_ONCE: usize = 500;
/// How long the client may be without a connection before each group fetches on its own: theirs may have one.
const UNCONNECTED_MAX: Duration = Duration::from_secs(10);
/// How long each group fetches on its own after a trouble.
const APART_FOR: Duration = Duration::from_secs(30);

/// The members' clients report the same errors.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the shared client reports an error");
    }
}

impl ConsumerContext for Quiet {}

type Consumer = StreamConsumer<Quiet>;

pub(super) struct Client {
    config: ClientConfig,
    requests: UnboundedReceiver<Request>,
    /// Connects with the first request.
    consumer: Option<Arc<Consumer>>,
    fetched: HashMap<Arc<str>, HashMap<i32, Fetched>>,
    positions: Interval,
    /// Since when connections fail; `None` since the last record.
    unconnected: Option<Instant>,
    /// Until when requests are refused.
    apart_until: Instant,
    restarts: Restarts,
}

/// A partition that is fetched from now on, from an offset; or no longer.
enum Change {
    Add(Arc<str>, i32, i64),
    Remove(Arc<str>, i32),
}

impl Client {
    pub(super) fn new(
        config: ClientConfig,
        requests: UnboundedReceiver<Request>,
        restarts: Restarts,
    ) -> Self {
        let mut positions = interval(POSITIONS_EVERY);
        positions.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (consumer, fetched, unconnected) = Default::default();
        let apart_until = Instant::now();
        Self { config, requests, consumer, fetched, positions, unconnected, apart_until, restarts }
    }

    /// Works until no member is left. After a panic every member reads on its own for a while.
    pub(super) async fn run(mut self, name: &'static str) {
        let watch = Watch::new(&CancellationToken::new());
        loop {
            self.restarts.tasks().runs(name, Some(watch.clone()));
            match caught(name, self.work(&watch)).await {
                Ok(()) => return self.restarts.tasks().done(name),
                Err(panic) => {
                    self.part();
                    tokio::time::sleep(self.restarts.note(name, &panic)).await;
                }
            }
        }
    }

    async fn work(&mut self, watch: &Watch) {
        while self.step(watch).await {}
    }

    /// Handles what comes next; false when no member is left.
    async fn step(&mut self, watch: &Watch) -> bool {
        let consumer = self.consumer.clone();
        tokio::select! {
            request = self.requests.recv() => match request {
                Some(request) => self.handle_all(request),
                None => return false,
            },
            message = received(consumer.as_deref()) => self.receive_all(consumer.as_deref(), message),
            _ = self.positions.tick() => {
                watch.turns();
                self.read_to();
            }
        }
        true
    }

    fn handle_all(&mut self, first: Request) {
        let mut changes = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            changes.extend(self.handle(request));
            next = self.requests.try_recv().ok();
        }
        if let Err(error) = self.change(changes) {
            tracing::warn!(%error, "partitions cannot be fetched together; each group fetches on its own");
            self.part();
        }
    }

    fn handle(&mut self, request: Request) -> Option<Change> {
        match request {
            Request::Read { topic, partition, reader } if Instant::now() < self.apart_until => {
                Fetched::new(topic, partition, reader.from).refuse(&reader);
                None
            }
            Request::Read { topic, partition, reader } => {
                let partitions = self.fetched.entry(topic.clone()).or_default();
                let known = partitions.contains_key(&partition);
                let from = reader.from;
                let fetched = partitions.entry(partition);
                fetched.or_insert_with(|| Fetched::new(topic.clone(), partition, from)).begin(reader);
                (!known).then_some(Change::Add(topic, partition, from))
            }
            Request::Leave { topic, partition, id } => {
                let partitions = self.fetched.get_mut(&topic)?;
                let fetched = partitions.get_mut(&partition)?;
                fetched.leave(id);
                if !fetched.is_idle() {
                    return None;
                }
                partitions.remove(&partition);
                Some(Change::Remove(topic, partition))
            }
        }
    }

    /// In their order, since a partition may be removed and added again.
    fn change(&mut self, changes: Vec<Change>) -> KafkaResult<()> {
        let consumer = match &self.consumer {
            Some(consumer) => consumer.clone(),
            None => self.consumer.insert(Arc::new(self.config.create_with_context(Quiet)?)).clone(),
        };
        for alike in changes.chunk_by(|one, next| one.adds() == next.adds()) {
            let list = listed(alike)?;
            match alike.first().is_some_and(Change::adds) {
                true => consumer.incremental_assign(&list)?,
                false => consumer.incremental_unassign(&list)?,
            }
        }
        Ok(())
    }

    fn receive_all(&mut self, consumer: Option<&Consumer>, first: KafkaResult<BorrowedMessage<'_>>) {
        let (mut next, mut left) = (Some(first), RECEIVED_AT_ONCE);
        while let Some(message) = next.take() {
            match message {
                Ok(message) => self.receive(&message),
                Err(error) => return self.failed(&error),
            }
            left -= 1;
            if left > 0 {
                next = consumer.and_then(|consumer| consumer.recv().now_or_never());
            }
        }
    }

    fn receive(&mut self, message: &BorrowedMessage<'_>) {
        let Some((topic, _)) = self.fetched.get_key_value(message.topic()) else { return };
        let topic = topic.clone();
        let fetched =
            self.fetched.get_mut(&topic).and_then(|of_topic| of_topic.get_mut(&message.partition()));
        if let Some(fetched) = fetched {
            self.unconnected = None;
            metrics::FETCHED.with_label_values(&["shared"]).inc();
            let record = Record::detach(message, topic);
            failpoints::poison(failpoints::POISON_DETACH, &record);
            fetched.deliver(&record);
        }
    }

    /// Ends all readings, so that each member finds the trouble with its own client and handles it; unless connections were lost
    /// just now, which the client makes again.
    fn failed(&mut self, error: &KafkaError) {
        tracing::debug!(%error, "the shared client reports an error");
        if is_of_connection(error)
            && self.unconnected.get_or_insert_with(Instant::now).elapsed() < UNCONNECTED_MAX
        {
            return;
        }
        if !self.fetched.is_empty() {
            tracing::warn!(%error, "the shared fetch ends for a while; each group fetches on its own");
        }
        self.part();
        if let KafkaError::MessageConsumptionFatal(_) = error {
            self.close();
        }
    }

    /// Ends all readings, and refuses others for a while.
    fn part(&mut self) {
        self.apart_until = Instant::now() + APART_FOR;
        let fetched = std::mem::take(&mut self.fetched);
        fetched.into_values().flat_map(HashMap::into_values).for_each(Fetched::end);
        if let Some(Err(error)) = self.consumer.as_ref().map(|consumer| consumer.unassign()) {
            tracing::debug!(%error, "the shared client is made anew");
            self.close();
        }
    }

    /// On a thread of its own, since closing waits.
    fn close(&mut self) {
        let consumer = self.consumer.take();
        std::thread::spawn(move || drop(consumer));
    }

    /// Tells the members how far the client has read.
    fn read_to(&mut self) {
        let positions =
            self.consumer.as_ref().and_then(|consumer| consumer.position().ok()).unwrap_or_default();
        for element in positions.elements() {
            let partitions = self.fetched.get_mut(element.topic());
            if let (Some(fetched), Offset::Offset(offset)) =
                (partitions.and_then(|partitions| partitions.get_mut(&element.partition())), element.offset())
            {
                fetched.read_to(offset);
            }
        }
    }
}

impl Change {
    fn adds(&self) -> bool {
        matches!(self, Self::Add(..))
    }
}

fn listed(changes: &[Change]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(changes.len());
    for change in changes {
        match change {
            Change::Add(topic, partition, from) => {
                list.add_partition_offset(topic, *partition, Offset::Offset(*from))?;
            }
            Change::Remove(topic, partition) => {
                list.add_partition(topic, *partition);
            }
        }
    }
    Ok(list)
}

/// The next message; never, without a client.
async fn received(consumer: Option<&Consumer>) -> KafkaResult<BorrowedMessage<'_>> {
    match consumer {
        Some(consumer) => consumer.recv().await,
        None => std::future::pending().await,
    }
}

fn is_of_connection(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::MessageConsumption(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
        )
    )
}
