//! Compares topics, rows and documents in turn, and repairs.

mod repairs;
mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_engine::Role;
use millrace_store::verified;
use sqlx::PgConnection;

use super::Scope;
use super::index::Index;
use super::log::{self, LogDocuments, Logged};
use super::only::Only;
use super::repair::RepairScope;
use super::report::{Compared, Report};
use super::{commands, horizon, ledger, provider, topics};
use crate::config::Config;
use crate::elastic::Client;
use crate::failure::Failure;
use crate::index_reader::IndexReader;
use crate::layout::{ReadModel, Side};
use crate::listener::Listener;
use crate::outbox::pace::Pace;
use crate::outbox::refold::Refold;
use crate::postgres::Database;
use crate::replay::generations::Generations;
use crate::replay::session;
use crate::replay::shapes;
use crate::roles::Roles;

/// The delay between attempts to take the lock of a view.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// The depth of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Everything.
    Whole,
    /// What is new since the last comparison, and a part of the rest in turn. Everything of a part that was not compared as a
    /// whole for this long, or that had findings the last time.
    New(Duration),
}

/// Compares what is stored with the outbox.
pub struct Auditor<'a> {
    config: &'a Config,
    write: Database,
    read: Database,
    elastic: Client,
    roles: Roles,
    patience: Duration,
    /// Events per second that are folded, at most.
    per_second: Option<u32>,
    listener: Option<&'a dyn Listener>,
    depth: Depth,
}

impl<'a> Auditor<'a> {
    /// Debezium and publishing get `patience` to catch up.
    ///
    /// # Errors
    /// When a client cannot be set up.
    pub fn new(config: &'a Config, patience: Duration) -> Result<Self, Failure> {
        let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
        let (elastic, roles) = (Client::new(&config.elasticsearch)?, Roles::new(config)?);
        Ok(Self {
            config,
            write,
            read,
            elastic,
            roles,
            patience,
            per_second: None,
            listener: None,
            depth: Depth::Whole,
        })
    }

    /// Limits the folded events per second.
    pub fn in_the_background(self, per_second: u32) -> Self {
        Self { per_second: Some(per_second), ..self }
    }

    /// Sets the depth.
    pub fn at_depth(self, depth: Depth) -> Self {
        Self { depth, ..self }
    }

    /// Reports its progress.
    pub fn with_listener(self, listener: &'a dyn Listener) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// Parts that were compared as a whole since this time are compared incrementally; `None`: everything is compared as a whole.
    fn whole_since(&self) -> Option<DateTime<Utc>> {
        match self.depth {
            Depth::Whole => None,
            Depth::New(every) => {
                Some(Utc::now().checked_sub_signed(TimeDelta::from_std(every).ok()?).unwrap_or_default())
            }
        }
    }

    fn pace(&self) -> Pace {
        self.per_second.map_or_else(Pace::unbounded, Pace::of)
    }

    /// The refold of a view.
    fn refold(&self, role: Arc<dyn Role>, serving: i32) -> Refold<'_> {
        let refold = Refold::new(self.config, [&self.write, &self.read], role, serving).at(self.pace());
        match self.listener {
            Some(listener) => refold.with_listener(listener),
            None => refold,
        }
    }

    /// Compares everything in scope, and repairs for an operator. One process at a time compares a view, or everything. Refused
    /// while a later release is deployed: this build's fold would judge, and repair, what that has written.
    ///
    /// # Errors
    /// [`Failure::Busy`] when another process does so for longer than `patience`; [`Failure`].
    pub async fn look(
        &self,
        scope: &Scope,
        mut repairs: Option<&mut RepairScope>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        self.write.leave_to_later("verify").await?;
        let mut alone = None;
        if scope.topics {
            alone = Some(self.alone("everything").await?);
            commands::advance(&self.write, horizon::OPEN_AT_MOST).await?;
            self.topics(repairs.as_deref_mut(), report).await?;
        }
        for model in &scope.models {
            match &model.table {
                None => self.log(model, repairs.as_deref_mut(), report).await?,
                Some(_) => self.view(model, scope.only.as_ref(), repairs.as_deref_mut(), report).await?,
            }
        }
        drop(alone);
        match &scope.only {
            Some(Only::Customer(customer_id)) => self.books(scope, customer_id, report).await,
            Some(Only::Key(_)) | None => Ok(()),
        }
    }

    /// Compares what others keep of a customer's money: the ledger, and the payment provider.
    async fn books(&self, scope: &Scope, customer_id: &str, report: &mut Report) -> Result<(), Failure> {
        let names = |view: &str| scope.models.iter().any(|model| model.name == view);
        if names(ledger::VIEW) {
            let books = ledger::of_customer(&self.read, customer_id).await;
            let books = books.map_err(|error| self.read.failure(error))?;
            report.add_books((books.compared, books.findings));
            report.ledger_left_out = Some(books.left_out);
        }
        if names(provider::VIEW) {
            let databases = (&self.write, &self.read);
            let found = provider::of_customer(self.config, databases, customer_id).await?;
            found.into_iter().for_each(|found| report.add_books(found));
        }
        Ok(())
    }

    async fn topics(&self, repairs: Option<&mut RepairScope>, report: &mut Report) -> Result<(), Failure> {
        let since = self.whole_since();
        let found = topics::check(self.config, &self.write, self.patience, self.pace(), since).await?;
        found.remember(&self.write).await?;
        let events = u64::try_from(found.events).unwrap_or_default();
        report.compared.push(Compared { name: "topics".to_owned(), events, rows: None, documents: None });
        if let Some(repairs) = repairs {
            report.repaired += self.emit(&found.lack, repairs).await?;
        }
        report.more += found.lack.more;
        report.findings.extend(found.lack.listed.into_iter().map(|missing| missing.finding));
        Ok(())
    }

    /// The serving generation, if it has this build's shape; this build cannot judge another shape.
    async fn serving(&self, model: &ReadModel) -> Result<Option<i32>, Failure> {
        let live = Generations::of(&self.read, model.name).await?;
        let serving = live.serving()?;
        let unfit = shapes::unfit(&self.read, std::iter::once(model), &live.0).await?;
        match unfit.get(&(model.name.to_owned(), serving)) {
            None => Ok(Some(serving)),
            Some(why) => {
                tracing::warn!(view = model.name, "not compared with its events: {why}");
                Ok(None)
            }
        }
    }

    /// A connection with the lock of a view; waits for another process for at most `patience`.
    async fn alone(&self, view: &str) -> Result<PgConnection, Failure> {
        let fail = |error| self.read.failure(error);
        let mut connection = session::open(&self.read).await.map_err(fail)?;
        let until = Instant::now() + self.patience;
        while !session::alone(&mut connection, "verify", &self.config.namespace, view).await.map_err(fail)? {
            if Instant::now() > until {
                return Err(Failure::Busy(format!("{view} is being verified by another process")));
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
        Ok(connection)
    }

    fn index<'i>(&'i self, view: &'i str, generation: i32, role: Arc<dyn Role>) -> Index<'i> {
        let name = self.config.namespace.index(view, generation);
        let reader = IndexReader { elastic: &self.elastic, name };
        Index { reader, read: &self.read, role, view, patience: self.patience }
    }

    async fn log(
        &self,
        model: &ReadModel,
        repairs: Option<&mut RepairScope>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let Some(serving) = self.serving(model).await? else { return Ok(()) };
        let Some(role) = self.roles.view(model.name, serving) else { return Ok(()) };
        let index = self.index(model.name, serving, role);
        let databases = [&self.write, &self.read];
        let log = LogDocuments { config: self.config, databases, model, index };
        let mark = match self.whole_since() {
            Some(since) => log::Mark::of(&self.read, model, serving, since).await?,
            None => None,
        };
        let now = horizon::settled(&self.write, horizon::OPEN_AT_MOST).await?;
        let Logged { checked, expected, behind } = log.check(self.pace(), mark.as_ref()).await?;
        if let Some(repairs) = repairs {
            self.repair_documents(&log.index, &expected, &checked.findings, repairs, report).await?;
        }
        if let Some(now) = now.filter(|_| checked.findings.is_empty()) {
            let mark = log::Mark::next(mark, (model, serving), now, behind);
            let set = verified::set(&self.read.pool, model.name, &mark).await;
            set.map_err(|error| self.read.failure(error))?;
        }
        let (name, events) = (model.name.to_owned(), u64::try_from(checked.count).unwrap_or_default());
        report.compared.push(Compared { name, events, rows: None, documents: Some(checked.count) });
        report.findings.extend(checked.findings);
        Ok(())
    }
}
