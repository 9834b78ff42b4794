//! Composition: one consumer group for the commands, one for each view, each with a role for every topic.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millrace_domain::registry::{Visitor, visit};
use millrace_domain::{Context, Log, Tally, View};
use millrace_runtime::commands::{self, Commands, Refolders, StateCache};
use millrace_runtime::names::{COMMANDS, Namespace};
use millrace_runtime::retry::Retries;
use millrace_runtime::views::{self, LogRole, RowRole, TallyRole};
use millrace_runtime::{
    Copier, Elastic, Group, GroupSettings, KafkaSettings, Member, Producer, Registry, Role, database,
};
use millrace_schemas::Kind;
use sqlx::PgPool;

use super::Selection;
use crate::config::Config;
use crate::failure::Failure;

/// The roles of one group, by topic.
type ByTopic = HashMap<String, Arc<dyn Role>>;

/// Every selected role, by group.
pub(crate) struct Roles {
    groups: BTreeMap<String, (GroupSettings, ByTopic)>,
    databases: [PgPool; 2],
}

struct Builder<'c> {
    config: &'c Config,
    selection: &'c Selection,
    commands: commands::Shared,
    views: views::Shared,
    groups: BTreeMap<String, (GroupSettings, ByTopic)>,
    names: Vec<&'static str>,
}

impl Roles {
    /// Builds the selected roles. Nothing connects yet.
    pub(crate) fn build(config: &Config, selection: &Selection) -> Result<Self, Failure> {
        let namespace = config.namespace.clone();
        let write = pool(config.write_database_url.reveal(), "write_database_url", config)?;
        let read = pool(config.read_database_url.reveal(), "read_database_url", config)?;
        let registry = Registry::new(config.schema_registry_url.reveal());
        let registry =
            Arc::new(registry.map_err(|error| Failure::usage(format!("schema_registry_url: {error}")))?);
        let commands = commands::Shared {
            group: Group { id: namespace.group(COMMANDS), generation: 1 },
            pool: write.clone(),
            registry: registry.clone(),
            cache: Arc::new(StateCache::new(usize::try_from(config.state_cache_bytes).unwrap_or(usize::MAX))),
            refolders: Arc::new(refolders()),
            namespace: namespace.clone(),
        };
        let views = views::Shared { pool: read.clone(), registry, namespace, publish: config.publish };
        let (groups, names) = (BTreeMap::new(), Vec::new());
        let mut builder = Builder { config, selection, commands, views, groups, names };
        visit(&mut builder);
        builder.check()?;
        Ok(Self { groups: builder.groups, databases: [write, read] })
    }

    /// Both databases.
    pub(super) fn databases(&self) -> [PgPool; 2] {
        self.databases.clone()
    }

    /// What settles the records of a topic for a group, without joining it; `None` when the group does not read it.
    pub(crate) fn retries(&self, group: &str, topic: &str, copier: Arc<dyn Copier>) -> Option<Retries> {
        let (settings, roles) = self.groups.get(group)?;
        let role = roles.get(topic)?.clone();
        Some(Retries { role, copier, delays: settings.retry_delays.clone() })
    }

    /// Joins every group.
    pub(super) fn join(self, config: &Config) -> Result<Vec<(String, Member)>, Failure> {
        let refuse = |what: &str, error: String| Failure::usage(format!("{what}: {error}"));
        let (kafka, producer) = (kafka_settings(config), producer(config)?);
        let elastic = Elastic::new(config.elasticsearch_url.reveal());
        let elastic = elastic.map_err(|error| refuse("elasticsearch_url", error.to_string()))?;
        let join = |(group, (settings, roles)): (String, (GroupSettings, ByTopic))| {
            let member = Member::join(&kafka, settings, &group, roles, producer.clone(), elastic.clone());
            Ok((group, member.map_err(|error| refuse("kafka_properties", error.to_string()))?))
        };
        self.groups.into_iter().map(join).collect()
    }
}

fn kafka_settings(config: &Config) -> KafkaSettings {
    KafkaSettings {
        brokers: config.kafka_brokers.clone(),
        session_timeout: config.session_timeout(),
        heartbeat_interval: std::time::Duration::from_millis(config.heartbeat_interval_ms),
        properties: config.kafka_properties.clone(),
    }
}

/// What writes copies of records. Connects when first used.
pub(crate) fn producer(config: &Config) -> Result<Producer, Failure> {
    let producer = Producer::new(&kafka_settings(config));
    producer.map_err(|error| Failure::usage(format!("kafka_brokers: {error}")))
}

fn pool(url: &str, field: &str, config: &Config) -> Result<PgPool, Failure> {
    let Config { namespace, database_connections_max, .. } = config;
    let pool = database::pool(url, namespace, config.transaction_timeout(), *database_connections_max);
    // The reason could repeat the URL and its password.
    pool.map_err(|_| Failure::usage(format!("{field}: not a Postgres URL")))
}

fn refolders() -> Refolders {
    struct Collect(Refolders);
    impl Visitor for Collect {
        fn context<C: Context>(&mut self) {
            self.0.add::<C>();
        }
        fn view<V: View>(&mut self) {}
        fn tally<T: Tally>(&mut self) {}
        fn log<L: Log>(&mut self) {}
    }
    let mut collect = Collect(Refolders::default());
    visit(&mut collect);
    collect.0
}

impl Builder<'_> {
    fn namespace(&self) -> &Namespace {
        &self.config.namespace
    }

    fn add(&mut self, name: &str, topic: String, batch_max: usize, role: Arc<dyn Role>) {
        let retry_delays = self.config.retry_delays(name).into();
        let settings = GroupSettings { batch_max, buffer_bytes: self.config.buffer_bytes, retry_delays };
        let group = self.namespace().group(name);
        let (_, roles) = self.groups.entry(group).or_insert_with(|| (settings, HashMap::new()));
        roles.insert(topic, role);
    }

    /// One role for all topics of a view: their rows are the same.
    fn add_view(
        &mut self,
        name: &'static str,
        contexts: &[&str],
        role: impl FnOnce(views::Shared) -> Arc<dyn Role>,
    ) {
        self.names.push(name);
        if !self.selection.view(name) {
            return;
        }
        let role = role(self.views.clone());
        for context in contexts {
            let topic = self.namespace().topic(Kind::Event, context);
            self.add(name, topic, self.config.events_batch_max, role.clone());
        }
    }

    fn check(&self) -> Result<(), Failure> {
        let Selection::Views(wanted) = self.selection else { return Ok(()) };
        match wanted.iter().find(|wanted| !self.names.contains(&wanted.as_str())) {
            Some(unknown) => Err(Failure::usage(format!(
                "there is no view `{unknown}`; there are: {}",
                self.names.join(", ")
            ))),
            None => Ok(()),
        }
    }
}

impl Visitor for Builder<'_> {
    fn context<C: Context>(&mut self) {
        if self.selection.commands() {
            let topic = self.namespace().topic(Kind::Command, C::NAME);
            let role = Arc::new(Commands::<C>::new(self.commands.clone()));
            self.add(COMMANDS, topic, self.config.commands_batch_max, role);
        }
    }

    fn view<V: View>(&mut self) {
        self.add_view(V::NAME, V::CONTEXTS, |shared| Arc::new(RowRole::<V>::new(shared, 1)));
    }

    fn tally<T: Tally>(&mut self) {
        self.add_view(T::NAME, T::CONTEXTS, |shared| Arc::new(TallyRole::<T>::new(shared, 1)));
    }

    fn log<L: Log>(&mut self) {
        self.add_view(L::NAME, L::CONTEXTS, |shared| Arc::new(LogRole::<L>::new(shared, 1)));
    }
}
