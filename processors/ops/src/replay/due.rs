//! Generations that a build begins because its shape of a view differs from that of the serving one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::build::{self, Wish};
use super::generations::{Generation, State};
use super::shapes::{self, Due, Place, RELEASE_ASKS};
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::Reader;
use crate::layout::ReadModel;
use crate::postgres::Database;

/// Views that are rebuilt at the same time because of their shape, at most: each reads all of its events.
const BUILDS_AT_ONCE: usize = 3;
/// How often it is checked, within `processing.abandoned_after`, whether a process works on a generation.
const LOOKS: u32 = 10;

/// The generations of other builds for which this build waits, each with the time of the last check, and since when no process
/// has worked on it.
#[derive(Debug, Default)]
pub struct Waiting(BTreeMap<Place, (Instant, Option<Instant>)>);

/// Begins the next generation of views whose serving one is `unfit`, if that is this build's task, a few at a time. It replaces a
/// generation that a lower release is building. It waits for one that a higher or an equal release is building, unless no process
/// works on it any more. Returns the views and the numbers of what was begun.
///
/// # Errors
/// [`Failure`] of the first one that cannot be begun.
pub async fn begin(
    config: &Config,
    read: &Database,
    models: impl Iterator<Item = &ReadModel>,
    (live, unfit): (&[Generation], &BTreeMap<Place, String>),
    waiting: &mut Waiting,
) -> Result<Vec<(&'static str, i32)>, Failure> {
    let mut begun = Vec::new();
    let building = live.iter().filter(|one| one.state == State::Building).count();
    for model in models {
        let serving = live.iter().find(|one| one.view == model.name && one.state == State::Serving);
        let place = serving.map(|one| (one.view.clone(), one.generation));
        let Some(reason) = place.and_then(|place| unfit.get(&place)) else { continue };
        match due_of(read, model).await? {
            Due::Begins(instead_of) if instead_of.is_some() || building + begun.len() < BUILDS_AT_ONCE => {
                let wish = Wish { asked_by: RELEASE_ASKS, reason, accept_differences: false };
                begun.push((model.name, build::begin(config, read, model, wish).await?));
            }
            Due::Waits(other) if waiting.is_abandoned(config, model, other)? => {
                let why = "no process worked on it";
                build::give_up(config, read, (model.name, other), why).await?;
            }
            _ => {}
        }
    }
    Ok(begun)
}

/// What this build must do about a view.
pub(crate) async fn due_of(read: &Database, model: &ReadModel) -> Result<Due, Failure> {
    let fail = |error| read.failure(error);
    let mut connection = read.pool.acquire().await.map_err(fail)?;
    shapes::due_of(&mut connection, model).await.map_err(fail)
}

impl Waiting {
    /// Whether no process has worked on a generation for the configured time. Only processes of its shape join its group.
    fn is_abandoned(&mut self, config: &Config, model: &ReadModel, generation: i32) -> Result<bool, Failure> {
        let patience = config.processing.abandoned_after;
        let place = (model.name.to_owned(), generation);
        let (looked, since) = self.0.get(&place).copied().unzip();
        if looked.is_some_and(|looked| looked.elapsed() < patience / LOOKS) {
            return Ok(false);
        }
        let group = config.namespace.generation_group(model.name, generation);
        let members = tokio::task::block_in_place(|| Reader::new(&config.kafka)?.members(&group))?;
        let since = match members {
            0 => since.flatten().or_else(|| Some(Instant::now())),
            _ => None,
        };
        self.0.insert(place, (Instant::now(), since));
        Ok(is_over(since.map(|since| since.elapsed()), patience))
    }
}

fn is_over(idle: Option<Duration>, patience: Duration) -> bool {
    idle.is_some_and(|idle| idle >= patience)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_abandoned_when_no_process_has_worked_on_it_for_long_enough() {
        let patience = Duration::from_secs(60);
        for (idle, over) in [(None, false), (Some(Duration::from_secs(59)), false), (Some(patience), true)] {
            assert_eq!(is_over(idle, patience), over, "{idle:?}");
        }
    }
}
