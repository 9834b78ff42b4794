//! Setup and teardown: everything that an instance needs is created if it does not exist, and removed.

mod comments;
mod connector;
mod databases;
pub(crate) mod grants;
mod growth;
mod holders;
pub mod indices;
mod schemas;
mod settings;
mod states;
mod steps;
mod tables;
mod teardown;
pub(crate) mod topics;
pub(crate) mod tries;
mod views;
pub mod wait;

pub use connector::State as ConnectorState;
pub(crate) use connector::{drops_rows, leniently, offsets_ahead};
pub use steps::{Did, Report, Step};
pub use teardown::teardown;

use std::collections::BTreeMap;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{self, ReadModel, Side, Topic};
use crate::postgres::Database;
use crate::replay::due::{self, Waiting};
use crate::replay::generations::Generation;
use crate::replay::shapes::{self, Due, Place};
use steps::Steps;

/// Options of setup.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Allow it although a later release has set the instance up.
    pub downgrade: bool,
    /// Change nothing: each step reports what it would do.
    pub dry_run: bool,
    /// Enlarge topics of commands, events, rejections and outcomes that have fewer partitions.
    pub partitions: Option<i32>,
}

/// Creates what does not exist, in the order of dependencies. Checks without side effects (tables of a later build, connected
/// processes, an incompatible schema, a topic that is too small) come first. Each step is reported when it is done.
///
/// # Errors
/// That of the first step that fails; run it again to continue.
pub async fn setup(config: &Config, options: Options, report: Report<'_>) -> Result<Vec<Step>, Failure> {
    let mut steps = Steps::new(report, options.dry_run);
    databases::refuse_unfit(config, options.downgrade).await?;
    schemas::register(config, &mut steps).await?;
    let smaller = topics::create(config, options.partitions, &mut steps).await?;
    let live = databases::create(config, options.downgrade, &mut steps).await?;
    states::fold_ahead(config, &mut steps).await?;
    growth::enlarge(config, &smaller, &mut steps).await?;
    if !steps.dry {
        topics::ensure(config, &replayed_topics(config, &live)).await?;
    }
    connector::create(config, &mut steps).await?;
    indices::create(config, &live, &mut steps).await?;
    begin_builds(config, &live, &mut steps).await?;
    Ok(steps.done)
}

/// Begins rebuilds of views whose shape differs in this build; `millrace run` builds them.
async fn begin_builds(config: &Config, live: &[Generation], steps: &mut Steps<'_>) -> Result<(), Failure> {
    let (read, models) = (Database::of(config, Side::Read)?, layout::read_models(config));
    let unfit = shapes::unfit(&read, models.iter(), live).await?;
    if steps.dry {
        return report_builds(&read, &models, &unfit, steps).await;
    }
    let (models, mut waiting) = (models.iter(), Waiting::default());
    let begun = due::begin(config, &read, models, (live, &unfit), &mut waiting).await?;
    begun.iter().try_for_each(|(view, number)| {
        let what = format!("{number} of {view}, which `millrace run` builds");
        steps.report(Did::Created, "generation", &what)
    })
}

/// Reports the rebuilds that would be begun.
async fn report_builds(
    read: &Database,
    models: &[ReadModel],
    unfit: &BTreeMap<Place, String>,
    steps: &mut Steps<'_>,
) -> Result<(), Failure> {
    for model in models.iter().filter(|model| unfit.keys().any(|(view, _)| view == model.name)) {
        if let Due::Begins(_) = due::due_of(read, model).await? {
            let what = format!("the next of {}, which `millrace run` builds", model.name);
            steps.report(Did::Created, "generation", &what)?;
        }
    }
    Ok(())
}

/// The retry topics of generations after the first.
fn replayed_topics(config: &Config, live: &[Generation]) -> Vec<Topic> {
    let models = layout::read_models(config);
    let of = |one: &Generation| {
        let model = models.iter().find(|model| model.name == one.view);
        model.map(|model| model.retry_topics(config, one.generation)).unwrap_or_default()
    };
    live.iter().filter(|one| one.generation > 1).flat_map(of).collect()
}
