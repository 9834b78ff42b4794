//! `millrace setup`: everything that an instance needs, created when it is not there. `millrace teardown`: removed.

mod connector;
mod databases;
mod indices;
mod schemas;
mod steps;
mod teardown;
mod topics;

pub(crate) use connector::State as ConnectorState;
pub use teardown::teardown;

use crate::cli::Format;
use crate::config::Config;
use crate::failure::Failure;
use steps::Steps;

/// Creates what is not there, in the order in which one thing needs another. What is refused without side effects
/// (an incompatible schema, a topic of another size) comes first.
///
/// # Errors
/// The first step that fails; running it again goes on from there.
pub async fn setup(config: &Config, format: Format) -> Result<(), Failure> {
    let mut steps = Steps::new(format);
    schemas::register(config, &mut steps).await?;
    topics::create(config, &mut steps).await?;
    databases::create(config, &mut steps).await?;
    connector::create(config, &mut steps).await?;
    indices::create(config, &mut steps).await?;
    steps.finish()
}
