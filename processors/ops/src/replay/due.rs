//! Generations that a build begins by itself, because it has a view in another shape than the serving one has.

use std::collections::BTreeMap;

use super::build::{self, Wish};
use super::generations::{Generation, State};
use super::shapes::{self, Place, RELEASE_ASKS};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::ReadModel;
use crate::postgres::Database;

/// So many views at a time are built because of their shape: each reads all of its events.
const BUILDS_AT_ONCE: usize = 3;

/// Begins the next generation of every view whose serving one is `unfit`, as far as that is this build's to do, a few at a time.
/// Returns the views and the numbers of what was begun.
///
/// # Errors
/// [`Failure`], of the first that cannot be begun.
pub async fn begin(
    config: &Config,
    read: &Database,
    models: impl Iterator<Item = &ReadModel>,
    (live, unfit): (&[Generation], &BTreeMap<Place, String>),
) -> Result<Vec<(&'static str, i32)>, Failure> {
    let mut begun = Vec::new();
    let building = live.iter().filter(|one| one.state == State::Building).count();
    for model in models {
        let serving = live.iter().find(|one| one.view == model.name && one.state == State::Serving);
        let place = serving.map(|one| (one.view.clone(), one.generation));
        let Some(reason) = place.and_then(|place| unfit.get(&place)) else { continue };
        if building + begun.len() < BUILDS_AT_ONCE && is_due(read, model).await? {
            let wish = Wish { asked_by: RELEASE_ASKS, reason, accept_differences: false };
            begun.push((model.name, build::begin(config, read, model, wish).await?));
        }
    }
    Ok(begun)
}

async fn is_due(read: &Database, model: &ReadModel) -> Result<bool, Failure> {
    let fail = |error| read.failure(error);
    let mut connection = read.pool.acquire().await.map_err(fail)?;
    shapes::is_due(&mut connection, model).await.map_err(fail)
}
