//! What both servers share: the ledger, the mood, and how often each key was tried.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use crate::behaviour::Behaviour;
use crate::ledger::Ledger;
use crate::webhooks::Word;

/// Keys whose tries are counted; beyond that counting begins anew.
const COUNTED_MAX: usize = 100_000;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) behaviour: Behaviour,
    ledger: Mutex<Ledger>,
    tries: Mutex<HashMap<String, u32>>,
    speaker: Option<UnboundedSender<Word>>,
}

impl World {
    pub(crate) fn new(ledger: Ledger, behaviour: Behaviour, speaker: Option<UnboundedSender<Word>>) -> Self {
        Self { behaviour, ledger: Mutex::new(ledger), tries: Mutex::default(), speaker }
    }

    /// Tells by webhook what was done for a key, when there is somebody to tell.
    pub(crate) fn tell(&self, key: &str, body: Value) {
        let Some(speaker) = &self.speaker else { return };
        let word = Word { id: format!("told-{key}"), body, times: self.behaviour.tells(key) };
        // Nobody listens any more when everything ends.
        let _ = speaker.send(word);
    }

    /// The ledger, for as long as it takes to look and to write. A panic leaves it whole: an entry is added at once.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a try of a key and tells whether it is turned away.
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
