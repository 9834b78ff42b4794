//! Waiting until every view has caught up: everything that was decided is in Kafka, applied and published.

use std::time::{Duration, Instant};

use super::databases::{self, Blocked, Decided, Facts};
use super::lag::{self, Kafka};
use super::under_way;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::listener::Listener;
use crate::postgres::Database;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Waits until nothing is behind.
///
/// # Errors
/// [`Failure::Refused`] when time is up, with what is behind, or when records were deleted before they were read;
/// [`Failure::Unreachable`].
pub async fn wait(config: &Config, timeout: Duration, listener: &dyn Listener) -> Result<(), Failure> {
    let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
    let until = Instant::now() + timeout;
    let (mut shown, mut decided) = (String::new(), None);
    loop {
        let (behind, seen) = behind(config, (&write, &read), decided).await?;
        decided = Some(seen);
        if behind.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Failure::refused(format!("not caught up after {} s: {behind}", timeout.as_secs())));
        }
        if behind != shown {
            listener.say(&format!("behind: {behind}"));
            shown = behind;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Texts for people: what is behind; empty when nothing is.
///
/// What each query finds must be in the next one's answer, so the order is that in which a record causes another: offsets of the
/// write side, sagas and calls, the outbox, offsets of the read side, Kafka. When nothing is behind, every record that was in Kafka at
/// the end had been applied at the beginning, and what that led to was carried too.
async fn behind(
    config: &Config,
    (write, read): (&Database, &Database),
    decided: Option<Decided>,
) -> Result<(String, Decided), Failure> {
    let written = databases::facts(write).await;
    let begun = under_way::look(config, write, None).await?;
    let decided = databases::decided(write, decided).await?;
    let folded = databases::facts(read).await;
    let mut kafka = in_kafka(config, (&written, &folded))?;
    let mut left = uncarried(&decided, &kafka);
    if !left.is_empty() && databases::is_carried(config, write, &decided).await? {
        left.clear();
        // What was carried since it was measured has been applied by then, or is behind.
        kafka = in_kafka(config, (&written, &folded))?;
    }
    let blocked: Vec<Blocked> = [written?, folded?].into_iter().flat_map(|facts| facts.blocked).collect();
    let begun = begun.iter().map(ToString::to_string).collect();
    Ok(([left, missing(&kafka, &blocked), begun].concat().join(", "), decided))
}

fn in_kafka(
    config: &Config,
    facts: (&Result<Facts, Failure>, &Result<Facts, Failure>),
) -> Result<Kafka, Failure> {
    let kafka = tokio::task::block_in_place(|| lag::measure(config, facts, lag::LOOK_TIME_MAX))?;
    match kafka.deleted().as_slice() {
        [] => Ok(kafka),
        deleted => Err(Failure::refused(deleted.join("\n"))),
    }
}

/// Topics whose number of records differs from the number that were decided. Then only Debezium's position can tell: records that
/// were carried twice, transaction markers, or a topic that was created again make the counts differ.
fn uncarried(decided: &Decided, kafka: &Kafka) -> Vec<String> {
    let topics = kafka.topics.iter().filter_map(|topic| {
        let left = decided.rows.get(&topic.name)? - topic.written;
        match left {
            0 => None,
            1.. => Some(format!("{}: {left} records still in the outbox", topic.name)),
            _ => Some(format!("{}: Debezium has not confirmed the outbox yet", topic.name)),
        }
    });
    topics.collect()
}

/// Records that are not applied or published. Keys behind a dead letter wait for an operator and do not count. Records behind an
/// open transaction count.
fn missing(kafka: &Kafka, blocked: &[Blocked]) -> Vec<String> {
    let applied = kafka.lags.iter().filter_map(|lag| {
        let (records, unpublished) = (lag.records, lag.unpublished.unwrap_or_default());
        (records + unpublished > 0)
            .then(|| format!("{}: {records} records to apply, {unpublished} to publish", lag.group))
    });
    let withheld = kafka.lags.iter().filter(|lag| lag.withheld > 0);
    let withheld = withheld.map(|lag| {
        format!("{}: {} records of {} behind an open transaction", lag.group, lag.withheld, lag.topic)
    });
    let retried = blocked.iter().filter(|blocked| blocked.status != "dead").map(|blocked| {
        format!("{}: {} keys {}, {} records", blocked.group, blocked.keys, blocked.status, blocked.records)
    });
    applied.chain(withheld).chain(retried).collect()
}

#[cfg(test)]
mod tests {
    use super::super::lag::{Lag, Topic};
    use super::*;

    fn kafka(written: i64, lag: Lag) -> Kafka {
        Kafka {
            topics: vec![Topic { name: "t".to_owned(), partitions: 1, records: written, written }],
            lags: vec![lag],
        }
    }

    #[test]
    fn caught_up_means_applied_published_and_not_withheld() {
        let (lag, missing) = (Lag::default(), |lag| missing(&kafka(5, lag), &[]));
        assert!(missing(lag.clone()).is_empty());
        for behind in [
            Lag { records: 1, ..lag.clone() },
            Lag { unpublished: Some(1), ..lag.clone() },
            Lag { withheld: 1, ..lag.clone() },
        ] {
            assert_eq!(missing(behind).len(), 1);
        }
    }

    #[test]
    fn only_as_many_records_as_were_decided_need_no_confirmation_by_debezium() {
        let decided = Decided::of([("t", 5)]);
        assert!(uncarried(&decided, &kafka(5, Lag::default())).is_empty());
        for other in [4, 6] {
            assert_eq!(uncarried(&decided, &kafka(other, Lag::default())).len(), 1);
        }
    }
}
