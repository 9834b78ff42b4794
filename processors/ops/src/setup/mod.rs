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
use crate::layout::{self, Topic};
use crate::replay::generations::Generation;
use steps::Steps;

/// Creates what is not there, in the order in which one thing needs another. What is refused without side effects
/// (tables of a later build, an incompatible schema, a topic of another size) comes first. Each step is told when it is done.
///
/// # Errors
/// The first step that fails; running it again goes on from there.
pub async fn setup(config: &Config, tell: Tell<'_>) -> Result<Vec<Step>, Failure> {
    let mut steps = Steps::new(tell);
    databases::refuse_newer(config).await?;
    schemas::register(config, &mut steps).await?;
    topics::create(config, &mut steps).await?;
    let live = databases::create(config, &mut steps).await?;
    topics::ensure(config, &replayed_topics(config, &live)).await?;
    connector::create(config, &mut steps).await?;
    indices::create(config, &live, &mut steps).await?;
    Ok(steps.done)
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
