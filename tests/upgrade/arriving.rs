//! Commands that arrive the whole time, from producers of both releases in turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_tests::Instance;
use millrace_tests::instance::Build;
use millrace_tests::load::register;
use tokio::task::JoinHandle;

/// Their customers are behind those of any load.
const FIRST: usize = 50_000;
/// A producer takes about a second from its start to its end.
const AT_ONCE: usize = 5;
/// What the lines of a snapshot have that are theirs.
pub(crate) const MARK: &str = "ustomer-50";
const EACH_ONCE: &str =
    "SELECT count(*) FROM command WHERE id LIKE 'RegisterCustomer-50___' AND status = 'completed'
         AND (SELECT count(*) FROM outbox WHERE command_id = command.id) = 1";
const ROWS: &str = "SELECT count(*) FROM customers WHERE customer_id LIKE 'customer-50___' AND version = 1";

/// Producers of both releases.
pub(crate) struct Arriving {
    stop: Arc<AtomicBool>,
    sending: JoinHandle<usize>,
}

impl Arriving {
    /// They send from now on, customers from this one on.
    pub(crate) fn of(builds: [&Build; 2], from: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sending = tokio::spawn(send(builds.map(Clone::clone), from, stop.clone()));
        Self { stop, sending }
    }

    /// No more is sent; how many customers there are by now.
    pub(crate) async fn ended(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.sending.await.expect("producers")
    }
}

async fn send(builds: [Build; 2], from: usize, stop: Arc<AtomicBool>) -> usize {
    let mut sent = from;
    while !stop.load(Ordering::SeqCst) {
        let commands: Vec<String> = (sent..sent + AT_ONCE).map(|i| register(FIRST + i)).collect();
        builds[sent / AT_ONCE % 2].send(&commands).await;
        sent += AT_ONCE;
    }
    sent
}

/// Of an instance that has settled: each of these customers was registered once.
pub(crate) async fn each_had_its_effect_once(instance: &Instance, sent: usize) {
    assert!(sent > 20, "only {sent} commands arrived meanwhile");
    for (pool, sql) in [(&instance.write, EACH_ONCE), (&instance.read, ROWS)] {
        let found: i64 = sqlx::query_scalar(sql).fetch_one(pool).await.expect("a count");
        assert_eq!(usize::try_from(found), Ok(sent), "{sql}");
    }
}
