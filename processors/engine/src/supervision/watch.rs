//! The tasks of one group in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Panic, caught};

/// Supervises the tasks of one group in this process: when one panics, all of them end.
#[derive(Debug, Clone)]
pub struct Watch {
    leave: CancellationToken,
    group: Arc<OfGroup>,
}

#[derive(Debug)]
struct OfGroup {
    panicked: OnceLock<Panic>,
    gives_way: OnceLock<String>,
    /// The number of running tasks by kind.
    tasks: Mutex<BTreeMap<&'static str, usize>>,
    /// Since when partitions have no claim, because another has claimed them.
    fenced: Mutex<BTreeMap<String, DateTime<Utc>>>,
    turned: Mutex<Instant>,
}

impl Watch {
    /// The tasks end at the latest when `stop` is cancelled.
    pub fn new(stop: &CancellationToken) -> Self {
        let group = OfGroup {
            panicked: OnceLock::new(),
            gives_way: OnceLock::new(),
            tasks: Mutex::default(),
            fenced: Mutex::default(),
            turned: Mutex::new(Instant::now()),
        };
        Self { leave: stop.child_token(), group: Arc::new(group) }
    }

    /// A token that is cancelled when all tasks must end.
    pub fn leave(&self) -> &CancellationToken {
        &self.leave
    }

    /// The first panic, because of which the tasks ended.
    pub fn panicked(&self) -> Option<&Panic> {
        self.group.panicked.get()
    }

    /// Ends all tasks because a member of a later release is in the group and this build cannot process the next record.
    pub(crate) fn give_way(&self, why: &str) {
        let _ = self.group.gives_way.set(why.to_owned());
        self.leave.cancel();
    }

    /// The reason for `give_way`, if it was called.
    pub fn gave_way(&self) -> Option<&str> {
        self.group.gives_way.get().map(String::as_str)
    }

    /// Runs a task of the group; `None` when it panics.
    pub async fn over<T>(&self, task: &'static str, work: impl Future<Output = T>) -> Option<T> {
        let _running = Running::of(&self.group, task);
        let panicked = |panic| {
            let _ = self.group.panicked.set(panic);
            self.leave.cancel();
        };
        caught(task, work).await.map_err(panicked).ok()
    }

    /// The member's loop goes on.
    pub(crate) fn turns(&self) {
        *locked(&self.group.turned) = Instant::now();
    }

    /// When the member's loop last went on.
    pub(super) fn turned(&self) -> Instant {
        *locked(&self.group.turned)
    }

    /// Another has claimed a partition of this member.
    pub(crate) fn is_fenced(&self, partition: &str) {
        locked(&self.group.fenced).entry(partition.to_owned()).or_insert_with(Utc::now);
    }

    /// The partition is claimed again, or is no longer this member's.
    pub(crate) fn is_settled(&self, partition: &str) {
        locked(&self.group.fenced).remove(partition);
    }

    /// The number of running tasks by kind.
    pub(super) fn tasks(&self) -> BTreeMap<&'static str, usize> {
        locked(&self.group.tasks).clone()
    }

    /// Since when partitions have no claim.
    pub(super) fn fenced(&self) -> BTreeMap<String, DateTime<Utc>> {
        locked(&self.group.fenced).clone()
    }
}

fn locked<T>(of_group: &Mutex<T>) -> MutexGuard<'_, T> {
    of_group.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a task while it runs, also when it panics or is dropped.
struct Running<'g>(&'g OfGroup, &'static str);

impl<'g> Running<'g> {
    fn of(group: &'g OfGroup, task: &'static str) -> Self {
        *locked(&group.tasks).entry(task).or_default() += 1;
        Self(group, task)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut tasks = locked(&self.0.tasks);
        match tasks.get_mut(self.1) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(tasks.remove(self.1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_panic_of_one_task_all_of_the_group_leave() {
        let watch = Watch::new(&CancellationToken::new());
        watch.over("worker", async {}).await;
        assert!(watch.panicked().is_none() && !watch.leave().is_cancelled());
        watch.over("worker", async { panic!("at record {}", 7) }).await;
        assert_eq!(watch.panicked().unwrap().message, "at record 7");
        assert!(watch.leave().is_cancelled());
    }

    #[tokio::test]
    async fn a_task_is_counted_until_it_ends_or_panics() {
        let watch = Watch::new(&CancellationToken::new());
        let counted = watch.over("worker", async { watch.over("worker", async { watch.tasks() }).await });
        assert_eq!(counted.await.flatten(), Some(BTreeMap::from([("worker", 2)])));
        watch.over("publisher", async { panic!("at once") }).await;
        assert_eq!(watch.tasks(), BTreeMap::new());
    }
}
