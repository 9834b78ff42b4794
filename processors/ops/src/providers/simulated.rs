//! Simulated external systems of a test.

use std::path::PathBuf;

use millrace_simulator::{Behaviour, Entry, Settings, Simulator};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

pub(super) struct Simulated {
    simulator: Simulator,
    stop: CancellationToken,
    ledger: PathBuf,
}

impl Simulated {
    pub(super) async fn start(name: &str, behaviour: Behaviour) -> Self {
        let ledger = std::env::temp_dir().join(format!("millrace-simulated-{}-{name}", std::process::id()));
        let settings = Settings::on_loopback(ledger.clone(), behaviour);
        let stop = CancellationToken::new();
        let simulator = Simulator::start(settings, stop.clone()).await.unwrap();
        Self { simulator, stop, ledger }
    }

    /// A configuration with them as the providers.
    pub(super) fn config(&self) -> Config {
        let set = [
            format!("payment.url=http://{}", self.simulator.payments.unwrap()),
            format!("vendor.url=http://{}", self.simulator.vendor.unwrap()),
            format!("mail.url=smtp://{}", self.simulator.mail.unwrap()),
            "mail.from=Shop <shop@example.com>".to_owned(),
        ];
        Config::with(&set).unwrap()
    }

    /// Stops it, and returns its ledger.
    pub(super) async fn end(self) -> Vec<Entry> {
        self.stop.cancel();
        self.simulator.ended().await;
        let text = std::fs::read_to_string(&self.ledger).unwrap();
        std::fs::remove_file(self.ledger).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
