//! Waiting for a rebuild, with its progress, rate and remaining time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use millrace_store::consumer_offset::Position;

use super::generations::{Generation, Generations, State};
use super::session::Pair;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::ReadModel;
use crate::listener::Listener;
use crate::moment;
use crate::postgres::Database;
use crate::setup::indices;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Samples for the rate.
const LOOKS_REMEMBERED: usize = 20;
/// The time without progress after which that is reported.
const STILL_AFTER: Duration = Duration::from_secs(10);

/// Waits until a generation serves, in Elasticsearch too, or was refused, and reports the progress.
///
/// # Errors
/// [`Failure::Refused`] when it was retired meanwhile; [`Failure::Unreachable`].
pub async fn until_decided(
    config: &Config,
    read: &Database,
    model: &ReadModel,
    number: i32,
    listener: &dyn Listener,
) -> Result<Generation, Failure> {
    let mut progress = Progress::default();
    loop {
        let generations = Generations::of(read, model.name).await?;
        let serving = generations.serving()?;
        let found = generations.0.into_iter().find(|generation| generation.generation == number);
        let retired = || Failure::refused(format!("generation {number} of {} was retired", model.name));
        let generation = found.ok_or_else(retired)?;
        if generation.state == State::Serving {
            // The process that swapped does the same after its commit; once this returns, all readers see the swap.
            indices::point_alias(config, model, &generation).await?;
        }
        if generation.state != State::Building || generation.comparison.is_some() {
            return Ok(generation);
        }
        let pair = Pair::new(&config.namespace, model, serving, number);
        let position = pair.position_now(read).await?;
        if let Some(line) = progress.line(position) {
            listener.say(&format!("{} generation {number}: {line}", model.name));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The progress of a rebuild so far.
#[derive(Default)]
pub(crate) struct Progress {
    seen: VecDeque<(Instant, i64)>,
    shown: String,
    moved: Option<Instant>,
}

impl Progress {
    /// A text with the progress.
    pub(crate) fn now(&mut self, position: Position) -> String {
        self.line(position);
        self.shown.clone()
    }

    /// A text if it differs from the last one.
    fn line(&mut self, position: Position) -> Option<String> {
        let now = Instant::now();
        if self.seen.back().is_none_or(|(_, applied)| *applied != position.applied) {
            self.moved = Some(now);
        }
        self.seen.push_back((now, position.applied));
        if self.seen.len() > LOOKS_REMEMBERED {
            self.seen.pop_front();
        }
        let still = self.moved.is_some_and(|moved| moved.elapsed() > STILL_AFTER);
        let line = if still && position.behind > 0 {
            format!("{}; it stands still: does `millrace run` run?", shown(position, 0.0))
        } else {
            shown(position, self.rate())
        };
        (line != self.shown).then(|| self.shown.clone_from(&line)).map(|()| line)
    }

    /// Records per second.
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    fn rate(&self) -> f64 {
        let (Some((from, before)), Some((to, after))) = (self.seen.front(), self.seen.back()) else {
            return 0.0;
        };
        let seconds = to.duration_since(*from).as_secs_f64();
        if seconds > 0.0 { (after - before) as f64 / seconds } else { 0.0 }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a time for people")]
fn shown(position: Position, rate: f64) -> String {
    let Position { goal, applied, behind, unpublished, .. } = position;
    if behind == 0 && unpublished == 0 {
        return format!("{applied} records, caught up; comparing");
    }
    let left = (behind > 0 && rate >= 1.0).then(|| Duration::from_secs_f64(behind as f64 / rate));
    let left = left.map_or_else(String::new, |left| format!(", {} left", moment::shown(left)));
    let publishing = if unpublished > 0 { format!(", {unpublished} to publish") } else { String::new() };
    format!("{applied} of {goal} records, {rate:.0}/s{left}{publishing}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_has_a_rate_and_the_time_that_is_left() {
        let position = Position { goal: 1_000, applied: 400, behind: 600, ..Position::default() };
        assert_eq!(shown(position, 100.0), "400 of 1000 records, 100/s, 6.0 s left");
        assert_eq!(shown(position, 0.0), "400 of 1000 records, 0/s");
        let position = Position { applied: 1_000, behind: 0, ..position };
        assert_eq!(shown(position, 100.0), "1000 records, caught up; comparing");
    }
}
