//! The state of an instance: topics, groups, databases, services, and problems.

mod caught_up;
pub(crate) mod databases;
mod document;
pub(crate) mod lag;
mod members;
mod namespaces;
mod report;
mod resets;
pub(crate) mod services;
pub(crate) mod under_way;
mod verdict;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{self, Side};
use crate::postgres::Database;
use crate::reached::{self, Kept};

pub use caught_up::wait;
pub use databases::{Blocked, DeadLetters, Facts, Held, Slot, Stand, Unfit};
pub use document::Document;
pub use lag::{Deleted, Kafka, Lag, Stuck, Topic};
pub use namespaces::refuse_unknown;
pub use report::{Report, bytes, missing_connector, missing_slot, shown_connector, shown_slot};
pub use resets::Wish;
pub use services::{Index, Process, Subjects};
pub use under_way::UnderWay;

/// How long the first request to Kafka may take: without its answer no other one would be answered.
const REACHED_WITHIN: Duration = Duration::from_secs(4);

/// Queries everything. A part that does not answer has its error.
///
/// # Errors
/// [`Failure::Usage`] when a client cannot be set up.
pub async fn look(config: &Config) -> Result<Report, Failure> {
    let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
    let mut connect = Kept::default();
    let (
        write,
        read,
        slot,
        connector,
        subjects,
        indices,
        process,
        generations,
        unfit,
        under_way,
        (resets, kept),
    ) = tokio::join!(
        databases::facts(&write),
        databases::facts(&read),
        databases::slot(config, &write),
        services::connector(&mut connect, config, &write),
        services::subjects(config),
        services::indices(config),
        services::process(config),
        databases::generations(&read),
        databases::unfit(config, &read),
        under_way::look(config, &write, None),
        settings_of_kafka(config, &write, &read),
    );
    let (resets, sound) = resets::split(resets);
    let kafka = kept.and_then(|kept| {
        let facts = (&write, &read);
        let kafka = tokio::task::block_in_place(|| lag::measure(config, facts, lag::LOOK_TIME_MAX))?;
        Ok(kafka.keeping(&kept))
    });
    let members = match &kafka {
        Ok(kafka) => tokio::task::block_in_place(|| members::members(config, kafka)),
        // The error is already reported for Kafka.
        Err(_) => Ok(Default::default()),
    };
    Ok(Report {
        groups: layout::groups(config).into_iter().map(|group| (group.side, group.role)).collect(),
        members,
        namespace: config.namespace.to_string(),
        kafka,
        write,
        read,
        slot,
        connector,
        subjects,
        indices,
        process,
        generations,
        unfit,
        resets,
        sound,
        under_way,
    })
}

/// Resets by operators, and how long topics keep records, unless Kafka is away: then nothing else is asked of it.
async fn settings_of_kafka(
    config: &Config,
    write: &Database,
    read: &Database,
) -> (Result<Vec<Wish>, Failure>, Result<BTreeMap<String, f64>, Failure>) {
    let asked = config.clone();
    let asked =
        tokio::task::spawn_blocking(move || reached::Kafka::default().answers(&asked, REACHED_WITHIN));
    let panicked = |error| Err(Failure::refused("Kafka cannot be asked").caused_by(error));
    match asked.await.unwrap_or_else(panicked) {
        Err(away) => (Err(away.clone()), Err(away)),
        Ok(()) => {
            let (resets, kept) = tokio::join!(resets::look(config, write, read), lag::retentions(config));
            (resets, Ok(kept))
        }
    }
}
