//! When batches begin. One batch runs at a time, so that the next takes all records that have arrived meanwhile. A further batch
//! runs beside it when there are records for a full batch, or when the running one takes long, so that it delays no other
//! partition.

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::arrivals::Arrivals;
use super::{Assigned, Member, Partition, held};
use crate::concurrency::{PATIENCE, Permit};
use crate::record::Record;
use crate::retry::Lane;
use crate::supervision::Watch;
use crate::worker::{BATCH_BYTES_MAX, Ended, Returning, Seat, Share, Worker, alone, together};

/// The result of a task.
#[derive(Default)]
pub(super) struct Done {
    ended: Vec<Ended>,
    /// Held until the next batch has begun, after a joint one.
    returning: Option<Returning>,
}

impl From<Vec<Ended>> for Done {
    fn from(ended: Vec<Ended>) -> Self {
        Self { ended, returning: None }
    }
}

/// `None` when the task panicked, and the member leaves the group.
type Outcome = Option<Done>;

#[derive(Default)]
pub(super) struct Batches {
    /// The running tasks of partitions, and whether each is a batch that counts for [`Member::wants_batch`].
    tasks: JoinSet<(bool, Outcome)>,
    under_way: usize,
    /// When the last batch began.
    began: Option<Instant>,
}

impl Batches {
    /// The next task that has ended; `None` when none is running.
    pub(super) async fn next(&mut self) -> Option<Done> {
        // Only an aborted task has an error, and tasks are only aborted all together.
        let (counts, done) = self.tasks.join_next().await?.unwrap_or_default();
        self.under_way -= usize::from(counts);
        Some(done.unwrap_or_default())
    }

    /// When the last running batch will have taken long.
    pub(super) fn takes_long_at(&self) -> Option<Instant> {
        self.began.filter(|_| self.under_way > 0).map(|began| began + PATIENCE)
    }

    fn spawn(&mut self, counts: bool, watch: &Watch, work: impl Future<Output = Done> + Send + 'static) {
        let watch = watch.clone();
        self.under_way += usize::from(counts);
        self.tasks.spawn(async move { (counts, watch.over("worker", work).await) });
    }
}

impl Member {
    /// Whether to begin a batch now.
    pub(super) fn wants_batch(&self) -> bool {
        match (self.arrivals.ready(), self.batches.takes_long_at()) {
            (0, _) => false,
            (_, None) => true,
            (ready, Some(long_at)) => ready >= self.settings.batch_max || Instant::now() >= long_at,
        }
    }

    /// Waits until a batch may begin, and for a permit of the group's database.
    pub(super) fn permit(&self) -> Option<impl Future<Output = Option<Permit>> + Send + use<>> {
        let (_, retries) = self.lanes.values().next()?;
        let (linger, pool) = (self.linger.clone(), retries.role.database().clone());
        Some(Box::pin(async move {
            linger.pass().await;
            pool.permit().await
        }))
    }

    /// The group's access to joint batches, if its next batch is for one.
    pub(super) fn seat(&self) -> Option<Seat> {
        self.seat.clone().filter(|seat| seat.takes(self.arrivals.ready()))
    }

    /// Begins a batch with the records that have arrived.
    pub(super) fn begin_batch(&mut self, permit: Option<Permit>) {
        self.begin(|shares| async move { together(shares, permit).await.into() });
    }

    /// As [`begin_batch`](Self::begin_batch), in the next joint batch.
    pub(super) fn begin_jointly(&mut self, seat: Seat) {
        self.begin(|shares| async move {
            let (ended, returning) = seat.work(shares).await;
            Done { ended, returning }
        });
    }

    fn begin<W>(&mut self, work: impl FnOnce(Vec<Share>) -> W)
    where
        W: Future<Output = Done> + Send + 'static,
    {
        let taken = self.arrivals.take(self.limit.now(), BATCH_BYTES_MAX);
        let shares: Vec<Share> =
            taken.into_iter().filter_map(|(partition, records)| self.share(&partition, records)).collect();
        if !shares.is_empty() {
            self.batches.began = Some(Instant::now());
            self.batches.spawn(true, &self.watch, work(shares));
        }
    }

    fn share(&mut self, partition: &Partition, records: Vec<Record>) -> Option<Share> {
        let worker = self.assigned.get_mut(partition)?.worker.take()?;
        Some(Share { worker, records })
    }

    /// Delivers a record to its partition, unless it was delivered before. A record of a partition that was given back is dropped:
    /// the next owner reads it.
    pub(super) fn deliver(&mut self, record: Record) {
        let partition = (record.topic.clone(), record.partition);
        let Some(assigned) = self.assigned.get_mut(&partition) else { return };
        if record.offset >= assigned.next {
            assigned.next = record.offset + 1;
            self.arrivals_on(&partition).add(&partition, record);
            self.wake_up();
        }
    }

    pub(super) fn arrivals_on(&mut self, (topic, _): &Partition) -> &mut Arrivals {
        match self.lanes.get(&**topic) {
            Some((Lane::Retry, _)) => &mut self.wake_ups,
            _ => &mut self.arrivals,
        }
    }

    /// Gives wake-up copies to their workers, each partition separately: a worker waits until its copies are due.
    fn wake_up(&mut self) {
        while let Some((partition, copies)) =
            self.wake_ups.take_next(self.settings.batch_max, BATCH_BYTES_MAX)
        {
            if let Some(share) = self.share(&partition, copies) {
                self.apart(share);
            }
        }
    }

    fn apart(&mut self, share: Share) {
        self.batches.spawn(false, &self.watch, async move { vec![alone(share, None).await].into() });
    }

    /// Takes the workers of an ended task back; begins a separate attempt for each partition that needs one.
    pub(super) fn batch_ended(&mut self, Done { ended, returning }: Done) {
        self.returning = returning.or(self.returning.take());
        for ended in ended {
            match ended {
                Ended::Apart(share) => self.apart(share),
                Ended::Done(worker) => {
                    let partition = held::place(&worker.claim);
                    if let Some(assigned) = self.assigned.get_mut(&partition) {
                        assigned.worker = Some(worker);
                    }
                    self.arrivals_on(&partition).end(&partition);
                }
                Ended::GivenBack(worker) => {
                    let partition = held::place(&worker.claim);
                    self.arrivals_on(&partition).forget(&partition);
                }
            }
        }
        self.wake_up();
    }

    /// Waits until no task is running for these partitions.
    pub(super) async fn rest(&mut self, partitions: &[Partition]) {
        while partitions.iter().any(|partition| self.arrivals_on(partition).is_busy(partition))
            && let Some(ended) = self.batches.next().await
        {
            self.batch_ended(ended);
        }
    }

    /// Lets the workers of partitions without records move their offsets beyond offsets without a record that the client has
    /// skipped.
    pub(super) fn pass_over_read(&mut self) {
        for (partition, offset) in self.read_to() {
            let is_behind = |assigned: &Assigned| offset > assigned.position.borrow().applied;
            if self.assigned.get(&partition).is_some_and(is_behind) {
                self.do_when_idle(&partition, |mut worker: Worker| async move {
                    let going_on = worker.pass_over(offset).await;
                    Ended::of(worker, going_on)
                });
            }
        }
    }

    /// Lets workers claim again when their publisher was fenced.
    pub(super) fn recover_fenced(&mut self) {
        let is_fenced = |assigned: &Assigned| assigned.mark.as_ref().is_some_and(|mark| mark.is_fenced());
        let fenced = self.assigned.iter().filter(|(_, assigned)| is_fenced(assigned));
        let fenced: Vec<Partition> = fenced.map(|(partition, _)| partition.clone()).collect();
        for partition in fenced {
            self.do_when_idle(&partition, |mut worker: Worker| async move {
                let going_on = worker.recover().await;
                Ended::of(worker, going_on)
            });
        }
    }

    /// Begins a task for a partition that is idle; its next records wait for it.
    fn do_when_idle<F, W>(&mut self, partition: &Partition, work: F)
    where
        F: FnOnce(Worker) -> W,
        W: Future<Output = Ended> + Send + 'static,
    {
        if !self.arrivals_on(partition).is_idle(partition) {
            return;
        }
        if let Some(Share { worker, .. }) = self.share(partition, Vec::new()) {
            self.arrivals_on(partition).begin(partition);
            let work = work(worker);
            self.batches.spawn(false, &self.watch, async move { vec![work.await].into() });
        }
    }
}
