//! A real Prometheus with the rules of `connectors/observability/`, and a real Alertmanager that it tells.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use millrace_testkit::{Process as Program, free_port};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::instance::{Instance, Workshop};
use crate::patience::eventually;
use crate::process::Process;

const OBSERVABILITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../connectors/observability");

/// A Prometheus that scrapes a process every second; what its rules wait for, they do not wait for here. None when the variable
/// PROMETHEUS says `none`.
pub struct Alerts(Option<Prometheus>);

struct Prometheus {
    _process: Program,
    address: String,
}

/// The program of a variable, by default of this name; `None` when it says `none`.
fn program(variable: &str, name: &str) -> Option<String> {
    let program = std::env::var(variable).unwrap_or_else(|_| name.to_owned());
    if program == "none" {
        return None;
    }
    let found = Command::new(&program).arg("--version").output();
    assert!(
        found.is_ok(),
        "{program}: {found:?}; `scripts/test stories` fetches Debian's, {variable}=none leaves it out"
    );
    Some(program)
}

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(OBSERVABILITY).join(name)).expect(name)
}

impl Alerts {
    /// Without an Alertmanager.
    pub async fn of(workshop: Workshop, instance: &Instance, process: &Process) -> Self {
        Self::telling(workshop, instance, process, None).await
    }

    /// Tells this Alertmanager, too.
    pub async fn telling(
        workshop: Workshop,
        instance: &Instance,
        process: &Process,
        manager: Option<&Alertmanager>,
    ) -> Self {
        let Some(program) = program("PROMETHEUS", "prometheus") else { return Self(None) };
        let folder = PathBuf::from(workshop.folder).join(&instance.name);
        fs::create_dir_all(&folder).expect("a folder");
        configure(&folder, &process.address(), manager);
        let address = format!("127.0.0.1:{}", free_port().expect("a port"));
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let log = folder.join("prometheus.log");
        let process = Program::start("prometheus", &mut command, &log).expect("Prometheus");
        Self(Some(Prometheus { _process: process, address }))
    }

    /// Waits until exactly these fire.
    pub async fn are(&self, wanted: &[&str]) {
        self.become_what(&format!("{wanted:?}"), |firing| *firing == set(wanted)).await;
    }

    /// Waits until these fire, whatever else does.
    pub async fn include(&self, wanted: &[&str]) {
        self.become_what(&format!("{wanted:?} and others"), |firing| firing.is_superset(&set(wanted))).await;
    }

    /// Waits until none of these fires.
    pub async fn lack(&self, ended: &[&str]) {
        self.become_what(&format!("others than {ended:?}"), |firing| firing.is_disjoint(&set(ended))).await;
    }

    /// What the rules and the dashboard ask for, for people and in PromQL, with the texts that name labels of the answer.
    pub async fn expressions(&self, namespace: &str) -> Vec<(String, String)> {
        let Some(Prometheus { address, .. }) = &self.0 else { return Vec::new() };
        let rules = asked(address, "rules", &[]).await.expect("the rules");
        let groups = rules["data"]["groups"].as_array().expect("groups").iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
        let rules = rules.map(|rule| (text(&rule["query"]), rule["annotations"].to_string()));
        let dashboard: Value = serde_json::from_str(&example("dashboard.json")).expect("a dashboard");
        let panels = dashboard["panels"].as_array().expect("panels").iter();
        let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
        let targets = targets.map(|target| {
            (text(&target["expr"]).replace("$namespace", namespace), text(&target["legendFormat"]))
        });
        rules.chain(targets).collect()
    }

    /// The labels of all series that a selector has ever had here; empty without any.
    pub async fn labels(&self, selector: &str) -> BTreeSet<String> {
        let Some(Prometheus { address, .. }) = &self.0 else { return BTreeSet::new() };
        let found = asked(address, "series", &[("match[]", selector)]).await.expect("series");
        let series = found["data"].as_array().expect("series").iter().filter_map(Value::as_object);
        series.flat_map(|labels| labels.keys().cloned()).collect()
    }

    async fn become_what(&self, what: &str, right: impl Fn(&BTreeSet<String>) -> bool) {
        let Some(Prometheus { address, .. }) = &self.0 else { return };
        eventually(&format!("the alerts are {what}"), async || {
            let firing = firing(address).await.map_err(|error| error.to_string())?;
            if right(&firing) { Ok(()) } else { Err(format!("{firing:?}")) }
        })
        .await;
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

async fn asked(address: &str, path: &str, query: &[(&str, &str)]) -> reqwest::Result<Value> {
    let url = reqwest::Url::parse_with_params(&format!("http://{address}/api/v1/{path}"), query);
    reqwest::get(url.expect("an address")).await?.error_for_status()?.json().await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The alerts that fire, once it has scraped.
async fn firing(address: &str) -> reqwest::Result<BTreeSet<String>> {
    let scraped = asked(address, "query", &[("query", "count(up==1)")]).await?;
    if scraped["data"]["result"].as_array().is_none_or(Vec::is_empty) {
        return Ok(["nothing is scraped yet".to_owned()].into());
    }
    let alerts = asked(address, "alerts", &[]).await?;
    let all = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let fires = all.iter().filter(|alert| alert["state"] == "firing");
    Ok(fires.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect())
}

/// The example and its rules, but for whom they scrape and tell, how often, and how long they wait. A slot keeps as much WAL as a
/// story can write.
fn configure(folder: &Path, target: &str, manager: Option<&Alertmanager>) {
    let rules = example("rules.yml")
        .replace("millrace_slot_retained_bytes > 5e9", "millrace_slot_retained_bytes > 1e8");
    let rules =
        rules.lines().filter(|line| !line.trim_start().starts_with("for:")).collect::<Vec<_>>().join("\n");
    fs::write(folder.join("rules.yml"), rules).expect("rules");
    let whole = example("prometheus.yml").replace("127.0.0.1:9464", target).replace(": 10s", ": 1s");
    let whole = match manager {
        Some(manager) => whole.replace("127.0.0.1:9093", &manager.address),
        None => {
            whole.split("alerting:").next().expect("a head").to_owned()
                + &whole[whole.find("scrape_configs:").expect("what is scraped")..]
        }
    };
    fs::write(folder.join("prometheus.yml"), whole).expect("a configuration");
}

/// An Alertmanager with the routes of the example, which tells at once.
pub struct Alertmanager {
    address: String,
    /// What its webhook was told.
    told: Arc<Mutex<Vec<Value>>>,
    _process: Program,
}

impl Alertmanager {
    /// Sends mails to this server; `None` when the variable ALERTMANAGER says `none`.
    pub async fn start(workshop: Workshop, mail: &str) -> Option<Self> {
        let program = program("ALERTMANAGER", "prometheus-alertmanager")?;
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let webhook = listener.local_addr().expect("its address");
        let router = Router::new().route("/alerts", post(take)).with_state(told.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let folder = PathBuf::from(workshop.folder).join(format!("alertmanager-{}", uuid::Uuid::now_v7()));
        fs::create_dir_all(&folder).expect("a folder");
        let routes = example("alertmanager.yml")
            .replace("127.0.0.1:8081", &webhook.to_string())
            .replace("127.0.0.1:25", mail)
            .replace("group_wait: 30s", "group_wait: 1s")
            .replace("group_wait: 10s", "group_wait: 1s")
            .replace("group_interval: 5m", "group_interval: 1s");
        fs::write(folder.join("alertmanager.yml"), routes).expect("a configuration");
        let address = format!("127.0.0.1:{}", free_port().expect("a port"));
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", folder.join("alertmanager.yml").display()));
        command.arg(format!("--storage.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address={address}")).arg("--cluster.listen-address=");
        let log = folder.join("alertmanager.log");
        let process = Program::start("alertmanager", &mut command, &log).expect("Alertmanager");
        eventually("Alertmanager is ready", async || {
            let answer = reqwest::get(format!("http://{address}/-/ready")).await;
            answer.and_then(reqwest::Response::error_for_status).map(drop).map_err(|error| error.to_string())
        })
        .await;
        Some(Self { address, told, _process: process })
    }

    /// How often its webhook was told that an alert fires, and that it has ended.
    pub fn pages(&self, alert: &str) -> (usize, usize) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let of_alert = |body: &&Value| body["commonLabels"]["alertname"] == alert;
        let count =
            |status: &str| told.iter().filter(of_alert).filter(|body| body["status"] == status).count();
        (count("firing"), count("resolved"))
    }
}

async fn take(State(told): State<Arc<Mutex<Vec<Value>>>>, Json(body): Json<Value>) {
    told.lock().unwrap_or_else(PoisonError::into_inner).push(body);
}
