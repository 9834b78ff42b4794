//! A member of a consumer group: gets partitions, starts a worker for each, gives them back.

mod claims;
mod consumer;
mod held;
mod unfetchable;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::OptionFuture;
use millrace_store::Group;
use millrace_store::names::retry_topic;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::buffer::{Buffers, Permit, Room};
use crate::client::{self, KafkaSettings};
use crate::elastic::Elastic;
use crate::error::Fault;
use crate::offsets::Claim;
use crate::producer::Producer;
use crate::publisher::PublisherHandle;
use crate::record::Record;
use crate::retry::{Lane, Retries};
use crate::role::Role;
use crate::supervision::{self, Watch};
use crate::worker::Worker;
use crate::{failpoints, metrics, release};
use claims::Claimant;
use consumer::GroupConsumer;

/// How long the buffer may be full before fetching is paused, so that membership is kept in an outage.
const FULL_BEFORE_PAUSE: Duration = Duration::from_secs(1);
/// How often Kafka's copy of the offsets is brought up to date.
const MIRROR_EVERY: Duration = Duration::from_secs(1);
/// How often overdue blocking records are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(20);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the group's coordinator has to say who is in the group.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How much a group takes at once.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// Records in one transaction, at most.
    pub batch_max: usize,
    /// How long a failed record waits before each further try; as many retries as there are delays.
    pub retry_delays: Arc<[Duration]>,
    /// The buffers of the process, shared by all of its groups.
    pub buffers: Buffers,
}

type Partition = (String, i32);

enum Rebalance {
    Assigned(Vec<Partition>),
    Revoked(Vec<Partition>),
}

struct Assigned {
    records: mpsc::UnboundedSender<Record>,
    read_to: watch::Sender<i64>,
    position: watch::Receiver<Claim>,
    mirrored: i64,
    /// The offset from which the client was last told to fetch.
    sought: i64,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// One member of one group.
///
/// Guarantees to the group: a partition is claimed in Postgres before its first record is fetched, from the offset
/// that Postgres knows; it is given back only after its worker has ended; records in memory are bounded, with those of
/// all other members of the process.
pub struct Member {
    consumer: Arc<GroupConsumer>,
    config: ClientConfig,
    rebalances: mpsc::UnboundedReceiver<Rebalance>,
    lanes: Arc<HashMap<String, (Lane, Retries)>>,
    topics: HashMap<String, Arc<str>>,
    settings: GroupSettings,
    elastic: Elastic,
    workers: HashMap<Partition, Assigned>,
    room: Room,
    unpublished: Room,
    waiting: VecDeque<(Record, usize)>,
    full_since: Option<Instant>,
    paused: bool,
    /// Partitions that are not fetched, because they are held.
    held: BTreeSet<Partition>,
    /// Whether unfetchable records are being looked for: until they are found the client stays paused.
    looking: bool,
    /// Whether an error was logged since the last message.
    error_logged: bool,
}

impl Member {
    /// Joins the Kafka group `group` with these roles, one for each topic; all roles are of one generation of one group.
    /// The retry topics of each come with it.
    ///
    /// # Errors
    /// When the client's configuration is refused.
    pub fn join(
        kafka: &KafkaSettings,
        settings: GroupSettings,
        group: &str,
        roles: HashMap<String, Arc<dyn Role>>,
        producer: Producer,
        elastic: Elastic,
    ) -> Result<Self, KafkaError> {
        let (sender, rebalances) = mpsc::unbounded_channel();
        let config = client::consumer(kafka, group);
        let consumer = GroupConsumer::new(&config, sender)?;
        let lanes = lanes(roles, &settings, &producer);
        let topics: Vec<&str> = lanes.keys().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        Ok(Self {
            consumer: Arc::new(consumer),
            config,
            rebalances,
            topics: topics.iter().map(|topic| ((*topic).to_owned(), Arc::from(*topic))).collect(),
            lanes: Arc::new(lanes),
            room: settings.buffers.records.room(),
            unpublished: settings.buffers.documents.room(),
            settings,
            elastic,
            workers: HashMap::new(),
            waiting: VecDeque::new(),
            full_since: None,
            paused: false,
            held: BTreeSet::new(),
            looking: false,
            error_logged: false,
        })
    }

    /// Works until it is to leave; then finishes the batches in flight and gives the partitions back. After a panic of a
    /// part, such as a worker, all of it leaves.
    pub async fn run(mut self, watch: Watch) {
        let stop = watch.leave().clone();
        let mut mirror = tokio::time::interval(MIRROR_EVERY);
        mirror.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let retries = self.lanes.values().next().map(|(_, retries)| retries.clone());
        let (sweeping, over) = (sweep(retries, stop.clone()), watch.clone());
        let sweeper = tokio::spawn(async move { over.over("sweep", sweeping).await });
        let consumer = self.consumer.clone();
        let mut ids = Box::pin(self.ids_later());
        let (mut lost, mut claiming) = (OptionFuture::from(None), OptionFuture::from(None));
        let (mut claims_wait, mut unfetchable) = (false, OptionFuture::from(None));
        let (mut looks, mut held) = (false, OptionFuture::from(None));
        let mut ends = held::Ends::new();
        loop {
            let pause_at = self.full_since.unwrap_or_else(Instant::now) + FULL_BEFORE_PAUSE;
            tokio::select! {
                () = stop.cancelled() => break,
                Some(rebalance) = self.rebalances.recv(), if !claims_wait => match rebalance {
                    Rebalance::Assigned(partitions) => {
                        let (consumer, lanes) = (self.consumer.clone(), self.lanes.clone());
                        let claimant = Claimant { consumer, lanes, stop: stop.clone() };
                        claiming = OptionFuture::from(Some(claimant.claim(partitions).boxed()));
                        claims_wait = true;
                    }
                    Rebalance::Revoked(partitions) => if !self.revoke(partitions).await { break self.join_again(&stop) },
                },
                // Postgres may be away for long: a client that is not polled meanwhile would leave its group.
                Some(claims) = &mut claiming => {
                    (claiming, claims_wait) = (OptionFuture::from(None), false);
                    if !self.fetch(claims.unwrap_or_default(), &watch) {
                        break self.join_again(&stop);
                    }
                }
                _ = mirror.tick() => {
                    self.report_read();
                    self.mirror(CommitMode::Async);
                    if !looks && let Some(look) = self.look_at_held(&mut ends) {
                        (held, looks) = (OptionFuture::from(Some(look.boxed())), true);
                    }
                }
                Some((seen, released)) = &mut held => {
                    (held, looks, ends) = (OptionFuture::from(None), false, seen);
                    self.fetch_released(released);
                }
                now = &mut ids => {
                    if self.reads_another(&now) {
                        break self.join_again(&stop);
                    }
                    ids = Box::pin(self.ids_later());
                }
                room = room_for(&self.room, self.waiting.front().map(|(_, bytes)| *bytes)) => self.release(room),
                () = tokio::time::sleep_until(pause_at), if self.full_since.is_some() && !self.paused => self.pause(),
                message = consumer.recv(), if self.waiting.is_empty() || self.paused => {
                    match &message {
                        Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)) => {
                            lost = OptionFuture::from(Some(self.lost().boxed()));
                        }
                        Err(KafkaError::MessageConsumption(code)) if millrace_kafka::is_unfetchable(*code) => {
                            unfetchable = OptionFuture::from(Some(self.find_unfetchable().boxed()));
                        }
                        Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                            tracing::error!(group = self.name(), %error, "the client can do nothing more");
                            break self.join_again(&stop);
                        }
                        _ => {}
                    }
                    self.receive(message);
                }
                Some(found) = &mut unfetchable => {
                    unfetchable = OptionFuture::from(None);
                    self.go_on_behind(found);
                }
                Some(join_again) = &mut lost => {
                    lost = OptionFuture::from(None);
                    if join_again {
                        break self.join_again(&stop);
                    }
                }
            }
        }
        drop((consumer, ids, lost, claiming, unfetchable, held));
        self.leave().await;
        sweeper.abort();
    }

    /// Lets the group leave; `run` joins it again, with a new client.
    fn join_again(&self, stop: &CancellationToken) {
        tracing::warn!(group = self.name(), "the group joins again");
        stop.cancel();
    }

    fn ids_later(&self) -> impl Future<Output = claims::Ids> + use<> {
        claims::ids_later(self.consumer.clone(), self.lanes.keys().cloned().collect())
    }

    /// Looks which of the next offsets were lost to retention.
    fn lost(&self) -> impl Future<Output = bool> + use<> {
        let lane = |topic: &String| self.lanes.get(topic).map(|(lane, _)| *lane);
        let claims = self
            .workers
            .iter()
            .filter_map(|((topic, _), worker)| Some((lane(topic)?, worker.position.borrow().clone())));
        claims::lost(self.consumer.clone(), claims.collect())
    }

    /// Whether a topic is no longer the one that was claimed: joining again finds out where to begin.
    fn reads_another(&self, now: &claims::Ids) -> bool {
        let claimed = |((topic, _), worker): (&Partition, &Assigned)| {
            let another = worker.position.borrow().is_of_another(now.get(topic).copied().flatten());
            another.then(|| topic.clone())
        };
        let another = self.workers.iter().find_map(claimed);
        if let Some(topic) = &another {
            tracing::error!(topic, "the topic was created again");
        }
        another.is_some()
    }

    fn receive(&mut self, message: KafkaResult<BorrowedMessage<'_>>) {
        match message {
            Ok(message) => {
                self.error_logged = false;
                self.arrived(&message);
            }
            Err(error) if !self.error_logged => {
                self.error_logged = true;
                tracing::warn!(group = self.name(), %error, "the consumer reports an error");
            }
            Err(error) => tracing::debug!(%error, "the consumer reports an error"),
        }
    }

    fn arrived(&mut self, message: &BorrowedMessage<'_>) {
        let Some(topic) = self.topics.get(message.topic()).cloned() else { return };
        let record = detached(message, topic);
        failpoints::poison(failpoints::POISON_MEMBER, &record);
        self.route(record);
    }

    /// Gives a record to its partition's worker, or lets it wait for room.
    fn route(&mut self, mut record: Record) {
        let bytes = record.room_needed();
        record.room = if self.waiting.is_empty() { self.room.try_take(bytes) } else { None };
        if record.room.is_some() {
            self.deliver(record);
        } else {
            self.full_since.get_or_insert_with(Instant::now);
            self.waiting.push_back((record, bytes));
        }
    }

    fn release(&mut self, room: Permit) {
        if let Some((mut record, _)) = self.waiting.pop_front() {
            record.room = Some(room);
            self.deliver(record);
        }
        if self.waiting.is_empty() {
            self.full_since = None;
            self.resume();
        }
    }

    fn deliver(&self, record: Record) {
        if let Some(worker) = self.workers.get(&(record.topic.to_string(), record.partition)) {
            // A worker that has ended reads no more; the partition's next owner will.
            let _ = worker.records.send(record);
        }
    }

    fn pause(&mut self) {
        self.paused = self.fetching(|consumer, list| consumer.pause(list));
    }

    fn resume(&mut self) {
        if self.paused && !self.looking {
            self.paused = !self.fetching(|consumer, list| consumer.resume(list));
        }
    }

    fn fetching(&self, change: impl Fn(&GroupConsumer, &TopicPartitionList) -> KafkaResult<()>) -> bool {
        let not_held = self.consumer.assignment().map(|all| held::without(&all, &self.held));
        let outcome = not_held.and_then(|list| change(&self.consumer, &list));
        outcome.inspect_err(|error| tracing::warn!(%error, "fetching not paused or resumed")).is_ok()
    }

    fn report_partitions(&self) {
        if let Some(group) = self.group() {
            metrics::of_group(&metrics::PARTITIONS, group).set(self.workers.len() as i64);
        }
    }

    fn group(&self) -> Option<&Group> {
        self.lanes.values().next().map(|(_, retries)| retries.role.group())
    }

    fn name(&self) -> String {
        self.group().map(|group| group.own_name().into_owned()).unwrap_or_default()
    }

    /// Starts fetching the claimed partitions from the offsets in Postgres; false when the client refuses.
    fn fetch(&mut self, claims: Vec<Claim>, watch: &Watch) -> bool {
        let mut list = TopicPartitionList::new();
        for claim @ Claim { topic, partition, epoch, applied, .. } in &claims {
            if let Err(error) = list.add_partition_offset(topic, *partition, Offset::Offset(claim.start())) {
                tracing::error!(topic, partition, %error, "the partition cannot be fetched");
            }
            tracing::info!(topic, partition, epoch, applied, "partition claimed");
        }
        let held: Vec<Partition> = claims.iter().filter(|claim| claim.held).map(held::place).collect();
        for claim in claims {
            self.start(claim, watch);
        }
        let assigned = self.consumer.incremental_assign(&list);
        if let Err(error) = &assigned {
            tracing::error!(%error, "partitions not assigned");
        }
        self.hold(held);
        if self.paused {
            self.pause();
        }
        self.report_partitions();
        assigned.is_ok()
    }

    fn start(&mut self, claim: Claim, watch: &Watch) {
        let Some((lane, retries)) = self.lanes.get(&claim.topic).cloned() else { return };
        let (partition, sought) = ((claim.topic.clone(), claim.partition), claim.start());
        let (records, inbox) = mpsc::unbounded_channel();
        let (position, watched) = watch::channel(claim.clone());
        let (read_to, reading) = watch::channel(claim.applied);
        let stop = watch.leave().child_token();
        let publisher = retries.role.index().map(|index| {
            let pool = retries.role.database().clone();
            let tokens = (watch.clone(), stop.clone());
            let (elastic, room) = (self.elastic.clone(), self.unpublished.clone());
            PublisherHandle::start(elastic, index.to_owned(), room, pool, claim.clone(), tokens)
        });
        let worker = Worker {
            retries,
            lane,
            claim,
            records: inbox,
            read_to: reading,
            batch_max: self.settings.batch_max,
            publisher,
            still_ours: self.consumer_check(),
            later_member: self.later_member(),
            position,
            stop: stop.clone(),
            watch: watch.clone(),
            reach: i64::MAX,
            permit: None,
        };
        let watch = watch.clone();
        let task = tokio::spawn(async move { watch.over("worker", worker.run()).await });
        let assigned = Assigned { records, read_to, position: watched, mirrored: -1, sought, stop, task };
        self.workers.insert(partition, assigned);
    }

    /// Asks the group's coordinator, which accepts a commit only from a member of the current generation.
    fn consumer_check(&self) -> crate::worker::StillOurs {
        let consumer = Arc::downgrade(&self.consumer);
        Arc::new(move |claim| {
            let consumer = consumer.upgrade();
            Box::pin(async move {
                let Some(consumer) = consumer else { return false };
                let commit = move || consumer.commit(&mirror_list([&claim]), CommitMode::Sync).is_ok();
                tokio::task::spawn_blocking(commit).await.unwrap_or(false)
            })
        })
    }

    /// Asks the group's coordinator who is in the group. One that does not answer is asked again after the next delay.
    fn later_member(&self) -> crate::worker::LaterMember {
        let (consumer, group) =
            (Arc::downgrade(&self.consumer), self.config.get("group.id").map(str::to_owned));
        Arc::new(move || {
            let (consumer, group) = (consumer.upgrade(), group.clone());
            Box::pin(async move {
                let (consumer, group) = (consumer?, group?);
                let ask = move || {
                    let list = consumer.client().fetch_group_list(Some(&group), ASK_TIMEOUT);
                    list.ok().as_ref().and_then(release::later_member)
                };
                tokio::task::spawn_blocking(ask).await.ok().flatten()
            })
        })
    }

    /// Ends the workers of partitions that go elsewhere, then gives them back; false when the client refuses.
    async fn revoke(&mut self, partitions: Vec<Partition>) -> bool {
        let mut list = TopicPartitionList::new();
        let leaving: Vec<(Partition, Assigned)> =
            partitions.into_iter().filter_map(|partition| self.workers.remove_entry(&partition)).collect();
        for (_, worker) in &leaving {
            worker.stop.cancel();
        }
        for ((topic, partition), worker) in leaving {
            if let Err(error) = worker.task.await {
                tracing::error!(topic, partition, %error, "a worker ended badly");
            }
            list.add_partition(&topic, partition);
            self.held.remove(&(topic.clone(), partition));
            claims::forget_lost(&worker.position.borrow());
            tracing::info!(
                topic,
                partition,
                applied = worker.position.borrow().applied,
                "partition given back"
            );
        }
        let given_back = self.consumer.incremental_unassign(&list);
        if let Err(error) = &given_back {
            tracing::warn!(%error, "partitions not given back");
        }
        self.report_partitions();
        given_back.is_ok()
    }

    /// Sends workers the next offsets of the client, which passes over markers of transactions and records of aborted ones
    /// without a record that would move the applied offset beyond them.
    fn report_read(&self) {
        // What waits for room was read and is not sent.
        let Some(positions) = self.consumer.position().ok().filter(|_| self.waiting.is_empty()) else {
            return;
        };
        for element in positions.elements() {
            let worker = self.workers.get(&(element.topic().to_owned(), element.partition()));
            if let (Offset::Offset(offset), Some(worker)) = (element.offset(), worker)
                && offset > worker.position.borrow().applied
            {
                worker.read_to.send_replace(offset);
            }
        }
    }

    /// Commits the applied offsets to Kafka, for its tools; those in Postgres count.
    fn mirror(&mut self, mode: CommitMode) {
        let mut moved = Vec::new();
        for worker in self.workers.values_mut() {
            let claim = worker.position.borrow().clone();
            if claim.applied != worker.mirrored {
                worker.mirrored = claim.applied;
                moved.push(claim);
            }
        }
        if !moved.is_empty()
            && let Err(error) = self.consumer.commit(&mirror_list(&moved), mode)
        {
            tracing::debug!(%error, "offsets not mirrored to Kafka");
        }
    }

    async fn leave(mut self) {
        for worker in self.workers.values() {
            worker.stop.cancel();
        }
        for worker in self.workers.values_mut() {
            if let Err(error) = (&mut worker.task).await {
                tracing::error!(%error, "a worker ended badly");
            }
            claims::forget_lost(&worker.position.borrow());
        }
        self.mirror(CommitMode::Sync);
        if let Some(group) = self.group() {
            let generation = group.generation.to_string();
            let labels = [("group", group.id.as_str()), ("generation", &generation)];
            metrics::drop_series(&metrics::PARTITIONS, &labels);
        }
        self.rebalances.close();
        let closed = self.consumer.closed();
        drop(self.consumer);
        // It must not delay the others for ever.
        if tokio::time::timeout(CLOSE_TIMEOUT, closed.cancelled()).await.is_err() {
            tracing::warn!("the consumer did not close in time");
        }
    }
}

/// Copies a message out of the client's buffer. One at which this program panics becomes a dead letter with its place alone:
/// the group would read it again and again.
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

/// What each topic contains, the retry topics included.
fn lanes(
    roles: HashMap<String, Arc<dyn Role>>,
    settings: &GroupSettings,
    producer: &Producer,
) -> HashMap<String, (Lane, Retries)> {
    let mut lanes = HashMap::new();
    for (topic, role) in roles {
        let group = role.group().own_name().into_owned();
        let copier = Arc::new(producer.clone());
        let retries = Retries { role, copier, delays: settings.retry_delays.clone() };
        for level in 1..=settings.retry_delays.len() {
            lanes.insert(retry_topic(&topic, &group, level), (Lane::Retry, retries.clone()));
        }
        lanes.insert(topic, (Lane::Source, retries));
    }
    lanes
}

/// Copies overdue blocking records of the group again, now and then.
async fn sweep(retries: Option<Retries>, stop: CancellationToken) {
    let Some(retries) = retries else { return };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        if let Err(error) = retries.role.database().in_time(retries.sweep()).await {
            tracing::warn!(%error, "overdue blocking records not looked for");
        }
    }
}

/// Waits for room in the buffer; for ever when nothing waits for it.
async fn room_for(room: &Room, bytes: Option<usize>) -> Permit {
    match bytes {
        Some(bytes) => room.take(bytes).await,
        None => std::future::pending().await,
    }
}

fn mirror_list<'c>(claims: impl IntoIterator<Item = &'c Claim>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for claim in claims {
        let mut element = list.add_partition(&claim.topic, claim.partition);
        element.set_metadata(claim.stamp().to_string());
        if let Err(error) = element.set_offset(Offset::Offset(claim.applied)) {
            tracing::debug!(%error, "offset not mirrored");
        }
    }
    list
}
