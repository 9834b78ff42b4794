//! Metrics that are queried only once a minute: they change slowly, or their queries take longer under load.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use futures::future::OptionFuture;
use millrace_store::timestamp::Nearest;
use millrace_store::{saga_timer, verified};

use super::family::{self, Figure, number, seconds_since};
use super::figures;
use crate::certificates;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout;
use crate::postgres::Database;
use crate::sagas::{self, Filters};
use crate::status::{lag, under_way};

const ASKED_EVERY: Duration = Duration::from_secs(60);
/// The age of the oldest commands that are counted.
const COMMANDS_OF: TimeDelta = TimeDelta::days(1);
/// As in `millrace saga list --stuck`.
const STUCK_AFTER: Duration = Duration::from_secs(15 * 60);
/// Instances that are counted, at most.
const STUCK_MAX: i64 = 1_000;

/// The last answer, and its time.
#[derive(Default)]
pub(super) struct Slow(Option<(Instant, Vec<Figure>)>);

impl Slow {
    pub(super) async fn look(
        &mut self,
        config: &Config,
        write: &Database,
        read: &Database,
    ) -> Result<Vec<Figure>, Failure> {
        if let Some((asked, known)) = &self.0
            && asked.elapsed() < ASKED_EVERY
        {
            return Ok(known.clone());
        }
        // An old value is not exported in place of an unknown one.
        self.0 = None;
        let found = ask(config, write, read).await?;
        self.0 = Some((Instant::now(), found.clone()));
        Ok(found)
    }
}

async fn ask(config: &Config, write: &Database, read: &Database) -> Result<Vec<Figure>, Failure> {
    let not_before = Some(Utc::now() - COMMANDS_OF);
    let found = tokio::try_join!(
        async {
            let found = write.in_time(under_way::look(config, write, not_before)).await?;
            Ok::<_, Failure>(figures::of_under_way(&found, Utc::now()))
        },
        write.in_time(stuck(config)),
        write.in_time(overdue(config, write)),
        verified_at(config, write, read),
        async { Ok(figures::of_retentions(&lag::retentions(config).await)) },
        async { Ok(certificates(config).await) },
    )?;
    let (under_way, stuck, overdue, verified, retentions, certificates) = found;
    Ok([under_way, stuck, overdue, verified, retentions, certificates].concat())
}

/// When certificates end; what cannot be read is a finding of `millrace doctor`.
async fn certificates(config: &Config) -> Vec<Figure> {
    let all = certificates::all(config).await;
    let known =
        all.iter().filter_map(|certificate| Some((&certificate.setting, certificate.ends.as_ref().ok()?)));
    known.map(|(setting, end)| family::CERTIFICATE.is([setting], number(end.timestamp()))).collect()
}

/// The number of instances of each saga that need an operator.
async fn stuck(config: &Config) -> Result<Vec<Figure>, Failure> {
    let filters = Filters { saga: None, standing: None, ended: false, stuck: true, stuck_after: STUCK_AFTER };
    let sagas = layout::sagas(config);
    let found = OptionFuture::from((!sagas.is_empty()).then(|| sagas::list(config, &filters, STUCK_MAX)));
    let found = found.await.transpose()?.map(|page| page.rows).unwrap_or_default();
    let count = |saga: &str| found.iter().filter(|instance| instance.saga == saga).count();
    let figure = |saga: &layout::Reactor| {
        let stuck = i64::try_from(count(saga.name)).unwrap_or(i64::MAX);
        family::SAGAS_STUCK.is([saga.name], number(stuck))
    };
    Ok(sagas.iter().map(figure).collect())
}

async fn overdue(config: &Config, write: &Database) -> Result<Vec<Figure>, Failure> {
    let sagas: Vec<&str> = layout::sagas(config).iter().map(|saga| saga.name).collect();
    let found = saga_timer::overdue(&write.pool, &sagas).await.map_err(|error| write.failure(error))?;
    let now = Utc::now();
    let figures = sagas.iter().flat_map(|saga| {
        let found = found.iter().find(|(name, ..)| name == saga);
        let (count, age) =
            found.map_or((0, 0.0), |(_, count, Nearest(since))| (*count, seconds_since(*since, now)));
        [family::TIMERS_OVERDUE.is([*saga], number(count)), family::TIMERS_OVERDUE_SECONDS.is([*saga], age)]
    });
    Ok(figures.collect())
}

/// When the auditor last found no difference in each part of the instance; none without an auditor.
async fn verified_at(config: &Config, write: &Database, read: &Database) -> Result<Vec<Figure>, Failure> {
    if config.audit.interval.is_none() {
        return Ok(Vec::new());
    }
    let views: Vec<&str> = layout::read_models(config).iter().map(|model| model.name).collect();
    let mut figures = Vec::new();
    for database in [write, read] {
        let asked = async { verified::when(&database.pool).await.map_err(|error| database.failure(error)) };
        let found = database.in_time(asked).await?;
        let ours = found.iter().filter(|(what, _)| {
            ["topics", "commands"].contains(&what.as_str()) || views.contains(&what.as_str())
        });
        let figure = |(what, at): &(String, _)| {
            let at: &chrono::DateTime<Utc> = at;
            family::VERIFIED.is([what.as_str()], number(at.timestamp()))
        };
        figures.extend(ours.map(figure));
    }
    Ok(figures)
}
