//! Tells operators of errors, without Prometheus: what is new, what is worse, and what is over, each once.
//!
//! The process that queries the metrics of the namespace does it. The table `notified` has what was told, so that neither a restart
//! nor another process tells it again. A message is sent before that is written: after a crash between the two it is sent again.

mod changes;
mod message;
mod problem;
mod receiver;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_store::notified::Notified;
use millrace_store::{effect, notified};
use serde_json::Value;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::observed::Figure;
use crate::postgres::Database;
use changes::Changes;
use problem::{Problem, WRITE_AWAY};
use receiver::Receivers;

/// Calls that were given up within this time are told.
const GIVEN_UP_WITHIN: TimeDelta = TimeDelta::days(1);

/// What a look at the namespace has shown.
#[derive(Debug, Clone, Default)]
pub enum Seen {
    /// Another process looks, or none has yet.
    #[default]
    Elsewhere,
    /// The write database did not answer, so that it is not known which process looks.
    Away,
    /// Its metrics.
    Figures(Arc<Vec<Figure>>),
}

/// Tells what has changed.
pub struct Notifier<'c> {
    config: &'c Config,
    write: Database,
    receivers: Receivers,
    /// When outages of now were first seen.
    outages: BTreeMap<String, Instant>,
    /// Whether this process is the one that looks, as far as is known.
    looks: bool,
    /// The outage of the write database, which cannot be written there: since when, and whether it was told.
    away: Option<(DateTime<Utc>, bool)>,
    told_at: Option<Instant>,
}

impl<'c> Notifier<'c> {
    /// `None` without `notify.url` and `notify.mail`.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a URL cannot be used.
    pub fn new(config: &'c Config) -> Result<Option<Self>, Failure> {
        let Some(receivers) = Receivers::new(config)? else { return Ok(None) };
        let write = Database::of(config, Side::Write)?;
        let outages = BTreeMap::new();
        Ok(Some(Self { config, write, receivers, outages, looks: false, away: None, told_at: None }))
    }

    /// Tells what has changed, if it is time to. What is not told now is told later.
    pub async fn consider(&mut self, seen: &Seen) {
        if self.told_at.is_some_and(|told| told.elapsed() < self.config.notify.interval) {
            return;
        }
        self.receivers.catch_up().await;
        let done = match seen {
            Seen::Away if self.looks => self.tell_away().await,
            Seen::Away => Ok(()),
            Seen::Elsewhere => {
                self.looks = false;
                self.tell_back().await
            }
            Seen::Figures(figures) => {
                self.looks = true;
                match self.tell_back().await {
                    // One message an interval.
                    Ok(())
                        if self.told_at.is_none_or(|told| told.elapsed() >= self.config.notify.interval) =>
                    {
                        self.tell_changes(figures).await
                    }
                    told => told,
                }
            }
        };
        if let Err(error) = done {
            tracing::debug!(%error, "it is not known what operators were told");
        }
    }

    /// The write database has not answered for a while.
    async fn tell_away(&mut self) -> Result<(), Failure> {
        let (since, told) = *self.away.get_or_insert((Utc::now(), false));
        let lasted = (Utc::now() - since).to_std().unwrap_or_default();
        if told || lasted < self.config.notify.outage_after {
            return Ok(());
        }
        let problem = [Problem::outage("the write database")];
        let changes = Changes { new: problem.iter().collect(), ..Changes::default() };
        if self.send(&changes).await {
            self.away = Some((since, true));
        }
        Ok(())
    }

    /// The write database answers again.
    async fn tell_back(&mut self) -> Result<(), Failure> {
        let Some((since, told)) = self.away else { return Ok(()) };
        let over = [Notified { problem: WRITE_AWAY.to_owned(), level: 1, since, told_at: since }];
        let changes = Changes { over: over.iter().collect(), ..Changes::default() };
        if !told || self.send(&changes).await {
            self.away = None;
        }
        Ok(())
    }

    async fn tell_changes(&mut self, figures: &[Figure]) -> Result<(), Failure> {
        let (now, write) = (Utc::now(), self.write.clone());
        let fail = |error| write.failure(error);
        let mut problems = problem::of(figures, now);
        let asked = async {
            let given_up = effect::given_up(&write.pool, now - GIVEN_UP_WITHIN).await?;
            Ok((given_up, notified::all(&write.pool).await?))
        };
        let (given_up, told) = write.in_time(async { asked.await.map_err(fail) }).await?;
        self.keep_lasting(&mut problems, &told);
        problems.extend(given_up.iter().map(problem::given_up));
        let changes = Changes::of(&told, &problems, |name| problem::would_show(figures, name), now);
        if !changes.is_quiet() && !self.send(&changes).await {
            return Ok(());
        }
        let written = async { remember(&write, &changes, now).await.map_err(fail) };
        write.in_time(written).await
    }

    /// Leaves out outages that may end by themselves soon, but for those that were told.
    fn keep_lasting(&mut self, problems: &mut Vec<Problem>, told: &[Notified]) {
        let now = Instant::now();
        let of_now = problems.iter().filter(|problem| problem.is_outage);
        let since = |problem: &Problem| self.outages.get(&problem.name).copied().unwrap_or(now);
        self.outages = of_now.map(|problem| (problem.name.clone(), since(problem))).collect();
        let lasts = |since: &Instant| since.elapsed() >= self.config.notify.outage_after;
        let is_told = |name: &str| told.iter().any(|known| known.problem == name);
        problems.retain(|Problem { name, .. }| self.outages.get(name).is_none_or(lasts) || is_told(name));
    }

    /// Whether a receiver has taken a message. When none does, everything is told later.
    async fn send(&mut self, changes: &Changes<'_>) -> bool {
        let body: Value = message::of(&self.config.namespace.to_string(), changes, Utc::now());
        self.told_at = Some(Instant::now());
        self.receivers.send(&body).await
    }
}

/// Records what was told.
async fn remember(write: &Database, changes: &Changes<'_>, now: DateTime<Utc>) -> sqlx::Result<()> {
    let new = changes.new.iter().map(|problem| (problem.name.as_str(), problem.level, now));
    let worse = changes.worse.iter().map(|(problem, since)| (problem.name.as_str(), problem.level, *since));
    let told: Vec<(&str, i64, DateTime<Utc>)> = new.chain(worse).collect();
    let over: Vec<&str> = changes.over.iter().map(|known| known.problem.as_str()).collect();
    if told.is_empty() && over.is_empty() && changes.lower.is_empty() {
        return Ok(());
    }
    let mut transaction = write.pool.begin().await?;
    notified::tell(&mut *transaction, &told).await?;
    notified::lower(&mut *transaction, &changes.lower).await?;
    notified::forget(&mut *transaction, &over).await?;
    transaction.commit().await
}
