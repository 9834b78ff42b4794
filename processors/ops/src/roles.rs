//! Composition: one consumer group for the commands, one for each generation of a view, each with a role for every
//! topic.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_domain::registry::{Visitor, visit};
use millrace_domain::{Context, Effect, Log, Saga, Tally, View};
use millrace_engine::client;
use millrace_engine::commands::{self, Commands, Refolders, StateCache};
use millrace_engine::database::Pool;
use millrace_engine::effects::{self, Caller, EffectRole};
use millrace_engine::retry::Retries;
use millrace_engine::sagas::{self, Process, SagaRole};
use millrace_engine::supervision::{Restarts, Watch};
use millrace_engine::views::{self, LogRole, RowRole, TallyRole};
use millrace_engine::{
    Buffers, Copier, Elastic, GroupSettings, Joint, KafkaSettings, Member, Producer, Registry, Role,
    SharedFetch, database,
};
use millrace_schemas::Kind;
use millrace_store::Group;
use millrace_store::names::COMMANDS;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, Postgres, Processing};
use crate::failure::Failure;
use crate::kafka;
use crate::layout::{Reactor, read_models};
use crate::providers::Providers;

/// The roles of one group, by topic.
type ByTopic = HashMap<String, Arc<dyn Role>>;

/// What the clients of the shared fetch are called after: librdkafka requires a group id.
const FETCH: &str = "fetch";
/// The property for how much librdkafka prefetches.
const FETCHED_AHEAD: &str = "queued.max.messages.kbytes";
/// The prefetch of the commands' client, which reads all contexts; the clients of views have a quarter of it.
const COMMANDS_AHEAD_KB: &str = "4096";

/// The connections, caches and settings of this process, from which roles are made.
pub struct Roles {
    config: Config,
    /// The contexts that each view reads.
    contexts: HashMap<&'static str, Vec<&'static str>>,
    buffers: Buffers,
    fetch: SharedFetch,
    commands: commands::Shared,
    sagas: sagas::Shared,
    effects: effects::Shared,
    providers: Providers,
    views: views::Shared,
    /// The joint batches of the views, and those of sagas and effects.
    joint_views: Joint,
    joint_reactors: Joint,
    kafka: KafkaSettings,
    producer: Producer,
    elastic: Elastic,
}

/// Makes calls until stopped.
type Calling = Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()>>;

/// Finds the saga or the effect of a name.
struct Named<'r> {
    roles: &'r Roles,
    name: &'r str,
    saga: Option<Arc<dyn Process>>,
    calling: Option<Calling>,
}

impl Visitor for Named<'_> {
    fn context<C: Context>(&mut self) {}
    fn view<V: View>(&mut self) {}
    fn tally<T: Tally>(&mut self) {}
    fn log<L: Log>(&mut self) {}

    fn saga<S: Saga>(&mut self) {
        if S::NAME == self.name {
            self.saga = Some(Arc::new(self.roles.saga::<S>()));
        }
    }

    fn effect<E: Effect>(&mut self) {
        if let Some(caller) = self.roles.caller::<E>().filter(|_| E::NAME == self.name) {
            self.calling = Some(Box::new(|stop| caller.run(stop).boxed()));
        }
    }
}

/// Collects the roles of one name and generation.
struct Builder<'r> {
    roles: &'r Roles,
    name: &'r str,
    generation: i32,
    found: ByTopic,
}

impl Roles {
    /// Creates the clients, which connect when first used.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        Self::supervised(config, Restarts::default())
    }

    /// As [`new`](Self::new), for groups to join; `restarts` shows the tasks that all of them share.
    pub fn supervised(config: &Config, restarts: Restarts) -> Result<Self, Failure> {
        let namespace = config.namespace.clone();
        let read = pool(&config.postgres.read, "postgres.read.url", config)?;
        let commands = deciding(config)?;
        let (write, registry) = (commands.pool.clone(), commands.registry.clone());
        let effects = effects::Shared {
            pool: write.clone(),
            registry: registry.clone(),
            namespace: namespace.clone(),
            settings: effect_settings(&config.effects),
            wake: watch::Sender::new(()),
        };
        let sagas = sagas::Shared {
            pool: write,
            registry: registry.clone(),
            namespace: namespace.clone(),
            timers: Arc::new(config.sagas.timers.clone()),
        };
        let views = views::Shared { pool: read, registry, namespace, publish: config.elasticsearch.publish };
        let (kafka, producer) = (kafka::settings(&config.kafka), producer(config)?);
        client::check(&kafka).map_err(|error| Failure::usage(format!("kafka.properties: {error}")))?;
        let config::Elasticsearch { url, timeout, .. } = &config.elasticsearch;
        let elastic = Elastic::new(url.reveal(), config.elasticsearch.files(), *timeout);
        let elastic = elastic.map_err(|error| Failure::usage("elasticsearch").caused_by(error))?;
        let (buffers, providers) = (Buffers::new(config.processing.buffer_bytes()), Providers::new(config)?);
        let contexts = read_models(config).into_iter().map(|model| (model.name, model.contexts)).collect();
        let fetch = SharedFetch::new(&kafka, &config.namespace.group(FETCH), restarts);
        let (config, linger) = (config.clone(), config.processing.linger);
        Ok(Self {
            config,
            contexts,
            buffers,
            fetch,
            joint_views: Joint::new(views.pool.clone(), "read", linger),
            joint_reactors: Joint::new(commands.pool.clone(), "write", linger),
            commands,
            sagas,
            effects,
            providers,
            views,
            kafka,
            producer,
            elastic,
        })
    }

    /// Both databases.
    pub fn databases(&self) -> [Pool; 2] {
        [self.commands.pool.clone(), self.views.pool.clone()]
    }

    /// Joins a Kafka group with the roles of a name (the commands, a saga, an effect or a view) and generation.
    pub fn join(&self, name: &str, generation: i32, group: &str, watch: Watch) -> Result<Member, Failure> {
        let config = &self.config;
        let Processing { commands_batch_max, events_batch_max, linger, .. } = config.processing;
        let batch_max = if name == COMMANDS { commands_batch_max } else { events_batch_max };
        let retry_delays = config.retries.of(name).into();
        let (buffers, joint) = (self.buffers.clone(), self.joint(name));
        let fetch = self.fetch.clone();
        let settings = GroupSettings { batch_max, buffers, fetch, retry_delays, linger, joint };
        let roles = self.of(name, generation);
        let kafka = self.kafka.clone();
        let kafka = if name == COMMANDS { kafka.or(FETCHED_AHEAD, COMMANDS_AHEAD_KB) } else { kafka };
        let member =
            Member::join(&kafka, settings, group, roles, self.producer.clone(), self.elastic.clone(), watch);
        member.map_err(|error| Failure::usage("kafka.properties").caused_by(error))
    }

    /// The joint batches that a group takes part in. Commands have their batches to themselves: a decision must not wait for what
    /// follows from others.
    fn joint(&self, name: &str) -> Option<Joint> {
        match name {
            COMMANDS => None,
            view if self.contexts.contains_key(view) => Some(self.joint_views.clone()),
            _ => Some(self.joint_reactors.clone()),
        }
    }

    /// The effects without a configured provider.
    pub fn unable(&self) -> Vec<&'static str> {
        self.providers.unable()
    }

    /// The caller of an effect; `None` when no provider is configured.
    pub fn caller<E: Effect>(&self) -> Option<Caller<E>> {
        let provider = self.providers.of::<E>()?;
        Some(Caller::new(self.effects.clone(), provider))
    }

    /// The task of a role that runs beside its group, until stopped: a saga fires its timers, an effect makes its calls.
    pub fn beside(&self, name: &str, stop: CancellationToken) -> Option<BoxFuture<'static, ()>> {
        let Named { saga, calling, .. } = self.named(name);
        match (saga, calling) {
            (Some(saga), _) => Some(async move { saga.keep_time(stop).await }.boxed()),
            (None, calling) => calling.map(|calling| calling(stop)),
        }
    }

    /// The saga of this name; `None` when this build has no such saga.
    pub fn saga_named(&self, name: &str) -> Option<Arc<dyn Process>> {
        self.named(name).saga
    }

    fn named<'r>(&'r self, name: &'r str) -> Named<'r> {
        let mut named = Named { roles: self, name, saga: None, calling: None };
        visit(&mut named);
        named
    }

    fn saga<S: Saga>(&self) -> SagaRole<S> {
        SagaRole::new(self.sagas.clone())
    }

    /// The retries of a topic for a group and generation, without joining the group; `None` when this build's group does not read
    /// the topic.
    pub fn retries(
        &self,
        (group, generation): (&str, i32),
        topic: &str,
        copier: Arc<dyn Copier>,
    ) -> Option<Retries> {
        let (namespace, name) = group.split_once('.')?;
        let role = self.of(name, generation).remove(topic)?;
        let delays = self.config.retries.of(name).into();
        (namespace == self.config.namespace.to_string()).then_some(Retries { role, copier, delays })
    }

    /// The search cluster's client.
    pub fn elastic(&self) -> &Elastic {
        &self.elastic
    }

    /// The role that folds a view's events into a generation; `None` when this build has no such view.
    pub fn view(&self, name: &str, generation: i32) -> Option<Arc<dyn Role>> {
        self.of(name, generation).into_values().next()
    }

    fn of(&self, name: &str, generation: i32) -> ByTopic {
        let mut builder = Builder { roles: self, name, generation, found: HashMap::new() };
        visit(&mut builder);
        builder.found
    }
}

/// What deciding commands needs. Connects when first used.
pub(crate) fn deciding(config: &Config) -> Result<commands::Shared, Failure> {
    let config::Registry { url, access } = &config.registry;
    let registry = Registry::new(url.reveal(), access.files(), config.awaited_timeout());
    Ok(commands::Shared {
        group: Group { id: config.namespace.group(COMMANDS), generation: 1 },
        pool: pool(&config.postgres.write, "postgres.write.url", config)?,
        registry: Arc::new(registry.map_err(|error| Failure::usage("registry").caused_by(error))?),
        cache: Arc::new(StateCache::new(config.processing.state_cache_bytes())),
        refolders: Arc::new(refolders()),
        folds_long: true,
        namespace: config.namespace.clone(),
        outcomes: config.topics.outcomes,
    })
}

fn effect_settings(effects: &config::Effects) -> effects::Settings {
    let config::Effects { calls_max, call_timeout, age_max, breaker_failures } = *effects;
    effects::Settings { calls_max, call_timeout, age_max, breaker_failures }
}

/// The producer of copies of records. Connects when first used.
pub fn producer(config: &Config) -> Result<Producer, Failure> {
    let producer = Producer::new(&kafka::settings(&config.kafka), config.awaited_timeout());
    producer.map_err(|error| Failure::usage("kafka.brokers").caused_by(error))
}

fn pool(of: &config::Database, setting: &str, config: &Config) -> Result<Pool, Failure> {
    let Postgres { transaction_timeout, answer_timeout, connections_max, .. } = config.postgres;
    let (url, namespace) = (of.url.reveal(), &config.namespace);
    let pool = database::worker_pool(url, namespace, transaction_timeout, answer_timeout, connections_max);
    // The error could quote the URL with its password.
    pool.map_err(|_| Failure::usage(format!("{setting}: not a Postgres URL")))
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
        fn saga<S: Saga>(&mut self) {}
        fn effect<E: Effect>(&mut self) {}
    }
    let mut collect = Collect(Refolders::default());
    visit(&mut collect);
    collect.0
}

impl Builder<'_> {
    /// One role for all topics of a view: their rows are the same.
    fn add_view(&mut self, name: &str, role: impl FnOnce(views::Shared, i32) -> Arc<dyn Role>) {
        if name != self.name {
            return;
        }
        let shared = self.roles.views.clone();
        let contexts = self.roles.contexts.get(name).into_iter().flatten();
        let topics: Vec<String> =
            contexts.map(|context| shared.namespace.topic(Kind::Event, context)).collect();
        let role = role(shared, self.generation);
        self.found.extend(topics.into_iter().map(|topic| (topic, role.clone())));
    }

    /// One role for all topics of a saga or an effect.
    fn add_reactor(&mut self, role: Arc<dyn Role>, reactor: Reactor) {
        let topics = reactor.topics(&self.roles.config.namespace).into_iter();
        self.found.extend(topics.map(|topic| (topic, role.clone())));
    }
}

impl Visitor for Builder<'_> {
    fn context<C: Context>(&mut self) {
        if self.name == COMMANDS && self.roles.config.has(C::NAME) {
            let shared = self.roles.commands.clone();
            let topic = shared.namespace.topic(Kind::Command, C::NAME);
            self.found.insert(topic, Arc::new(Commands::<C>::new(shared)));
        }
    }

    fn view<V: View>(&mut self) {
        self.add_view(V::NAME, |shared, generation| Arc::new(RowRole::<V>::new(shared, generation)));
    }

    fn tally<T: Tally>(&mut self) {
        self.add_view(T::NAME, |shared, generation| Arc::new(TallyRole::<T>::new(shared, generation)));
    }

    fn log<L: Log>(&mut self) {
        self.add_view(L::NAME, |shared, generation| Arc::new(LogRole::<L>::new(shared, generation)));
    }

    fn saga<S: Saga>(&mut self) {
        if self.name == S::NAME {
            let role = Arc::new(self.roles.saga::<S>());
            self.add_reactor(role, Reactor::saga::<S>());
        }
    }

    fn effect<E: Effect>(&mut self) {
        if self.name == E::NAME {
            let role = Arc::new(EffectRole::<E>::new(self.roles.effects.clone()));
            self.add_reactor(role, Reactor::effect::<E>());
        }
    }
}
