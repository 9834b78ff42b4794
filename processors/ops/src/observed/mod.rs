//! The metrics of a namespace that do not belong to a process: lag, outbox, slot, connector, waiting records, stuck sagas. One
//! process queries them, the one that holds an advisory lock on the write side; when it dies, another one does. The queries are
//! those of `millrace status`.

mod carried;
pub(crate) mod documents;
mod family;
mod figures;
mod locks;
mod queries;
mod slow;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection};

use crate::config::Config;
use crate::failure::Failure;
use crate::http::Http;
use crate::layout::{self, ReadModel, Side};
use crate::postgres::Database;
use crate::reached::{Elasticsearch, Kept, Registry};
use crate::replay::generations::{self, Generations, State};
use crate::replay::session::{self, Pair};
use crate::status::databases;
use crate::status::{lag, services};

use carried::{Outbox, Uncarried};
use documents::Documents;
use family::{number, seconds_since};
use queries::Queries;
use slow::Slow;

pub use family::{ALL, Family, Figure};

/// The timeout for reading the oldest records that wait.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);
/// Session settings that force indexes: a table that grows faster than it is analysed looks small to the planner, which would
/// then read all of it.
const BY_INDEX: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

/// The figures of each part, or the error.
type Answers = Vec<(&'static str, Result<Vec<Figure>, Failure>)>;

/// The clients of what speaks HTTP.
#[derive(Default)]
struct Services {
    connect: Kept<Http>,
    elasticsearch: Elasticsearch,
    registry: Registry,
}

/// Queries the metrics of a namespace repeatedly.
pub struct Observer<'c> {
    config: &'c Config,
    write: Database,
    read: Database,
    /// The connection that holds the lock.
    lease: Option<PgConnection>,
    outbox: Outbox,
    slow: Slow,
    queries: Queries,
    documents: Documents,
    services: Services,
    /// When each part was last queried successfully.
    answered: BTreeMap<&'static str, DateTime<Utc>>,
    /// The parts whose last query failed.
    unknown: BTreeSet<&'static str>,
}

impl<'c> Observer<'c> {
    /// Connects at the first query.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a URL cannot be used.
    pub fn new(config: &'c Config) -> Result<Self, Failure> {
        let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
        let (outbox, slow, queries) = (Outbox::default(), Slow::default(), Queries::of(config));
        let (services, documents) = Default::default();
        let (lease, answered, unknown) = (None, BTreeMap::new(), BTreeSet::new());
        Ok(Self { config, write, read, lease, outbox, slow, queries, documents, services, answered, unknown })
    }

    /// Queries once. A part that does not answer has no figures, and its success metric is 0.
    ///
    /// # Errors
    /// [`Failure::Busy`] while another process holds the lock; [`Failure::Unreachable`] when that is not known.
    pub async fn look(&mut self) -> Result<Vec<Figure>, Failure> {
        let began = Instant::now();
        let mut lease = self.lease().await?;
        let answers = self.ask(&mut lease).await;
        self.lease = Some(lease);
        let mut figures = vec![family::ROUND_SECONDS.is([], began.elapsed().as_secs_f64())];
        for (part, answer) in answers {
            figures.extend(self.told(part, answer));
        }
        self.queries.time_next(self.config, &self.read).await;
        self.documents.write(self.config, &figures).await;
        Ok(figures)
    }

    /// The connection that holds the lock.
    async fn lease(&mut self) -> Result<PgConnection, Failure> {
        let (held, write) = (self.lease.take(), self.write.clone());
        let fail = |error| write.failure(error);
        let taken = async {
            if let Some(mut held) = held {
                held.ping().await.map_err(fail)?;
                return Ok(held);
            }
            let mut lease = write.pool.acquire().await.map_err(fail)?.detach();
            if !session::alone(&mut lease, "observe", &self.config.namespace, "all").await.map_err(fail)? {
                return Err(Failure::Busy("another process exports the figures of the namespace".to_owned()));
            }
            session::set(&mut lease, BY_INDEX).await.map_err(fail)?;
            Ok(lease)
        };
        write.in_time(taken).await
    }

    async fn ask(&mut self, lease: &mut PgConnection) -> Answers {
        let Self { config, write, read, outbox, slow, services, .. } = self;
        let Services { connect, elasticsearch, registry } = services;
        let (facts_written, facts_read, slot, connector, rebuilds, locks, elasticsearch, registry) = tokio::join!(
            write.in_time(databases::facts(write)),
            read.in_time(databases::facts(read)),
            write.in_time(databases::slot(config, write)),
            services::connector(connect, config, write),
            read.in_time(rebuilds(config, read)),
            locks::look(write, read),
            elasticsearch.answers(config),
            registry.answers(config),
        );
        let uncarried = outbox.look(config, write, lease).await;
        let both = (&facts_written, &facts_read);
        let lags = tokio::task::block_in_place(|| lag::measure(config, both, LOOK_TIME_MAX));
        let work = slow.look(config, write, read).await;
        let now = Utc::now();
        let lags = lags.map(|kafka| figures::of_lags(&kafka.lags, uncarried.as_ref().ok(), now));
        vec![
            ("write", facts_written.map(|facts| figures::of_facts(&facts, now))),
            ("read", facts_read.map(|facts| figures::of_facts(&facts, now))),
            ("kafka", lags),
            ("outbox", uncarried.map(|uncarried: Uncarried| figures::of_outbox(&uncarried, now))),
            ("slot", slot.map(|slot| figures::of_slot(slot.as_ref()))),
            ("connect", connector.map(|connector| figures::of_connector(connector.as_ref()))),
            ("rebuilds", rebuilds),
            ("locks", locks),
            ("elasticsearch", elasticsearch.map(|()| Vec::new())),
            ("registry", registry.map(|()| Vec::new())),
            ("work", work),
        ]
    }

    /// The figures of a part, with its success and its timestamp.
    fn told(&mut self, part: &'static str, answer: Result<Vec<Figure>, Failure>) -> Vec<Figure> {
        let answered = answer.is_ok();
        let mut figures = answer.unwrap_or_else(|error| {
            if self.unknown.insert(part) {
                tracing::warn!(part, %error, "the figures of a part are unknown");
            }
            Vec::new()
        });
        if answered {
            self.answered.insert(part, Utc::now());
            self.unknown.remove(part);
        }
        figures.push(family::SUCCESS.is([part], f64::from(u8::from(answered))));
        let at = self.answered.get(part).map(|at| family::TIMESTAMP.is([part], number(at.timestamp())));
        figures.extend(at);
        figures
    }
}

/// The progress of building generations.
async fn rebuilds(config: &Config, read: &Database) -> Result<Vec<Figure>, Failure> {
    let live = generations::live(&read.pool).await.map_err(|error| read.failure(error))?;
    let building = live.iter().filter(|one| one.state == State::Building);
    let models = layout::read_models(config);
    let mut figures = Vec::new();
    for one in building {
        let Some(model) = models.iter().find(|model| model.name == one.view) else { continue };
        figures.extend(rebuild(config, read, model, &live).await?);
    }
    Ok(figures)
}

async fn rebuild(
    config: &Config,
    read: &Database,
    model: &ReadModel,
    live: &[generations::Generation],
) -> Result<Vec<Figure>, Failure> {
    let all = Generations(live.iter().filter(|one| one.view == model.name).cloned().collect());
    let (serving, Some(building)) = (all.serving()?, all.building()) else { return Ok(Vec::new()) };
    let pair = Pair::new(&config.namespace, model, serving, building.generation);
    let position = pair.position_now(read).await?;
    let number_of = building.generation.to_string();
    let labels = [model.name, number_of.as_str()];
    Ok(vec![
        family::REBUILD_RECORDS.is(labels, number(position.goal)),
        family::REBUILD_LEFT.is(labels, number(position.behind)),
        family::REBUILD_SECONDS.is(labels, seconds_since(building.started_at, Utc::now())),
    ])
}
