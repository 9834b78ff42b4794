//! What both servers share: the ledger, the mood, and how often each key was tried.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::behaviour::Behaviour;
use crate::ledger::Ledger;

/// Keys whose tries are counted; beyond that counting begins anew.
const COUNTED_MAX: usize = 100_000;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) behaviour: Behaviour,
    ledger: Mutex<Ledger>,
    tries: Mutex<HashMap<String, u32>>,
}

impl World {
    pub(crate) fn new(ledger: Ledger, behaviour: Behaviour) -> Self {
        Self { behaviour, ledger: Mutex::new(ledger), tries: Mutex::default() }
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
