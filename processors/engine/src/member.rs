//! A member of a consumer group: is assigned partitions, starts a worker for each, and gives them back.

mod arrivals;
mod assignment;
mod batches;
mod claims;
mod consumer;
mod held;
mod mirror;
mod receiving;
mod sharing;
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
use rdkafka::error::KafkaError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::buffer::{Buffers, Room};
use crate::client::{self, KafkaSettings};
use crate::elastic::Elastic;
use crate::fetch::{Arrival, SharedFetch};
use crate::linger::Linger;
use crate::offsets::Claim;
use crate::producer::Producer;
use crate::publisher::{Mark, PublisherHandle};
use crate::record::Record;
use crate::retry::{Lane, Retries};
use crate::role::Role;
use crate::supervision::Watch;
use crate::worker::{BatchLimit, Joint, Returning, Seat, Worker};
use arrivals::Arrivals;
use batches::Batches;
use claims::Claimant;
use consumer::GroupConsumer;
use receiving::{Trouble, room_for};
use sharing::Reading;

/// How long the buffer may be full before fetching is paused. The paused client is still polled and stays a member in an outage.
const FULL_BEFORE_PAUSE: Duration = Duration::from_secs(1);
/// How often the applied offsets are mirrored to Kafka.
const MIRROR_EVERY: Duration = Duration::from_secs(1);
/// How often the member searches for overdue blocking records.
const SWEEP_EVERY: Duration = Duration::from_secs(20);

/// Limits of a group's batches, retries and buffers.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// Records in one transaction, at most.
    pub batch_max: usize,
    /// The delay before each retry; the number of delays is the number of retries.
    pub retry_delays: Arc<[Duration]>,
    /// The buffers of the process, shared by all of its groups.
    pub buffers: Buffers,
    /// The shared fetch of the process.
    pub fetch: SharedFetch,
    /// The least time between the begins of two batches, unless joint ones have their own.
    pub linger: Duration,
    /// The joint batches that the group takes part in, if any. All topics of such a group have one role.
    pub joint: Option<Joint>,
}

/// A topic and a partition's number.
type Partition = (Arc<str>, i32);

enum Rebalance {
    Assigned(Vec<Partition>),
    Revoked(Vec<Partition>),
}

struct Assigned {
    /// `None` while a batch has it, and once it has given the partition back.
    worker: Option<Worker>,
    /// The publisher's mark, if the group publishes.
    mark: Option<Arc<Mark>>,
    position: watch::Receiver<Claim>,
    mirrored: i64,
    /// The offset of the client's last seek.
    sought: i64,
    /// The next record that is taken has this offset or a later one.
    next: i64,
    /// The reading by the shared client, once the member has asked for it.
    shared: Option<Reading>,
    stop: CancellationToken,
}

/// One member of one group.
///
/// Guarantees: a partition is claimed in Postgres before its first record is fetched, and is fetched from the offset in Postgres;
/// it is given back only after its worker has ended; the records in memory of all members of the process together are bounded.
pub struct Member {
    consumer: Arc<GroupConsumer>,
    config: ClientConfig,
    rebalances: mpsc::UnboundedReceiver<Rebalance>,
    lanes: Arc<HashMap<String, (Lane, Retries)>>,
    topics: HashMap<String, Arc<str>>,
    settings: GroupSettings,
    /// Supervises all tasks of the member.
    watch: Watch,
    /// The publisher, if the group publishes.
    publisher: Option<Arc<PublisherHandle>>,
    assigned: HashMap<Partition, Assigned>,
    /// Records of source topics.
    arrivals: Arrivals,
    /// Copies on retry topics.
    wake_ups: Arrivals,
    batches: Batches,
    seat: Option<Seat>,
    linger: Arc<Linger>,
    /// The joint batch whose result was taken last; the next one waits until this group can be in it.
    returning: Option<Returning>,
    /// Records in the next batch, at most.
    limit: BatchLimit,
    room: Room,
    waiting: VecDeque<(Record, usize)>,
    full_since: Option<Instant>,
    paused: bool,
    /// Partitions that are not fetched because they are held.
    held: BTreeSet<Partition>,
    /// Whether a search for unfetchable records is running; the client stays paused until it ends.
    looking: bool,
    /// Whether an error was logged since the last message.
    error_logged: bool,
    /// What the shared client tells: each record has its room.
    arrivals_shared: mpsc::UnboundedReceiver<Arrival>,
    sender_shared: mpsc::UnboundedSender<Arrival>,
}

impl Member {
    /// Joins the Kafka group `group` with these roles, one for each topic; all roles are of one generation of one group.
    /// Subscribes also to the retry topics of each.
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
        watch: Watch,
    ) -> Result<Self, KafkaError> {
        let (sender, rebalances) = mpsc::unbounded_channel();
        let (sender_shared, arrivals_shared) = mpsc::unbounded_channel();
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
            publisher: start_publisher(&lanes, &settings.buffers, elastic, &watch),
            lanes: Arc::new(lanes),
            room: settings.buffers.records.room(),
            limit: BatchLimit::new(settings.batch_max),
            seat: settings.joint.clone().map(Seat::new),
            linger: Arc::new(Linger::new(settings.linger)),
            returning: None,
            settings,
            watch,
            assigned: HashMap::new(),
            arrivals: Arrivals::default(),
            wake_ups: Arrivals::default(),
            batches: Batches::default(),
            waiting: VecDeque::new(),
            full_since: None,
            paused: false,
            held: BTreeSet::new(),
            looking: false,
            error_logged: false,
            arrivals_shared,
            sender_shared,
        })
    }

    /// Works until it must leave; then finishes the batches in flight and gives the partitions back. After a panic of one of its
    /// tasks, such as a worker, the whole member leaves.
    pub async fn run(mut self) {
        let stop = self.watch.leave().clone();
        let mut mirror = tokio::time::interval(MIRROR_EVERY);
        mirror.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let retries = self.lanes.values().next().map(|(_, retries)| retries.clone());
        let (sweeping, over) = (sweep(retries, stop.clone()), self.watch.clone());
        let sweeper = tokio::spawn(async move { over.over("sweep", sweeping).await });
        let mut permit = OptionFuture::from(None);
        let mut asks = false;
        let consumer = self.consumer.clone();
        let mut ids = Box::pin(self.ids_later());
        let (mut lost, mut claiming) = (OptionFuture::from(None), OptionFuture::from(None));
        let (mut claims_wait, mut unfetchable) = (false, OptionFuture::from(None));
        let (mut looks, mut held) = (false, OptionFuture::from(None));
        let mut ends = held::Ends::new();
        loop {
            if !asks && self.wants_batch() {
                match self.seat() {
                    Some(seat) => self.begin_jointly(seat),
                    None => (permit, asks) = (OptionFuture::from(self.permit()), true),
                }
            }
            self.returning = None;
            let long_at = self.batches.takes_long_at();
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
                // Claiming may take long while Postgres is away; a client that is not polled meanwhile would leave its group.
                Some(claims) = &mut claiming => {
                    (claiming, claims_wait) = (OptionFuture::from(None), false);
                    if !self.fetch(claims.unwrap_or_default()) {
                        break self.join_again(&stop);
                    }
                }
                Some(permit_or_none) = &mut permit => {
                    (permit, asks) = (OptionFuture::from(None), false);
                    self.begin_batch(permit_or_none);
                }
                Some(done) = self.batches.next() => self.batch_ended(done),
                () = tokio::time::sleep_until(long_at.unwrap_or(pause_at)), if !asks && long_at.is_some() && self.arrivals.ready() > 0 => {}
                Some(arrival) = self.arrivals_shared.recv() => if !self.arrived_shared(arrival) { break self.join_again(&stop) },
                _ = mirror.tick() => {
                    self.watch.turns();
                    self.share_fetch();
                    self.pass_over_read();
                    self.recover_fenced();
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
                message = consumer.recv(), if self.waiting.is_empty() || self.paused => match self.receive_all(&consumer, message) {
                    None => {}
                    Some(Trouble::OutOfRange) => lost = OptionFuture::from(Some(self.lost().boxed())),
                    Some(Trouble::Unfetchable) => unfetchable = OptionFuture::from(Some(self.find_unfetchable().boxed())),
                    Some(Trouble::Fatal) => break self.join_again(&stop),
                },
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
        drop((consumer, ids, lost, claiming, unfetchable, held, permit));
        self.leave().await;
        sweeper.abort();
    }

    /// Leaves the group; `run` joins it again with a new client.
    fn join_again(&self, stop: &CancellationToken) {
        tracing::warn!(group = self.name(), "leaving the group to join it again");
        stop.cancel();
    }

    fn ids_later(&self) -> impl Future<Output = claims::Ids> + use<> {
        claims::ids_later(self.consumer.clone(), self.lanes.keys().cloned().collect())
    }

    /// Checks which of the next offsets were lost to retention.
    fn lost(&self) -> impl Future<Output = bool> + use<> {
        let lane = |topic: &String| self.lanes.get(topic).map(|(lane, _)| *lane);
        let claims = self.claims().filter_map(|claim| Some((lane(&claim.topic)?, claim)));
        claims::lost(self.consumer.clone(), claims.collect())
    }

    /// The current claims on all partitions of this member.
    fn claims(&self) -> impl Iterator<Item = Claim> {
        self.assigned.values().map(|assigned| assigned.position.borrow().clone())
    }

    /// Whether a topic was deleted and created again since it was claimed; joining again determines the offsets to begin at.
    fn reads_another(&self, now: &claims::Ids) -> bool {
        let of_another = |claim: &Claim| claim.is_of_another(now.get(&claim.topic).copied().flatten());
        let another = self.claims().find(of_another);
        if let Some(Claim { topic, .. }) = &another {
            tracing::error!(topic, "the topic was created again");
        }
        another.is_some()
    }

    fn group(&self) -> Option<&Group> {
        self.lanes.values().next().map(|(_, retries)| retries.role.group())
    }

    fn name(&self) -> String {
        self.group().map(|group| group.own_name().into_owned()).unwrap_or_default()
    }
}

/// Starts the publisher of a group whose role has an index, with its own share of the buffer of documents.
fn start_publisher(
    lanes: &HashMap<String, (Lane, Retries)>,
    buffers: &Buffers,
    elastic: Elastic,
    watch: &Watch,
) -> Option<Arc<PublisherHandle>> {
    let (_, Retries { role, .. }) = lanes.values().next()?;
    let (index, pool) = (role.index()?.to_owned(), role.database().clone());
    let publisher = PublisherHandle::start(elastic, index, buffers.documents.room(), pool, watch.clone());
    Some(Arc::new(publisher))
}

/// The lane and the retries of each topic, the retry topics included.
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

/// Sweeps the overdue blocking records of the group at intervals.
async fn sweep(retries: Option<Retries>, stop: CancellationToken) {
    let Some(retries) = retries else { return };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        if let Err(error) = retries.role.database().in_time(retries.sweep()).await {
            tracing::warn!(%error, "sweep of overdue blocking records failed");
        }
    }
}
