//! Waiting for the end of a deployment: every view serves in this build's shape.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_engine::release::release;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{self, ReadModel, Side};
use crate::listener::Listener;
use crate::postgres::Database;
use crate::replay::due;
use crate::replay::generations::{self, Generation, State};
use crate::replay::session::Pair;
use crate::replay::shapes::{self, Due};
use crate::replay::watch::Progress;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A view that does not serve in this build's shape.
struct Missing {
    view: &'static str,
    why: String,
    /// Whether it waits for an operator instead of `millrace run`.
    stays: bool,
}

/// Progress and last message of each view.
type Seen = BTreeMap<&'static str, (Progress, String)>;

/// Waits until every view serves in this build's shape, and reports the progress of rebuilds.
///
/// # Errors
/// [`Failure::Refused`] when time is up, or as soon as all remaining views wait for an operator; it names the views and the
/// reasons.
pub async fn until_served(
    config: &Config,
    timeout: Duration,
    listener: &dyn Listener,
) -> Result<(), Failure> {
    let (read, models) = (Database::of(config, Side::Read)?, layout::read_models(config));
    let (until, mut seen) = (Instant::now() + timeout, Seen::new());
    loop {
        let missing = missing(config, &read, &models, &mut seen).await?;
        if missing.is_empty() {
            return Ok(());
        }
        say(&missing, &mut seen, listener);
        if Instant::now() > until || missing.iter().all(|missing| missing.stays) {
            return Err(refusal(&missing));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn missing(
    config: &Config,
    read: &Database,
    models: &[ReadModel],
    seen: &mut Seen,
) -> Result<Vec<Missing>, Failure> {
    let live = generations::live(&read.pool).await.map_err(|error| read.failure(error))?;
    let unfit = shapes::unfit(read, models.iter(), &live).await?;
    let mut missing = Vec::new();
    for serving in live.iter().filter(|one| one.state == State::Serving) {
        let is_unfit = unfit.contains_key(&(serving.view.clone(), serving.generation));
        let Some(model) = models.iter().find(|model| is_unfit && model.name == serving.view) else {
            continue;
        };
        let due = due::due_of(read, model).await?;
        let why = match due {
            Due::Builds(number) => {
                let progress = &mut seen.entry(model.name).or_default().0;
                built(config, read, model, (serving, number, &live), progress).await?
            }
            other => waits(model.name, other),
        };
        missing.extend(why.map(|(why, stays)| Missing { view: model.name, why, stays }));
    }
    Ok(missing)
}

/// The progress of a building generation.
async fn built(
    config: &Config,
    read: &Database,
    model: &ReadModel,
    (serving, number, live): (&Generation, i32, &[Generation]),
    progress: &mut Progress,
) -> Result<Option<(String, bool)>, Failure> {
    let is_it = |one: &&Generation| one.view == model.name && one.generation == number;
    let is_compared = live.iter().find(is_it).is_some_and(|one| one.comparison.is_some());
    if is_compared {
        let how = format!("millrace replay {} --status", model.name);
        return Ok(Some((format!("generation {number} differs and is not swapped: `{how}`"), true)));
    }
    let pair = Pair::new(&config.namespace, model, serving.generation, number);
    let shown = progress.now(pair.position_now(read).await?);
    Ok(Some((format!("generation {number}: {shown}"), false)))
}

/// Why no generation of this build's shape is being built; `None` when one serves.
fn waits(view: &str, due: Due) -> Option<(String, bool)> {
    match due {
        Due::Serves | Due::Builds(_) => None,
        Due::Begins(_) => Some((
            "its next generation is not begun yet: does `millrace run` of this build run?".to_owned(),
            false,
        )),
        Due::Waits(other) => {
            Some((format!("another build builds generation {other}, which comes first"), false))
        }
        Due::IsTooOld(later) => {
            Some((format!("release {later} serves it, and this build is of release {}", release()), true))
        }
        Due::HadIt(had) => Some((
            format!(
                "generation {had} had this shape and was rolled back, refused or retired: \
                 `millrace replay {view} --to-earliest --execute` builds it again"
            ),
            true,
        )),
    }
}

/// Reports the changes.
fn say(missing: &[Missing], seen: &mut Seen, listener: &dyn Listener) {
    for Missing { view, why, .. } in missing {
        let (_, said) = seen.entry(view).or_default();
        if said != why {
            listener.say(&format!("{view}: {why}"));
            said.clone_from(why);
        }
    }
}

fn refusal(missing: &[Missing]) -> Failure {
    let lines: Vec<String> =
        missing.iter().map(|Missing { view, why, .. }| format!("{view}: {why}")).collect();
    Failure::refused(format!("not every view serves in the shape of this build\n{}", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_an_operator_is_told_from_what_comes_by_itself() {
        let stays = |due| waits("orders", due).map(|(_, stays)| stays);
        assert_eq!(stays(Due::Serves), None);
        assert_eq!([Due::Begins(None), Due::Waits(2)].map(stays), [Some(false); 2]);
        assert_eq!([Due::IsTooOld(2), Due::HadIt(2)].map(stays), [Some(true); 2]);
        assert!(
            waits("orders", Due::HadIt(2))
                .unwrap()
                .0
                .contains("millrace replay orders --to-earliest --execute")
        );
    }
}
