//! The parts of an instance: contexts, views, groups and topics, from the registry of the domain, limited to the configured
//! contexts.

use std::time::Duration;

use millrace_domain::registry::{self, Visitor};
use millrace_domain::{Context, Effect, Log, Saga, Tally, View};
use millrace_engine::failpoints::other_shape;
use millrace_engine::release::release;
use millrace_engine::views::shape::{Column, Shape as Like};
use millrace_schemas::Kind;
use millrace_store::indexes::{self, Index};
use millrace_store::migrations::{self, Migrations};
use millrace_store::names::{COMMANDS, Namespace, dead_letter_topic, retry_topic};
use millrace_store::own_name;
use millrace_store::replay::Shape;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::known;

/// The database with a group's offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Commands, sagas, effects.
    Write,
    /// Views.
    Read,
}

impl Side {
    /// Its migrations.
    pub fn migrations(self) -> Migrations {
        match self {
            Self::Write => migrations::WRITE,
            Self::Read => migrations::READ,
        }
    }

    /// The indexes of its tables that grow for ever.
    pub fn indexes(self) -> &'static [Index] {
        match self {
            Self::Write => indexes::WRITE,
            Self::Read => indexes::READ,
        }
    }
}

/// A view, tally or log.
#[derive(Debug, Clone)]
pub struct ReadModel {
    /// Its name.
    pub name: &'static str,
    /// The contexts of the instance whose events it reads.
    pub contexts: Vec<&'static str>,
    /// Its table and SQL view, when it is in Postgres.
    pub table: Option<Table>,
    /// Its mapping, when it is in Elasticsearch.
    pub mapping: Option<String>,
    /// Its shape in this build.
    pub shape: Shape,
    /// The columns, or fields, whose meaning has changed since the previous shape.
    pub changed: Vec<&'static str>,
}

/// A read model in Postgres.
#[derive(Debug, Clone)]
pub struct Table {
    /// Creates the table of a generation.
    pub table: String,
    /// Creates the SQL view over it.
    pub view: String,
    /// Its columns and their types.
    pub columns: Vec<Column>,
    /// The columns of its key.
    pub key: Vec<&'static str>,
    /// SQL that computes its rows from the events, written independently of the fold.
    pub check: &'static str,
}

/// A role of the write side that reads events: a saga or an effect.
#[derive(Debug, Clone, Copy)]
pub struct Reactor {
    /// Its name.
    pub name: &'static str,
    /// The contexts whose records it reads.
    pub contexts: &'static [&'static str],
    /// The kinds of records that it reads.
    pub kinds: &'static [Kind],
    /// The contexts of the commands that it sends.
    pub sends_to: &'static [&'static str],
}

/// A consumer group and what it reads.
#[derive(Debug, Clone)]
pub struct Group {
    /// The role that works in it.
    pub role: &'static str,
    /// Its name in Kafka.
    pub id: String,
    /// The side with its offsets.
    pub side: Side,
    /// The topics that it reads.
    pub topics: Vec<String>,
    /// Its retry topics, which it also reads.
    pub retry_topics: Vec<String>,
    /// Whether it writes to Elasticsearch.
    pub publishes: bool,
}

/// The required properties of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Whether it has one partition instead of the configured number.
    pub single: bool,
    /// Whether its records are kept for ever.
    pub forever: bool,
    /// The least retention in milliseconds, -1 for ever; `None` for the broker's default.
    pub kept_ms: Option<i64>,
    /// Whether the timestamps of its records are from clocks of other systems.
    pub stamped_by_others: bool,
    /// The largest batch of records that it accepts (`max.message.bytes`), compressed.
    pub bytes_max: u32,
}

/// The limit of topics of commands: Kafka's default, so that producers need no setting.
const COMMAND_BYTES_MAX: u32 = 1_048_588;
/// The limit of topics of the outbox. New rows are smaller than 1 MB, but larger rows of earlier builds must pass, or they would
/// stop the connector.
pub(crate) const OUTBOX_BYTES_MAX: u32 = 2 * COMMAND_BYTES_MAX;
/// The limit of topics of copies: a copy has further headers, and may be compressed less well than the record.
pub(crate) const COPY_BYTES_MAX: u32 = 8 << 20;

#[derive(Default)]
struct Collector {
    contexts: Vec<&'static str>,
    models: Vec<ReadModel>,
    sagas: Vec<Reactor>,
    effects: Vec<Reactor>,
    standings: Vec<(&'static str, &'static [&'static str])>,
}

impl Collector {
    /// Adds a read model; one in Postgres has a key and a check.
    fn add(&mut self, name: &'static str, like: Like, of_rows: Option<(Vec<&'static str>, &'static str)>) {
        let like = match other_shape(name) {
            Some(change) => like.changed_by(&change),
            None => like,
        };
        let shape = Shape { fingerprint: like.fingerprint(), release: release() };
        let columns = like.columns();
        let Like { contexts, mapping, changed, .. } = like;
        let table = of_rows.zip(like.table).zip(like.views);
        let table = table.map(|(((key, check), table), view)| Table { table, view, columns, key, check });
        self.models.push(ReadModel { name, contexts, table, mapping, shape, changed });
    }
}

impl Visitor for Collector {
    fn context<C: Context>(&mut self) {
        self.contexts.push(C::NAME);
    }

    fn view<V: View>(&mut self) {
        self.add(V::NAME, Like::of_view::<V>(), Some((vec![V::KEY], V::CHECK)));
    }

    fn tally<T: Tally>(&mut self) {
        self.add(T::NAME, Like::of_tally::<T>(), Some((T::KEYS.to_vec(), T::CHECK)));
    }

    fn log<L: Log>(&mut self) {
        self.add(L::NAME, Like::of_log::<L>(), None);
    }

    fn saga<S: Saga>(&mut self) {
        self.sagas.push(Reactor::saga::<S>());
        self.standings.push((S::NAME, S::STANDINGS));
    }

    fn effect<E: Effect>(&mut self) {
        self.effects.push(Reactor::effect::<E>());
    }
}

/// Everything that this build knows.
fn all() -> Collector {
    let mut collector = Collector::default();
    registry::visit(&mut collector);
    collector
}

/// The part that an instance has: a view reads those of its contexts that are configured; a saga or an effect needs all of its
/// contexts.
fn collected(config: &Config) -> Collector {
    let Collector { mut contexts, mut models, mut sagas, mut effects, standings } = all();
    contexts.retain(|context| config.has(context));
    models.iter_mut().for_each(|model| model.contexts.retain(|context| config.has(context)));
    models.retain(|model| !model.contexts.is_empty());
    for reactors in [&mut sagas, &mut effects] {
        reactors.retain(|reactor| config.sagas.enabled && reactor.needs().all(|context| config.has(context)));
    }
    Collector { contexts, models, sagas, effects, standings }
}

/// The contexts, in the order of the registry.
pub fn contexts(config: &Config) -> Vec<&'static str> {
    collected(config).contexts
}

/// The sagas, in the order of the registry.
pub fn sagas(config: &Config) -> Vec<Reactor> {
    collected(config).sagas
}

/// The names of all sagas that this build knows, whether the instance runs them or not.
pub fn known_sagas() -> Vec<&'static str> {
    all().sagas.iter().map(|saga| saga.name).collect()
}

/// The standings of a saga, or of all sagas.
pub fn known_standings(saga: Option<&str>) -> Vec<&'static str> {
    let of = all().standings.into_iter().filter(|(name, _)| saga.is_none_or(|saga| saga == *name));
    of.flat_map(|(_, standings)| standings).copied().collect()
}

/// The effects, in the order of the registry.
pub fn effects(config: &Config) -> Vec<Reactor> {
    collected(config).effects
}

/// The views, tallies and logs, in the order of the registry.
pub fn read_models(config: &Config) -> Vec<ReadModel> {
    collected(config).models
}

impl ReadModel {
    /// The read model of this name; the error names the known ones.
    ///
    /// # Errors
    /// [`Failure::Usage`].
    pub fn named(config: &Config, name: &str) -> Result<Self, Failure> {
        let models = read_models(config);
        let known: Vec<&str> = models.iter().map(|model| model.name).collect();
        let unknown = || Failure::usage(format!("there is no view `{name}`{}", known::instead(name, &known)));
        models.iter().find(|model| model.name == name).cloned().ok_or_else(unknown)
    }

    /// The topics that it reads.
    pub fn topics(&self, namespace: &Namespace) -> Vec<String> {
        self.contexts.iter().map(|context| namespace.topic(Kind::Event, context)).collect()
    }

    /// The retry topics of one of its generations.
    pub fn retry_topics(&self, config: &Config, generation: i32) -> Vec<Topic> {
        let group = config.namespace.group(self.name);
        let levels = config.retries.of(self.name).len();
        let names = retry_topics(&self.topics(&config.namespace), &own_name(&group, generation), levels);
        names.into_iter().map(|name| Topic::of_copies(name, false)).collect()
    }
}

impl Reactor {
    /// A saga reads events and the answers to its commands.
    pub fn saga<S: Saga>() -> Self {
        let kinds = &[Kind::Event, Kind::Rejection];
        Self { name: S::NAME, contexts: S::CONTEXTS, kinds, sends_to: S::SENDS_TO }
    }

    /// An effect reads events.
    pub fn effect<E: Effect>() -> Self {
        Self { name: E::NAME, contexts: E::CONTEXTS, kinds: &[Kind::Event], sends_to: E::CONTEXTS }
    }

    /// The contexts that it needs.
    fn needs(&self) -> impl Iterator<Item = &'static str> {
        self.contexts.iter().chain(self.sends_to).copied()
    }

    /// The topics that it reads.
    pub fn topics(&self, namespace: &Namespace) -> Vec<String> {
        let kinds = self.kinds.iter();
        kinds.flat_map(|kind| self.contexts.iter().map(|context| namespace.topic(*kind, context))).collect()
    }
}

fn retry_topics(topics: &[String], name: &str, levels: usize) -> Vec<String> {
    let all = topics.iter().flat_map(|topic| (1..=levels).map(move |level| (topic, level)));
    all.map(|(topic, level)| retry_topic(topic, name, level)).collect()
}

impl Group {
    fn new(config: &Config, role: &'static str, side: Side, topics: Vec<String>, publishes: bool) -> Self {
        let id = config.namespace.group(role);
        let retry_topics = retry_topics(&topics, &id, config.retries.of(role).len());
        Self { role, retry_topics, id, side, topics, publishes }
    }
}

/// The consumer groups: commands first, then one for each saga, each effect and each view.
pub fn groups(config: &Config) -> Vec<Group> {
    let Collector { contexts, models, sagas, effects, .. } = collected(config);
    let topics = |kind, contexts: &[&str]| {
        contexts.iter().map(|context| config.namespace.topic(kind, context)).collect()
    };
    let commands = Group::new(config, COMMANDS, Side::Write, topics(Kind::Command, &contexts), false);
    let reactors = sagas.into_iter().chain(effects).map(|reactor| {
        Group::new(config, reactor.name, Side::Write, reactor.topics(&config.namespace), false)
    });
    let views = models.into_iter().map(|model| {
        let topics = topics(Kind::Event, &model.contexts);
        Group::new(config, model.name, Side::Read, topics, model.mapping.is_some())
    });
    std::iter::once(commands).chain(reactors).chain(views).collect()
}

/// All topics of the instance: commands, events, rejections, outcomes, retries, dead letters, and Debezium's heartbeat.
pub fn topics(config: &Config) -> Vec<Topic> {
    let namespace = &config.namespace;
    let mut topics = Vec::new();
    for context in contexts(config) {
        for kind in [Kind::Command, Kind::Event, Kind::Rejection, Kind::Outcome] {
            let name = namespace.topic(kind, context);
            let bytes_max = if kind == Kind::Command { COMMAND_BYTES_MAX } else { OUTBOX_BYTES_MAX };
            let kept_ms = match kind {
                Kind::Command => Some(kept_ms(config.topics.command_retention)),
                Kind::Rejection | Kind::Outcome => Some(kept_ms(config.topics.rejection_retention)),
                Kind::Event => None,
            };
            let (forever, stamped_by_others) = (kind == Kind::Event, kind == Kind::Command);
            topics.push(Topic { name, single: false, forever, kept_ms, stamped_by_others, bytes_max });
        }
    }
    for group in groups(config) {
        topics.extend(group.retry_topics.into_iter().map(|name| Topic::of_copies(name, false)));
        let dead = |topic: &String| dead_letter_topic(topic, &group.id);
        topics.extend(group.topics.iter().map(|topic| Topic::of_copies(dead(topic), true)));
    }
    let heartbeat = debezium_heartbeat(namespace);
    let bytes_max = COMMAND_BYTES_MAX;
    topics.push(Topic { bytes_max, ..Topic::of_copies(heartbeat, false) });
    topics
}

/// A retention in Kafka's format: -1 is for ever.
fn kept_ms(retention: Option<Duration>) -> i64 {
    retention.map_or(-1, |kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX))
}

impl Topic {
    /// Its number of partitions when it is created.
    pub fn size(&self, config: &Config) -> i32 {
        if self.single { 1 } else { config.topics.partitions }
    }

    fn of_copies(name: String, forever: bool) -> Self {
        Self {
            name,
            single: true,
            forever,
            kept_ms: None,
            stamped_by_others: false,
            bytes_max: COPY_BYTES_MAX,
        }
    }
}

/// The topic that Debezium writes to when the outbox is idle.
pub fn debezium_heartbeat(namespace: &Namespace) -> String {
    format!("{namespace}.debezium-heartbeat.{namespace}")
}
