//! External systems: a payment provider, a mail server and a vendor of messages, with their ledger.

use std::collections::BTreeMap;
use std::path::PathBuf;

use millrace_testkit::{Process, free_port};
use serde_json::Value;

use crate::instance::Workshop;
use crate::patience::eventually;
use crate::stack::http;

/// A running `millrace-simulator`.
pub struct Outside {
    _process: Process,
    payments: u16,
    mail: u16,
    vendor: u16,
    ledger: PathBuf,
}

impl Outside {
    /// Starts it with further options, such as `--decline 10`; the ledger of a story is its own.
    pub async fn start(workshop: Workshop, story: &str, options: &[&str]) -> Self {
        let random = uuid::Uuid::now_v7().simple().to_string().split_off(26);
        let folder = PathBuf::from(workshop.folder);
        let ledger = folder.join(format!("{story}-{random}.ledger.jsonl"));
        let [payments, mail, vendor] = [(); 3].map(|()| free_port().expect("a free port"));
        let mut command = std::process::Command::new(workshop.simulator);
        command.current_dir(&folder).arg("--ledger").arg(&ledger).args(options);
        command.args([
            "--payments",
            &format!("127.0.0.1:{payments}"),
            "--mail",
            &format!("127.0.0.1:{mail}"),
            "--vendor",
            &format!("127.0.0.1:{vendor}"),
        ]);
        let log = folder.join(format!("{story}-{random}.simulator.log"));
        let process = Process::start("the simulator", &mut command, &log).expect("the simulator");
        let outside = Self { _process: process, payments, mail, vendor, ledger };
        eventually("the outside world listens", async || outside.totals().await.map(|_| ())).await;
        outside
    }

    /// The settings with which an instance uses it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("sagas.enabled", "true".to_owned()),
            ("payment.url", format!("http://127.0.0.1:{}", self.payments)),
            ("vendor.url", format!("http://127.0.0.1:{}", self.vendor)),
            ("mail.url", format!("smtp://127.0.0.1:{}", self.mail)),
            ("mail.from", "shop@example.com".to_owned()),
            ("effects.call_timeout", "1s".to_owned()),
        ]
    }

    /// The address of the payment provider.
    pub fn payments(&self) -> String {
        format!("http://127.0.0.1:{}", self.payments)
    }

    /// The address of the mail server: `host:port`.
    pub fn mail(&self) -> String {
        format!("127.0.0.1:{}", self.mail)
    }

    /// Everything that it did, in order.
    pub fn entries(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.ledger).expect("the ledger");
        text.lines().map(|line| serde_json::from_str(line).expect("a line of the ledger")).collect()
    }

    /// Captured and refunded money by order, in minor units.
    pub fn money(&self) -> BTreeMap<String, (i64, i64)> {
        let (mut money, mut orders) = (BTreeMap::<String, (i64, i64)>::new(), BTreeMap::new());
        for entry in self.entries() {
            let amount = entry["amount"].as_i64().unwrap_or_default();
            match (entry["kind"].as_str(), entry["status"].as_str()) {
                (Some("charge"), Some("captured")) => {
                    let order = entry["order"].as_str().expect("an order").to_owned();
                    orders.insert(entry["reference"].clone().to_string(), order.clone());
                    money.entry(order).or_default().0 += amount;
                }
                (Some("refund"), _) => {
                    let order = orders[&entry["charge"].to_string()].clone();
                    money.entry(order).or_default().1 += amount;
                }
                _ => {}
            }
        }
        money
    }

    /// The authorised money of each order that is neither captured nor released.
    pub fn held(&self) -> BTreeMap<String, i64> {
        let mut held = BTreeMap::new();
        for entry in self.entries() {
            let authorisation = entry["authorisation"].to_string();
            match (entry["kind"].as_str(), entry["status"].as_str()) {
                (Some("authorisation"), Some("authorised")) => {
                    held.insert(entry["reference"].to_string(), entry);
                }
                (Some("charge"), Some("captured")) | (Some("release"), Some("released")) => {
                    held.remove(&authorisation);
                }
                _ => {}
            }
        }
        let amount = |entry: &Value| entry["amount"].as_i64().unwrap_or_default();
        let named = held.values().map(|entry| (entry["order"].to_string(), amount(entry)));
        named.collect()
    }

    /// Every message that the vendor received, each attempt, in order.
    pub fn messages(&self) -> Vec<Value> {
        let batches = self.entries().into_iter().filter(|entry| entry["kind"] == "batch");
        batches.flat_map(|batch| batch["messages"].as_array().cloned().unwrap_or_default()).collect()
    }

    async fn totals(&self) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:{}/ledger/totals", self.payments);
        let answer = http().get(url).send().await.map_err(|error| error.to_string())?;
        answer.json().await.map_err(|error| error.to_string())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_file(&self.ledger);
        }
    }
}
