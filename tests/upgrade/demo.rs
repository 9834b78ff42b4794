//! Northwind's trade, as `scripts/demo` sends it, goes on while two releases replace the processes one after the other.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use millrace_tests::instance::Build;
use millrace_tests::outside::Outside;
use millrace_tests::stack::stack;
use millrace_tests::{Instance, Process, becomes, eventually};
use reqwest::Method;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::readers::Readers;
use super::sagas::CONTEXTS;
use super::{DEAD, SETTINGS, set_up_with, workshop};

/// As in the demo.
const DECLINING: [&str; 4] = ["--decline", "5", "--seed", "7"];
/// The build of the next release, as the third.
const THIRD: [(&str, &str); 1] = [("FAILPOINTS", "release=return(3)")];
/// Orders that are placed each second.
const AT_ONCE: usize = 3;
const ORDERS: i64 = 830;
const DECIDED: &str = "SELECT count(*) FROM command WHERE status = 'completed'";
const SETTLED: &str = "SELECT count(*) FROM orders WHERE status IN ('confirmed', 'cancelled')";
const EACH_ONCE: &str = "SELECT count(*) FROM (
    SELECT aggregateid FROM outbox WHERE aggregatetype = 'orders'
        AND (type LIKE '%.OrderConfirmed' OR type LIKE '%.OrderCancelled')
    GROUP BY 1 HAVING count(*) = 1) AS once";
const FORMER: &str = "SELECT DISTINCT view FROM replay WHERE state = 'following' ORDER BY 1";
const OF_THE_SECOND: &str = "SELECT view FROM replay AS now WHERE state = 'serving' AND EXISTS (
    SELECT FROM replay AS before WHERE before.view = now.view AND before.state = 'following') ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn northwinds_trade_goes_on_through_two_releases_of_which_one_is_taken_back_meanwhile() {
    let outside = Outside::start(workshop(), "demo", &DECLINING).await;
    let own = outside.settings();
    let own = own.iter().map(|(field, value)| (*field, value.as_str())).chain([("contexts", CONTEXTS)]);
    let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(own).collect();
    let (instance, first, next) = set_up_with("demo", &settings).await;
    let second = instance.build(&PathBuf::from(env!("CARGO_BIN_EXE_millrace-under-test")));
    let third = next.with(&THIRD);
    let mut processes = [first.start(), first.start()];
    begins(&instance, &first).await;
    let readers = Readers::of(&instance);
    let trade = Trade::begins(&first);

    rolls(&second, &mut processes, &trade).await;
    readers.may_be_aborted(true);
    let views = is_taken_back([&first, &second], &instance, &mut processes, &trade).await;
    readers.may_be_aborted(false);
    comes_again(&second, &instance, &views, &mut processes, &trade).await;
    rolls(&third, &mut processes, &trade).await;

    trade.ends().await;
    // By what the page on upgrades says is the end of one. The groups of former releases are read by no process any more.
    for view in former(&instance).await {
        third.millrace(&["replay", &view, "--retire"]).await.expect_success();
    }
    instance.settle().await;
    becomes(&instance.read, SETTLED, ORDERS).await;
    becomes(&instance.write, EACH_ONCE, ORDERS).await;
    becomes(&instance.write, DEAD, 0).await;
    becomes(&instance.read, DEAD, 0).await;
    readers.found_nothing_wrong().await;
    third.millrace(&["verify"]).await.expect_success();
    for process in &mut processes {
        process.stops().await;
    }
}

/// Stock, customers and products are there, in every view and index.
async fn begins(instance: &Instance, build: &Build) {
    let basics = [northwind("stock"), northwind("register")].concat();
    build.send(&basics).await;
    becomes(&instance.write, DECIDED, i64::try_from(basics.len()).expect("a few")).await;
    instance.settle().await;
}

/// The lines of a phase of the sample.
fn northwind(phase: &str) -> Vec<String> {
    let sample = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../samples/northwind/commands.py");
    let output = Command::new("python3").arg(sample).arg(phase).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

/// As the page on upgrades says: set up, replace one process after the other, wait until every view serves in its new shape.
async fn rolls(to: &Build, processes: &mut [Process; 2], trade: &Trade) {
    to.millrace(&["setup"]).await.expect_success();
    replaced(to, processes).await;
    trade.is_sent_by(to).await;
    let before = trade.placed();
    to.millrace(&["setup", "--wait"]).await.expect_success();
    assert!(trade.placed() > before, "no order was placed meanwhile");
}

async fn replaced(by: &Build, processes: impl IntoIterator<Item = &mut Process>) {
    for process in processes {
        process.stops().await;
        *process = by.start();
        is_ready(process).await;
    }
}

async fn is_ready(process: &Process) {
    eventually("the process is ready", async || match process.asked("readyz").await? {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// The way back of that page, view by view. Nothing is placed meanwhile: the release before swaps without waiting for its own
/// generation. Returns the views.
async fn is_taken_back(
    [to, from]: [&Build; 2],
    instance: &Instance,
    processes: &mut [Process; 2],
    trade: &Trade,
) -> Vec<String> {
    let views: Vec<String> =
        sqlx::query_scalar(OF_THE_SECOND).fetch_all(&instance.read).await.expect("views");
    assert!(views.len() > 5, "rebuilt by the second release: {views:?}");
    let waiting = trade.waits().await;
    processes[0].stops().await;
    processes[0] = to.start();
    from.millrace(&["status", "--wait", "2m"]).await.expect_success();
    instance.settle().await;
    // The release before moves an alias to an index that it has not refreshed.
    let refresh = format!("{}-*/_refresh", instance.name);
    for view in &views {
        level(instance, view).await;
        stack().elasticsearch(Method::POST, &refresh, None).await.expect("a refresh");
        to.millrace(&["replay", view, "--rollback"]).await.expect_success();
    }
    to.millrace(&["setup", "--downgrade"]).await.expect_success();
    processes[1].stops().await;
    processes[1] = to.start();
    waiting.goes_on(to);
    views
}

/// Views with generations that have served before.
async fn former(instance: &Instance) -> Vec<String> {
    sqlx::query_scalar(FORMER).fetch_all(&instance.read).await.expect("views")
}

/// Every generation of the view has applied the same.
async fn level(instance: &Instance, view: &str) {
    const BEHIND: &str = "SELECT count(*) FROM consumer_offset AS one JOIN consumer_offset AS other USING (grp, topic, partition)
        WHERE grp LIKE '%.' || $1 AND one.applied > other.published";
    eventually(&format!("the generations of {view} are level"), async || {
        let behind = sqlx::query_scalar::<_, i64>(BEHIND).bind(view).fetch_one(&instance.read).await;
        match behind.map_err(|error| error.to_string())? {
            0 => Ok(()),
            behind => Err(format!("{behind} partitions behind")),
        }
    })
    .await;
}

/// The same release once more, as before: its generations follow again, and are waited for.
async fn comes_again(
    build: &Build,
    instance: &Instance,
    views: &[String],
    processes: &mut [Process; 2],
    trade: &Trade,
) {
    build.millrace(&["setup"]).await.expect_success();
    let waiting = trade.waits().await;
    let [one, other] = processes;
    replaced(build, [one]).await;
    instance.settle().await;
    for view in views {
        level(instance, view).await;
        build.millrace(&["replay", view, "--rollback"]).await.expect_success();
    }
    replaced(build, [other]).await;
    waiting.goes_on(build);
}

/// Orders that are placed the whole time, by the producer of one release after the other.
struct Trade {
    producer: Arc<Mutex<Build>>,
    placed: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    placing: JoinHandle<()>,
}

/// While this is kept, nothing is placed.
struct Waiting<'t>(MutexGuard<'t, Build>);

impl Waiting<'_> {
    fn goes_on(mut self, with: &Build) {
        *self.0 = with.clone();
    }
}

impl Trade {
    fn begins(producer: &Build) -> Self {
        let producer = Arc::new(Mutex::new(producer.clone()));
        let (stop, placed) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let placing = tokio::spawn(place(producer.clone(), stop.clone(), Arc::clone(&placed)));
        Self { producer, placed, stop, placing }
    }

    fn placed(&self) -> usize {
        self.placed.load(Ordering::SeqCst)
    }

    async fn is_sent_by(&self, build: &Build) {
        *self.producer.lock().await = build.clone();
    }

    async fn waits(&self) -> Waiting<'_> {
        Waiting(self.producer.lock().await)
    }

    /// What is left is placed at once.
    async fn ends(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.placing.await.expect("producers");
    }
}

async fn place(producer: Arc<Mutex<Build>>, stop: Arc<AtomicBool>, placed: Arc<AtomicUsize>) {
    let mut orders = northwind("place");
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !orders.is_empty() {
        let count = if stop.load(Ordering::SeqCst) { orders.len() } else { AT_ONCE.min(orders.len()) };
        let some: Vec<String> = orders.drain(..count).collect();
        producer.lock().await.send(&some).await;
        placed.fetch_add(count, Ordering::SeqCst);
        seconds.tick().await;
    }
}
