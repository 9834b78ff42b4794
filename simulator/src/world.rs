//! What all servers share: the ledger, the behaviour, how often each key was tried, and which keys are in work.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use crate::behaviour::Behaviour;
use crate::ledger::Ledger;
use crate::webhooks::WebhookMessage;

/// Keys whose tries are counted; beyond that counting begins anew.
const COUNTED_MAX: usize = 100_000;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) behaviour: Behaviour,
    ledger: Mutex<Ledger>,
    tries: Mutex<HashMap<String, u32>>,
    in_work: Mutex<HashSet<String>>,
    webhooks: Option<UnboundedSender<WebhookMessage>>,
}

impl World {
    pub(crate) fn new(
        ledger: Ledger,
        behaviour: Behaviour,
        webhooks: Option<UnboundedSender<WebhookMessage>>,
    ) -> Self {
        Self {
            behaviour,
            ledger: Mutex::new(ledger),
            tries: Mutex::default(),
            in_work: Mutex::default(),
            webhooks,
        }
    }

    /// Sends a webhook about what was done for a key, when there is an address for it.
    pub(crate) fn send_webhook(&self, key: &str, body: Value) {
        let Some(webhooks) = &self.webhooks else { return };
        let copies = self.behaviour.webhook_copies(key);
        // When the simulator ends, the receiver is closed.
        let _ = webhooks.send(WebhookMessage { id: format!("webhook-{key}"), body, copies });
    }

    /// The ledger, for as long as it takes to look and to write. A panic leaves it whole: an entry is added at once.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_work(&self) -> MutexGuard<'_, HashSet<String>> {
        self.in_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a key for work, until what it returns is dropped; `None` when it is in work already.
    pub(crate) fn claim(self: &Arc<Self>, key: &str) -> Option<Work> {
        let new = self.in_work().insert(key.to_owned());
        new.then(|| Work { world: self.clone(), key: key.to_owned() })
    }

    /// Counts a try of a key, and says whether it is turned away.
    pub(crate) fn turns_away(&self, key: &str) -> bool {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= COUNTED_MAX {
            tries.clear();
        }
        let attempt = tries.entry(key.to_owned()).or_default();
        *attempt += 1;
        self.behaviour.fails(key, *attempt)
    }
}

/// A key that is in work.
#[derive(Debug)]
pub(crate) struct Work {
    world: Arc<World>,
    key: String,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.world.in_work().remove(&self.key);
    }
}
