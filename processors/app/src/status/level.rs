//! Waiting until every view is level: all that was decided is in Kafka, applied and published.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::databases::{self, Blocked};
use super::lag::{self, Kafka};
use super::under_way;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::output;
use crate::postgres::Database;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks until nothing is behind.
///
/// # Errors
/// [`Failure::Refused`] when time is up, which says what is behind; [`Failure::Unreachable`].
pub(super) async fn wait(config: &Config, timeout: Duration) -> Result<(), Failure> {
    let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
    let until = Instant::now() + timeout;
    let mut shown = String::new();
    loop {
        let behind = behind(config, &write, &read).await?;
        if behind.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Failure::refused(format!("not level after {} s: {behind}", timeout.as_secs())));
        }
        if behind != shown {
            output::say(&format!("behind: {behind}"));
            shown = behind;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is behind, for people; empty when nothing is. What goes on by itself is asked for first, so that what ends
/// while we look is in the outbox; then the outbox is counted, so that what is decided while we look does not count.
async fn behind(config: &Config, write: &Database, read: &Database) -> Result<String, Failure> {
    let before = under_way::look(config, write).await?;
    let decided = databases::outbox(write).await?;
    let (written, folded) = (databases::facts(write).await, databases::facts(read).await);
    let kafka = tokio::task::block_in_place(|| lag::measure(config, &written, &folded))?;
    let blocked: Vec<Blocked> = [written?, folded?].into_iter().flat_map(|facts| facts.blocked).collect();
    // Or it has begun meanwhile, with what was not applied a moment ago.
    let begun = if before.is_empty() { under_way::look(config, write).await? } else { before };
    let begun = begun.iter().map(ToString::to_string).collect();
    Ok([missing(&decided, &kafka, &blocked), begun].concat().join(", "))
}

/// A key behind a dead letter waits for somebody, not for time: it is nothing to wait for.
fn missing(decided: &HashMap<String, i64>, kafka: &Kafka, blocked: &[Blocked]) -> Vec<String> {
    let carried = kafka.topics.iter().filter_map(|topic| {
        let left = decided.get(&topic.name)? - topic.records;
        (left > 0).then(|| format!("{}: {left} records still in the outbox", topic.name))
    });
    let applied = kafka.lags.iter().filter_map(|lag| {
        let (records, unpublished) = (lag.records, lag.unpublished.unwrap_or_default());
        (records + unpublished > 0)
            .then(|| format!("{}: {records} records to apply, {unpublished} to publish", lag.group))
    });
    let retried = blocked.iter().filter(|blocked| blocked.status != "dead").map(|blocked| {
        format!("{}: {} keys {}, {} records", blocked.group, blocked.keys, blocked.status, blocked.records)
    });
    carried.chain(applied).chain(retried).collect()
}

#[cfg(test)]
mod tests {
    use super::super::lag::{Lag, Topic};
    use super::*;

    fn kafka(records: i64, unapplied: i64, unpublished: i64) -> Kafka {
        let name = "t".to_owned();
        let lag = Lag {
            group: "g".to_owned(),
            topic: name.clone(),
            records: unapplied,
            seconds: None,
            unpublished: Some(unpublished),
            unclaimed: 0,
        };
        Kafka { topics: vec![Topic { name, partitions: 1, records }], lags: vec![lag] }
    }

    #[test]
    fn level_means_carried_applied_and_published() {
        let decided = HashMap::from([("t".to_owned(), 5)]);
        assert!(missing(&decided, &kafka(5, 0, 0), &[]).is_empty());
        assert!(missing(&decided, &kafka(6, 0, 0), &[]).is_empty(), "Debezium may bring a record twice");
        for behind in [kafka(4, 0, 0), kafka(5, 1, 0), kafka(5, 0, 1)] {
            assert_eq!(missing(&decided, &behind, &[]).len(), 1);
        }
    }
}
