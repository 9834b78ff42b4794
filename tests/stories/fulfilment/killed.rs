//! Every role is killed repeatedly, while the provider has faults and sends webhooks, often twice.

use millrace_tests::Process;

use super::history::{History, assert_nothing_is_left};
use super::webhooks::Door;
use super::{Shop, cancel, place, shop};
use crate::beside_others;

/// How many orders, unless the environment says `STORY_ORDERS`; kills and units grow with them.
const ORDERS: usize = 160;
const KILLS: usize = 12;
/// Some products run out.
const UNITS: [i64; 6] = [60, 400, 400, 90, 400, 400];
const CUSTOMERS: usize = 10;
/// The role of a process, and the failpoints that may kill it.
const ROLES: [(&[&str], &[&str]); 3] = [
    (&["commands"], &["before-commit", "after-commit"]),
    (&["saga", "fulfilment"], &["before-commit", "after-commit"]),
    (&["effect", "payment", "mail"], &["before-call", "after-call", "before-commit", "after-commit"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn however_roles_die_and_the_provider_fails_every_order_has_one_outcome() {
    let _turn = beside_others().await;
    let seed = std::env::var("STORY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let orders = std::env::var("STORY_ORDERS").ok().and_then(|orders| orders.parse().ok());
    let orders = orders.unwrap_or(ORDERS);
    eprintln!("STORY_SEED={seed} STORY_ORDERS={orders}");
    let mut random = fastrand::Rng::with_seed(seed);
    let moods = [
        "--decline",
        "10",
        "--decline-captures",
        "5",
        "--error",
        "10",
        "--timeout-after-charge",
        "15",
        "--hold-ms",
        "1500",
    ];
    let door = Door::new();
    let (told, url, secret) = (seed.to_string(), door.url(), door.secret_file.to_string_lossy());
    let webhooks = ["--duplicate-webhooks", "50", "--webhooks", &url, "--webhook-secret-file", &secret];
    let outside = [&moods[..], &["--seed", &told], &webhooks].concat();
    let settings = [
        ("payment.webhook_secret_file", &*secret),
        ("kafka.session_timeout", "3s"),
        ("kafka.heartbeat_interval", "500ms"),
        ("postgres.transaction_timeout", "2s"),
        ("processing.commands_batch_max", "20"),
        ("processing.events_batch_max", "20"),
        // Steps of what has ended go while it goes on, and the process that removes them dies, too.
        ("retention.interval", "300ms"),
        ("retention.saga_steps", "1s"),
    ];
    let shop = shop("killed", &settings, &outside).await;
    let times = orders.div_ceil(ORDERS);
    shop.stocked(CUSTOMERS, &UNITS.map(|units| units * times as i64)).await;
    shop.instance.send(&placed(orders, &mut random)).await;
    let mut processes: Vec<Process> = Vec::new();
    for role in 0..ROLES.len() {
        processes.push(live(&shop, &door, role, &mut random));
    }
    for _ in 0..KILLS * times {
        let role = random.usize(..ROLES.len());
        die(&mut processes[role], &mut random).await;
        processes[role] = live(&shop, &door, role, &mut random);
    }
    drop(processes);
    let _process = shop.instance.start_with(&[], &[door.listens()]);
    shop.rest().await;
    History::read(&shop.instance.write).await.assert_sound(&shop.outside);
    assert_nothing_is_left(&shop.instance.write).await;
    shop.instance.millrace(&["verify"]).await.expect_success();
}

/// Orders of one to three products; every tenth is cancelled by its customer at about the same time.
fn placed(orders: usize, random: &mut fastrand::Rng) -> Vec<String> {
    let mut lines = Vec::new();
    for i in 0..orders {
        let mut products: Vec<usize> = (0..UNITS.len()).collect();
        random.shuffle(&mut products);
        let bought: Vec<(usize, i64)> = products
            .into_iter()
            .take(random.usize(1..=3))
            .map(|product| (product, random.i64(1..=4)))
            .collect();
        lines.push(place(i, CUSTOMERS, &bought));
        if random.usize(..10) == 0 {
            lines.push(cancel(i));
        }
    }
    lines
}

/// A process of a role that a failpoint will kill, if it is not killed before.
fn live(shop: &Shop, door: &Door, role: usize, random: &mut fastrand::Rng) -> Process {
    let (arguments, moments) = ROLES[role];
    let moment = moments[random.usize(..moments.len())];
    let doom = format!("{moment}={}*off->return", random.usize(1..25));
    let mut variables = vec![("FAILPOINTS", doom.as_str())];
    variables.extend(arguments.contains(&"effect").then(|| door.listens()));
    shop.instance.start_with(arguments, &variables)
}

/// A failpoint kills it, or it is killed at a random point after a while.
async fn die(process: &mut Process, random: &mut fastrand::Rng) {
    let patience = std::time::Duration::from_millis(random.u64(500..6_000));
    let _ = tokio::time::timeout(patience, process.ended()).await;
    if process.lives() {
        process.kill();
    }
}
