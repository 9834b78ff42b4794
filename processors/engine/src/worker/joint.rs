//! Joint batches: the batches of several groups of one process in one transaction.
//!
//! While records arrive one by one, most of a batch's cost is that of its transaction: begin, fence, sequence check, commit. Batches
//! that become ready while a joint batch runs are the next one together, with one fence, one check and one commit. As with batches of
//! several partitions, it is an attempt: what does not simply apply leaves it, is tried by its own group, and that group has its
//! batches to itself for a while. So each group keeps its own offsets, progress, retries and rebuilds.

mod attempt;

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::poll;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::Instrument as _;

use self::attempt::{Divided, Folded, Part, attempt};
use super::BATCH_BYTES_MAX;
use super::aborted::left;
use super::batch::{Ended, Moved, Share, committed, new_in_order, publish, together};
use crate::concurrency::{ConcurrencyLimit, Permit};
use crate::database::Pool;
use crate::elastic::Document;
use crate::error::WorkError;
use crate::failpoints::{self, broken, mechanism};
use crate::linger::Linger;
use crate::metrics;
use crate::retry::Settled;
use crate::supervision::caught;

/// A group with more records than this has its batch to itself: it gains little, and the others would wait for it.
const RECORDS_OF_A_GROUP_MAX: usize = 128;
/// Records in a joint batch, at most, beside those of its last group; its bytes are bounded likewise.
const RECORDS_MAX: usize = 1_024;
/// How many batches a group has to itself after it has left a joint batch.
const ALONE_FOR: usize = 64;
/// A group that folds for longer than this, and for longer than all others of the joint batch together, leaves it.
const SLOW: Duration = Duration::from_millis(50);
/// How long a joint batch waits at most until the groups of the one before have taken their results and can be in it.
const RETURN_WITHIN: Duration = Duration::from_millis(2);

/// The joint batches of one process on one side.
#[derive(Clone)]
pub struct Joint(Arc<Inner>);

struct Inner {
    pool: Pool,
    side: &'static str,
    /// One joint batch runs at a time; a further one when it takes long.
    limit: ConcurrencyLimit,
    /// Held while the next one is gathered, so that none is gathered twice.
    gathering: tokio::sync::Mutex<()>,
    linger: Linger,
    waiting: Mutex<Vec<Request>>,
    /// Closed once the groups of the last joint batch have taken their results.
    returning: Mutex<Option<mpsc::Receiver<Infallible>>>,
}

/// The batch of a group that waits for the next joint one.
struct Request {
    part: Part,
    answer: oneshot::Sender<Answer>,
}

/// While a group holds it, the next joint batch waits for that group.
pub(crate) struct Returning {
    _open: mpsc::Sender<Infallible>,
}

enum Answer {
    Committed(Box<Committed>),
    /// Nothing is committed, and the group tries its batch itself; its next ones, too, if it is the reason.
    Left {
        part: Part,
        is_reason: bool,
    },
}

struct Committed {
    part: Part,
    moved: Vec<Moved>,
    settled: Settled,
    started: Instant,
    is_slow: bool,
    returning: Returning,
}

/// A group's access to joint batches.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    joint: Joint,
    /// How many batches the group still has to itself.
    alone_for: Arc<AtomicUsize>,
}

impl Seat {
    pub(crate) fn new(joint: Joint) -> Self {
        Self { joint, alone_for: Arc::default() }
    }

    /// Whether the next batch, for which so many records are ready, is for a joint one.
    pub(crate) fn takes(&self, ready: usize) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        ready <= RECORDS_OF_A_GROUP_MAX
            && self.alone_for.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_err()
    }

    fn leave(&self, shares: &[Share]) {
        self.alone_for.store(ALONE_FOR, Ordering::Relaxed);
        shares.first().into_iter().for_each(|share| left(&share.worker.claim.group));
    }

    /// Applies records of source partitions of one role in the next joint batch, or as [`together`] if that is not committed.
    pub(crate) async fn work(self, shares: Vec<Share>) -> (Vec<Ended>, Option<Returning>) {
        let (shares, mut ended) = new_in_order(shares);
        if shares.is_empty() {
            return (ended, None);
        }
        let watch = shares.first().map(|share| share.worker.watch.clone());
        let (more, returning) = match self.joint.commit(Part(shares)).await {
            Some(Answer::Committed(committed)) => self.finish(*committed).await,
            Some(Answer::Left { part: Part(shares), .. }) if broken(mechanism::JOINT_BATCH) => {
                (shares.into_iter().map(|share| Ended::Done(share.worker)).collect(), None)
            }
            Some(Answer::Left { part: Part(shares), is_reason }) => {
                is_reason.then(|| self.leave(&shares));
                let permit = self.joint.0.pool.permit().await;
                (together(shares, permit).await, None)
            }
            // Its task has ended, and the shares with it: the member joins again. Or the runtime ends.
            None => {
                watch.iter().for_each(|watch| watch.leave().cancel());
                (Vec::new(), None)
            }
        };
        ended.extend(more);
        (ended, returning)
    }

    /// After the commit.
    async fn finish(&self, committed_part: Committed) -> (Vec<Ended>, Option<Returning>) {
        let Committed { part: Part(mut shares), moved, settled, started, is_slow, returning } =
            committed_part;
        is_slow.then(|| self.leave(&shares));
        let documents = committed(&mut shares, &moved, settled, started);
        let returning = publish_beside(&shares, documents, returning).await;
        (shares.into_iter().map(|share| Ended::Done(share.worker)).collect(), returning)
    }
}

/// Hands the documents to the publisher. When there is no room for them, the next joint batch does not wait for the group.
async fn publish_beside(
    shares: &[Share],
    documents: Vec<Document>,
    returning: Returning,
) -> Option<Returning> {
    let mut publishing = pin!(publish(shares, documents));
    if poll!(publishing.as_mut()).is_ready() {
        return Some(returning);
    }
    drop(returning);
    publishing.await;
    None
}

impl Joint {
    /// The joint batches of groups that write this database, whose name for metrics is `side`; they begin at least `linger` apart.
    pub fn new(pool: Pool, side: &'static str, linger: Duration) -> Self {
        let (limit, linger) = (ConcurrencyLimit::new(1), Linger::new(linger));
        let (gathering, waiting, returning) = Default::default();
        Self(Arc::new(Inner { pool, side, limit, gathering, linger, waiting, returning }))
    }

    /// Waits until the next joint batch has or has not committed a part; `None` when the runtime ends. The first that waits leads.
    async fn commit(&self, part: Part) -> Option<Answer> {
        let (answer, mut answered) = oneshot::channel();
        locked(&self.0.waiting).push(Request { part, answer });
        tokio::select! {
            biased;
            answer = &mut answered => return answer.ok(),
            permit = self.0.limit.permit() => {
                let joint = self.clone();
                // A task of its own, since the other groups need its end although this one may be stopped.
                tokio::spawn(async move {
                    joint.lead().await;
                    drop(permit);
                });
            }
        }
        answered.await.ok()
    }

    /// Runs joint batches until nothing waits: what one did not take has a leader, too.
    async fn lead(&self) {
        loop {
            let (mut requests, permit) = self.gathered().await;
            if requests.is_empty() {
                return;
            }
            while !requests.is_empty() {
                let span = tracing::debug_span!("joint batch", groups = requests.len());
                requests = self.try_once(requests).instrument(span).await;
            }
            drop(permit);
        }
    }

    /// The batches of the next joint one, with a permit for it; none when others have gathered them.
    async fn gathered(&self) -> (Vec<Request>, Option<Permit>) {
        let _alone = self.0.gathering.lock().await;
        if locked(&self.0.waiting).is_empty() {
            return (Vec::new(), None);
        }
        let before = locked(&self.0.returning).take();
        if let Some(mut before) = before {
            let _ = timeout(RETURN_WITHIN, before.recv()).await;
        }
        self.0.linger.pass().await;
        let permit = self.0.pool.permit().await;
        (self.take(), permit)
    }

    /// The batches of the next joint one, in the order of their groups, one of each; the others wait.
    fn take(&self) -> Vec<Request> {
        let mut waiting = locked(&self.0.waiting);
        let (mut taken, mut records, mut bytes): (Vec<Request>, _, _) = (Vec::new(), 0, 0);
        for request in std::mem::take(&mut *waiting) {
            let known = taken.iter().any(|one| one.part.group() == request.part.group());
            if known || records >= RECORDS_MAX || bytes >= BATCH_BYTES_MAX {
                waiting.push(request);
                continue;
            }
            let its = request.part.records();
            (records, bytes) =
                (records + its.len(), bytes + its.iter().map(|record| record.bytes()).sum::<usize>());
            taken.push(request);
        }
        drop(waiting);
        taken.sort_by_key(|request| request.part.group().map(|group| (group.id.clone(), group.generation)));
        taken
    }

    /// One attempt; returns what is to be tried again, which is less.
    async fn try_once(&self, requests: Vec<Request>) -> Vec<Request> {
        let started = Instant::now();
        let (parts, answers): (Vec<_>, Vec<_>) =
            requests.into_iter().map(|Request { part, answer }| (part, answer)).unzip();
        let moved: Vec<Vec<Moved>> = parts.iter().map(Part::moved).collect();
        let attempted = caught("joint batch", self.attempt(&parts)).await;
        let requests = parts.into_iter().zip(answers).map(|(part, answer)| Request { part, answer });
        match attempted {
            Ok(Ok(Ok(folded))) => {
                self.committed(requests.zip(moved).zip(folded).collect(), started);
                Vec::new()
            }
            Ok(Ok(Err(left))) => without(requests.collect(), &left),
            Ok(Err(error)) => {
                tracing::debug!(%error, "joint batch aborted");
                // Too much for one transaction, or too slow: each is smaller alone.
                let is_reason = matches!(error, WorkError::Overran(_));
                requests.for_each(|request| request.leave(is_reason));
                Vec::new()
            }
            // It was logged and counted; each group finds the record.
            Err(_) => {
                requests.for_each(|request| request.leave(false));
                Vec::new()
            }
        }
    }

    /// The attempt within the answer timeout; the places of the parts that must leave when nothing is committed because of them.
    async fn attempt(&self, parts: &[Part]) -> Result<Result<Vec<Folded>, Vec<usize>>, WorkError> {
        let attempted = self.0.pool.in_time(async {
            match attempt(&self.0.pool, parts).await {
                Ok(folded) => Ok(Ok(folded)),
                Err(Divided::By(places)) => Ok(Err(places)),
                Err(Divided::All(error)) => Err(error),
            }
        });
        let attempted = attempted.await;
        if !matches!(attempted, Ok(Ok(_))) {
            parts.iter().for_each(Part::forget);
        }
        attempted
    }

    fn committed(&self, parts: Vec<((Request, Vec<Moved>), Folded)>, started: Instant) {
        failpoints::pass(failpoints::AFTER_COMMIT);
        metrics::BATCH_GROUPS.with_label_values(&[self.0.side]).observe(parts.len() as f64);
        let all: Duration = parts.iter().map(|(_, folded)| folded.took).sum();
        let (open, returning) = mpsc::channel(1);
        *locked(&self.0.returning) = Some(returning);
        for ((Request { part, answer }, moved), Folded { settled, took }) in parts {
            let is_slow = took > SLOW && took * 2 > all;
            let returning = Returning { _open: open.clone() };
            let committed = Committed { part, moved, settled, started, is_slow, returning };
            // A group that has ended meanwhile begins again at what is committed.
            let _ = answer.send(Answer::Committed(Box::new(committed)));
        }
    }
}

impl Request {
    fn leave(self, is_reason: bool) {
        let _ = self.answer.send(Answer::Left { part: self.part, is_reason });
    }
}

/// Lets the requests at these places leave; returns the others.
fn without(requests: Vec<Request>, places: &[usize]) -> Vec<Request> {
    let (left, stay): (Vec<_>, Vec<_>) =
        requests.into_iter().enumerate().partition(|(place, _)| places.contains(place));
    left.into_iter().for_each(|(_, request)| request.leave(true));
    stay.into_iter().map(|(_, request)| request).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Joint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Joint")
    }
}
