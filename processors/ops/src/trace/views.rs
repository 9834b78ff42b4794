//! Which views have applied the events, and whether their documents are in Elasticsearch.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_store::{consumer_offset, progress};
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::serde_as;

use super::walk::Walked;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{self, ReadModel};
use crate::moment::Written;
use crate::postgres::Database;
use crate::replay::generations::{self, State};

/// How far a view is.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "TraceView")]
pub struct Viewed {
    /// Its name.
    pub view: String,
    /// The number of these events that its contexts have.
    pub events: usize,
    /// How many of them it has applied; `None` for a log, which is in Elasticsearch alone.
    pub applied: Option<usize>,
    /// When it last applied an event of these streams, by the clock of the read side; later than these events when the streams have
    /// gone on.
    #[serde_as(as = "Option<Written>")]
    #[schemars(with = "Option<Written>")]
    pub applied_at: Option<DateTime<Utc>>,
    /// Applied records of its group whose documents are not in Elasticsearch yet; `None` for a view that has no index.
    pub unpublished: Option<i64>,
}

impl Viewed {
    /// Whether it has applied all of them, and published what it has applied.
    pub fn is_level(&self) -> bool {
        self.applied.is_none_or(|applied| applied == self.events) && self.unpublished.unwrap_or_default() <= 0
    }
}

/// Version and time by group, context and stream.
type Reached = BTreeMap<(String, String, String), (i64, Option<DateTime<Utc>>)>;

/// The views that read one of the events.
pub(super) async fn of(config: &Config, read: &Database, walked: &Walked) -> Result<Vec<Viewed>, Failure> {
    let models = layout::read_models(config);
    let (reached, unpublished) =
        look(config, read, walked, &models).await.map_err(|error| read.failure(error))?;
    let viewed = |model: &ReadModel| {
        let group = config.namespace.group(model.name);
        let events: Vec<_> =
            events(walked).filter(|(context, ..)| model.contexts.contains(context)).collect();
        let reached_by = |(context, stream, _): &(&str, &str, i64)| {
            reached.get(&(group.clone(), (*context).to_owned(), (*stream).to_owned())).copied()
        };
        let is_applied =
            |event: &&(&str, &str, i64)| reached_by(event).is_some_and(|(reached, _)| reached >= event.2);
        Viewed {
            view: model.name.to_owned(),
            events: events.len(),
            applied: model.table.as_ref().map(|_| events.iter().filter(is_applied).count()),
            applied_at: events.iter().filter_map(|event| reached_by(event)?.1).max(),
            unpublished: model.mapping.as_ref().map(|_| unpublished.get(&group).copied().unwrap_or_default()),
        }
    };
    Ok(models.iter().map(viewed).filter(|one| one.events > 0).collect())
}

/// Context, stream and version of each event.
fn events(walked: &Walked) -> impl Iterator<Item = (&str, &str, i64)> {
    walked
        .heads
        .values()
        .filter_map(|head| Some((head.context.as_str(), head.stream.as_str(), head.version?)))
}

/// How far the serving generations have folded the streams, and what they have not published.
async fn look(
    config: &Config,
    read: &Database,
    walked: &Walked,
    models: &[ReadModel],
) -> sqlx::Result<(Reached, BTreeMap<String, i64>)> {
    let live = generations::live(&read.pool).await?;
    let serving = |view: &str| {
        live.iter().find(|one| one.view == view && one.state == State::Serving).map(|one| one.generation)
    };
    let groups: Vec<(String, i32, &ReadModel)> = models
        .iter()
        .filter_map(|model| Some((config.namespace.group(model.name), serving(model.name)?, model)))
        .collect();
    let streams = walked.streams();
    let asked: Vec<(&str, i32, &str, &str)> = groups
        .iter()
        .flat_map(|(group, generation, model)| {
            let of_view = streams.iter().filter(|(context, _)| model.contexts.contains(context));
            of_view.map(|(context, stream)| (group.as_str(), *generation, *context, *stream))
        })
        .collect();
    let reached = progress::reached(&read.pool, &asked).await?.into_iter();
    let reached = reached
        .map(|(group, context, stream, version, at)| ((group, context, stream), (version, at)))
        .collect();
    let mut unpublished = BTreeMap::new();
    for (group, _, _, applied, published) in consumer_offset::serving(&read.pool).await? {
        *unpublished.entry(group).or_default() += applied - published;
    }
    Ok((reached, unpublished))
}
