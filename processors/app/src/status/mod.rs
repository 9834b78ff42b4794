//! `millrace status`: how far everything is, at a glance.

mod databases;
mod lag;
mod level;
mod members;
mod report;
mod resets;
mod services;
mod under_way;
mod verdict;

use std::time::Duration;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{self, Side};
use crate::output::{self, Format};
use crate::postgres::Database;
use report::Report;

/// What the exit code says.
pub const HELP: &str = "\
The first line is the verdict. What could not be asked is `unknown` in its place, never none.

Exit codes:
  0  nothing is away, lost or left lying; what is behind is being worked on, what failed is tried again
  1  what waiting does not mend: topics, indices or schemas are missing; records wait in a group where no process works;
     the slot or the connector is lost, failed or held; the write side has lost commits; records were deleted before they
     were read; a reset that the next start refuses; keys wait behind a dead letter, or for longer than a minute for a
     version that is missing. Dead letters that nothing waits behind are only listed.
     With --wait: not everything was level in time
  3  something could not be asked
What can be reached is shown in every case.";

/// Shows what can be reached; the rest says why not.
///
/// # Errors
/// What is away, lost or has failed, after everything else was shown; with `wait`, when not everything is level in that time.
pub async fn status(config: &Config, format: Format, wait: Option<Duration>) -> Result<(), Failure> {
    if let Some(timeout) = wait {
        level::wait(config, timeout).await?;
    }
    let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
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
        resets,
        under_way,
        kept,
    ) = tokio::join!(
        databases::facts(&write),
        databases::facts(&read),
        databases::slot(config, &write),
        services::connector(config, &write),
        services::subjects(config),
        services::indices(config),
        services::process(config),
        databases::generations(&read),
        databases::unfit(config, &read),
        resets::look(config, &write, &read),
        under_way::look(config, &write),
        lag::retentions(config),
    );
    let (resets, sound) = resets::split(resets);
    let kafka = tokio::task::block_in_place(|| lag::measure(config, &write, &read));
    let kafka = kafka.map(|kafka| kafka.keeping(&kept));
    let members = match &kafka {
        Ok(kafka) => tokio::task::block_in_place(|| members::members(config, kafka)),
        // Said once, where Kafka is.
        Err(_) => Ok(Default::default()),
    };
    let report = Report {
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
    };
    output::print(format, &report.text(), &report.json())?;
    report.verdict()
}
