//! Samples of what was compared before: each comparison takes the next part, so that everything is compared again from time to
//! time.

use std::ops::ControlFlow;
use std::time::Duration;

use millrace_store::{outbox, stream};
use rdkafka::message::Message as _;

use super::expected::{Unexpected, event};
use super::finding::Finding;
use super::places::{Place, find};
use super::unexpected::in_the_place_of_events;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{Reader, Seen};
use crate::outbox::pace::Pace;
use crate::postgres::Database;
use crate::replay::session;

/// The number of comparisons after which everything was compared again: a day at the default interval.
pub(super) const LOOKS: i64 = 96;
/// The smallest part.
pub(super) const LEAST: i64 = 1_000;
/// Records of a page.
const AT_ONCE: usize = 5_000;
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The size of one part.
pub(super) fn part(of: i64) -> i64 {
    (of / LOOKS + 1).max(LEAST)
}

/// Old records that differ from the outbox's event with their version, with the id of that event.
pub(super) async fn records(
    config: &Config,
    write: &Database,
    (before, reached): (&[Place], &mut [Place]),
    pace: &mut Pace,
) -> Result<Vec<(Unexpected, String)>, Failure> {
    let mut connection = session::open(write).await.map_err(|error| write.failure(error))?;
    let mut wrong = Vec::new();
    for place in reached.iter_mut() {
        let Some(known) = find(before, &place.topic, place.partition) else { continue };
        place.carry_on(known);
        if !known.is_sampled() {
            continue;
        }
        let mut left = part(known.next - known.first);
        while left > 0 {
            let context = config.namespace.event_context(&place.topic).unwrap_or_default().to_owned();
            let most = usize::try_from(left).unwrap_or(AT_ONCE).min(AT_ONCE);
            let (events, next) =
                tokio::task::block_in_place(|| page(config, &context, (&*place, known.next), most))?;
            pace.took(u32::try_from(events.len()).unwrap_or(u32::MAX)).await;
            let events: Vec<&Unexpected> = events.iter().collect();
            let found = in_the_place_of_events(&mut connection, &events).await;
            wrong.extend(found.map_err(|error| write.failure(error))?);
            left -= i64::try_from(most).unwrap_or(left);
            place.sampled = next;
            if next >= known.next {
                place.sampled = known.first;
                break;
            }
        }
    }
    Ok(wrong)
}

/// The next events of a partition up to an offset, and the start of the next page.
fn page(
    config: &Config,
    context: &str,
    (place, end): (&Place, i64),
    most: usize,
) -> Result<(Vec<Unexpected>, i64), Failure> {
    let reader = Reader::new(&config.kafka)?;
    let (mut events, mut next, mut read) = (Vec::new(), place.sampled.max(place.first), 0);
    reader.visit(&place.topic, [(place.partition, next)], SILENCE_MAX, |seen| {
        match seen {
            Seen::End(_) => next = end,
            Seen::Unfetchable(_, offsets, _) => next = offsets.end,
            Seen::Record(message) if message.offset() >= end => next = end,
            Seen::Record(message) => {
                events.extend(event(context, message));
                (next, read) = (message.offset() + 1, read + 1);
            }
        }
        if next >= end || read >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok((events, next))
}

/// Those of the next streams whose number of events differs from their version, and the stream after which to continue.
pub(super) async fn streams(
    write: &Database,
    behind: &(String, String),
) -> sqlx::Result<(Vec<Finding>, (String, String))> {
    let most = part(stream::about(&write.pool).await?);
    let last = stream::behind(&write.pool, behind, most).await?;
    let wrong = outbox::miscounted(&write.pool, behind, most).await?;
    let finding = |(context, stream, version, events): (String, String, i64, i64)| {
        Finding::miscounted((&context, &stream), version, events)
    };
    Ok((wrong.into_iter().map(finding).collect(), last.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_compared_within_so_many_looks() {
        for of in [0, 1, LEAST, 1_000_000, 10_000_000] {
            assert!(part(of) * LOOKS >= of);
        }
    }
}
