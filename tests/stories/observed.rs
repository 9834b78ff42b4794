//! Metrics and alerts: the metrics of the namespace show what is late or has failed, and a real Prometheus fires the alerts of
//! `connectors/observability/`, if there is one (`prometheus` on the PATH, or the variable PROMETHEUS).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millrace_testkit::free_port;
use millrace_tests::load::{add_product, customer, place, product, register};
use millrace_tests::stack::connect;
use millrace_tests::{Instance, Process, becomes, eventually};
use reqwest::Method;
use serde_json::Value;

use crate::{WORKSHOP, beside_others, instance_with};

const OBSERVABILITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../connectors/observability");

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_or_failed_shows_by_itself_and_is_quiet_otherwise() {
    let _turn = beside_others().await;
    let instance = instance_with("observed", &[("metrics.interval", "200ms")]).await;
    let mut first = instance.start();
    instance.send(&[add_product(1)]).await;
    instance.settle().await;
    all_is_known_and_nothing_late(&instance, &first).await;
    let alerts = Alerts::of(&instance, &first);
    alerts.are(&[]).await;
    statements_and_queries_have_times(&first).await;

    instance.send(&[place(1, &customer(1), &product(1))]).await;
    becomes(&instance.write, "SELECT count(*) FROM dead_letter WHERE status = 'dead'", 1).await;
    let commands = instance.group("commands");
    let letter = [("group", commands.as_str()), ("code", "reference-not-found")];
    first.reports("millrace_open_dead_letters", &letter, 1.0).await;
    alerts.are(&["MillraceCommandsDie", "MillraceDeadLetters"]).await;

    while_the_connector_is_paused(&instance, &first, &alerts).await;
    alerts.are(&["MillraceCommandsDie", "MillraceDeadLetters"]).await;

    let second = instance.start();
    eventually("the second process serves", async || second.metrics().await.map(drop)).await;
    assert_eq!((looks(&first).await, looks(&second).await), (Ok(1), Ok(0)), "exactly one process looks");
    first.kill();
    eventually("the second process looks", async || match looks(&second).await? {
        1 => Ok(()),
        looks => Err(format!("{looks} series")),
    })
    .await;
}

/// How many series of the namespace a process exports.
async fn looks(process: &Process) -> Result<usize, String> {
    let figures = process.metrics().await?;
    Ok(figures.lines().filter(|line| line.starts_with("millrace_observed_round_seconds{")).count())
}

async fn all_is_known_and_nothing_late(instance: &Instance, process: &Process) {
    process.reports("millrace_observed_success", &[], 11.0).await;
    let lag = |name| (name, vec![("group", instance.group("customers"))]);
    let nothing = [
        lag("millrace_lag_records"),
        lag("millrace_lag_seconds"),
        ("millrace_outbox_waiting_rows", vec![]),
        ("millrace_outbox_waiting_seconds", vec![]),
        ("millrace_open_dead_letters", vec![]),
    ];
    for (name, labels) in nothing {
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        falls(process, name, &labels, 0.0).await;
    }
    let [running, reserved] = [
        ("millrace_connector_state", ("state", "running")),
        ("millrace_slot_wal_status", ("status", "reserved")),
    ];
    for (name, label) in [running, reserved] {
        process.reports(name, &[label], 1.0).await;
    }
}

/// Of what has happened so far; each round times one query of a reader, an index as well as an SQL view.
async fn statements_and_queries_have_times(process: &Process) {
    for statement in ["begin", "commit", "offsets advance", "outbox insert", "progress begin", "view insert"]
    {
        process.reports("millrace_statement_seconds_count", &[("statement", statement)], 1.0).await;
    }
    let produced = [("type", "AddProduct"), ("outcome", "completed")];
    let figures = process.metrics().await.expect("figures");
    let [waited, took] = ["millrace_command_wait_seconds_sum", "millrace_command_seconds_sum"]
        .map(|name| figures.sum(name, &produced));
    assert!(0.0 < waited && waited < took, "{waited} of {took}");
    for query in ["view products", "view order_lines", "index products"] {
        process.reports("millrace_query_seconds_count", &[("query", query)], 1.0).await;
    }
}

async fn falls(process: &Process, name: &str, labels: &[(&str, &str)], at_most: f64) {
    eventually(&format!("{name} {labels:?} is {at_most} or less"), async || {
        let value = process.metrics().await?.sum(name, labels);
        if value <= at_most { Ok(()) } else { Err(value.to_string()) }
    })
    .await;
}

/// Kafka has nothing new for the view, and yet it is late.
async fn while_the_connector_is_paused(instance: &Instance, process: &Process, alerts: &Alerts) {
    let connector = format!("connectors/{}_outbox", instance.name);
    connect(Method::PUT, &format!("{connector}/pause")).await;
    process.reports("millrace_connector_state", &[("state", "paused")], 1.0).await;
    instance.send(&[register(2)]).await;
    let (group, topic) = (instance.group("customers"), instance.topic("evt", "customers"));
    let lag = [("group", group.as_str()), ("topic", topic.as_str())];
    process.reports("millrace_lag_seconds", &lag, 6.0).await;
    let figures = process.metrics().await.expect("figures");
    assert_eq!(figures.sum("millrace_lag_records", &lag), 0.0, "Kafka has nothing of it");
    assert_eq!(figures.sum("millrace_outbox_waiting_rows", &[]), 1.0);
    alerts
        .are(&[
            "MillraceCommandsDie",
            "MillraceConnectorNotRunning",
            "MillraceDeadLetters",
            "MillraceViewBehind",
        ])
        .await;
    connect(Method::PUT, &format!("{connector}/resume")).await;
    falls(process, "millrace_lag_seconds", &lag, 0.0).await;
    falls(process, "millrace_outbox_waiting_rows", &[], 0.0).await;
}

/// A Prometheus that scrapes a process every second; what its rules wait for, they do not wait for here.
struct Alerts(Option<Prometheus>);

struct Prometheus {
    _process: millrace_testkit::Process,
    address: String,
}

impl Alerts {
    fn of(instance: &Instance, process: &Process) -> Self {
        let program = std::env::var("PROMETHEUS").unwrap_or_else(|_| "prometheus".to_owned());
        if Command::new(&program).arg("--version").output().is_err() {
            println!("there is no {program}: no alert is fired; Debian's package prometheus has it");
            return Self(None);
        }
        let folder = PathBuf::from(WORKSHOP.folder).join(&instance.name);
        configure(&folder, &process.address());
        let address = format!("127.0.0.1:{}", free_port().expect("a port"));
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let log = folder.join("prometheus.log");
        let process = millrace_testkit::Process::start("prometheus", &mut command, &log).expect("Prometheus");
        Self(Some(Prometheus { _process: process, address }))
    }

    /// Waits until exactly these fire.
    async fn are(&self, wanted: &[&str]) {
        let Some(Prometheus { address, .. }) = &self.0 else { return };
        let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
        eventually(&format!("the alerts are {wanted:?}"), async || {
            let firing = firing(address).await.map_err(|error| error.to_string())?;
            if firing == wanted { Ok(()) } else { Err(format!("{firing:?}")) }
        })
        .await;
    }
}

/// The alerts that fire, once it has scraped.
async fn firing(address: &str) -> reqwest::Result<BTreeSet<String>> {
    let asked = async |path: &str| -> reqwest::Result<Value> {
        reqwest::get(format!("http://{address}/api/v1/{path}")).await?.error_for_status()?.json().await
    };
    let scraped = asked("query?query=count(up==1)").await?;
    if scraped["data"]["result"].as_array().is_none_or(Vec::is_empty) {
        return Ok(["nothing is scraped yet".to_owned()].into());
    }
    let alerts = asked("alerts").await?;
    let all = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let fires = all.iter().filter(|alert| alert["state"] == "firing");
    Ok(fires.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect())
}

/// The example and its rules, but for whom they scrape, how often, and how long they wait.
fn configure(folder: &Path, target: &str) {
    fs::create_dir_all(folder).expect("a folder");
    let read = |name: &str| fs::read_to_string(Path::new(OBSERVABILITY).join(name)).expect(name);
    let rules = read("rules.yml");
    let rules =
        rules.lines().filter(|line| !line.trim_start().starts_with("for:")).collect::<Vec<_>>().join("\n");
    fs::write(folder.join("rules.yml"), rules).expect("rules");
    let example = read("prometheus.yml").replace("127.0.0.1:9464", target).replace(": 10s", ": 1s");
    let alone = example.split("alerting:").next().expect("a head").to_owned()
        + &example[example.find("scrape_configs:").expect("what is scraped")..];
    fs::write(folder.join("prometheus.yml"), alone).expect("a configuration");
}
