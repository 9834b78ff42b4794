//! Everything that an instance needs, created when it is not there, and removed.

mod connector;
pub(crate) mod databases;
pub mod indices;
mod schemas;
mod settings;
mod steps;
mod teardown;
pub(crate) mod topics;

pub use connector::State as ConnectorState;
pub(crate) use connector::{leniently, offsets_ahead};
pub use steps::{Did, Step, Tell};
pub use teardown::teardown;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{self, Side, Topic};
use crate::postgres::Database;
use crate::replay::generations::Generation;
use crate::replay::{due, shapes};
use steps::Steps;

/// Creates what is not there, in the order in which one thing needs another. What is refused without side effects
/// (tables of a later build, processes that are connected, an incompatible schema, a topic of another size) comes first. Each step is told when it is done.
///
/// # Errors
/// The first step that fails; running it again goes on from there.
pub async fn setup(config: &Config, tell: Tell<'_>) -> Result<Vec<Step>, Failure> {
    let mut steps = Steps::new(tell);
    databases::refuse_unfit(config).await?;
    schemas::register(config, &mut steps).await?;
    topics::create(config, &mut steps).await?;
    let live = databases::create(config, &mut steps).await?;
    topics::ensure(config, &replayed_topics(config, &live)).await?;
    connector::create(config, &mut steps).await?;
    indices::create(config, &live, &mut steps).await?;
    begin_builds(config, &live, &mut steps).await?;
    Ok(steps.done)
}

/// Views that this build has in another shape: `millrace run` builds them.
async fn begin_builds(config: &Config, live: &[Generation], steps: &mut Steps<'_>) -> Result<(), Failure> {
    let (read, models) = (Database::of(config, Side::Read)?, layout::read_models(config));
    let unfit = shapes::unfit(&read, models.iter(), live).await?;
    let begun = due::begin(config, &read, models.iter(), (live, &unfit)).await?;
    begun.iter().try_for_each(|(view, number)| {
        let what = format!("{number} of {view}, which `millrace run` builds");
        steps.tell(Did::Created, "generation", &what)
    })
}

/// The retry topics of generations that are not the first.
fn replayed_topics(config: &Config, live: &[Generation]) -> Vec<Topic> {
    let models = layout::read_models(config);
    let of = |one: &Generation| {
        let model = models.iter().find(|model| model.name == one.view);
        model.map(|model| model.retry_topics(config, one.generation)).unwrap_or_default()
    };
    live.iter().filter(|one| one.generation > 1).flat_map(of).collect()
}
