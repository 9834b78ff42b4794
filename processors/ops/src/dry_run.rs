//! What would become of a command, without effect.

use std::collections::HashMap;
use std::sync::Arc;

use millrace_domain::registry::{Visitor, visit};
use millrace_domain::{Context, Effect, Log, Saga, Tally, View};
use millrace_engine::WorkError;
use millrace_engine::commands::{Commands, Decider, Shared, StateCache};

pub use millrace_engine::commands::{Verdict, WouldBe};

use crate::config::Config;
use crate::failure::Failure;
use crate::roles;

/// Connections of dry runs to the write side, at most; further ones wait.
const CONNECTIONS_MAX: u32 = 2;

/// Decides commands of the instance's contexts without effect, with connections of its own and without the cache of the group.
pub struct DryRuns(HashMap<&'static str, Arc<dyn Decider>>);

impl DryRuns {
    /// Connects when first used.
    ///
    /// # Errors
    /// [`Failure::Usage`], which names the setting.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let shared = roles::deciding(&Config { postgres: few(config), ..config.clone() })?;
        let shared = Shared { cache: Arc::new(StateCache::new(0)), folds_long: false, ..shared };
        let mut collect = Collect { config, shared, found: HashMap::new() };
        visit(&mut collect);
        Ok(Self(collect.found))
    }

    /// What would become of a command of a context, by its key and its framed value; `None` when the instance does not have the context.
    ///
    /// # Errors
    /// [`WorkError`] when it is not known, such as while a component is away.
    pub async fn decide(&self, context: &str, key: &str, value: &[u8]) -> Result<Option<Verdict>, WorkError> {
        match self.0.get(context) {
            Some(decider) => decider.decide_dry(key, value).await.map(Some),
            None => Ok(None),
        }
    }
}

fn few(config: &Config) -> crate::config::Postgres {
    crate::config::Postgres { connections_max: CONNECTIONS_MAX, ..config.postgres.clone() }
}

struct Collect<'c> {
    config: &'c Config,
    shared: Shared,
    found: HashMap<&'static str, Arc<dyn Decider>>,
}

impl Visitor for Collect<'_> {
    fn context<C: Context>(&mut self) {
        if self.config.has(C::NAME) {
            self.found.insert(C::NAME, Arc::new(Commands::<C>::new(self.shared.clone())));
        }
    }
    fn view<V: View>(&mut self) {}
    fn tally<T: Tally>(&mut self) {}
    fn log<L: Log>(&mut self) {}
    fn saga<S: Saga>(&mut self) {}
    fn effect<E: Effect>(&mut self) {}
}
