//! Compares topics, rows and documents in turn, and repairs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_engine::Role;
use millrace_store::names::table;
use millrace_store::{Group, verified};
use serde_json::json;
use sqlx::PgConnection;

use super::Scope;
use super::audited::{AUDITED, Audited};
use super::documents::{Documents, Which};
use super::finding::Finding;
use super::index::{Index, Repaired, Source};
use super::log::{self, LogDocuments, Logged};
use super::repair::{self, RepairScope};
use super::report::{Compared, Report};
use super::rows::{self, Looked, Rows};
use super::topics::{self, Lack, Missing};
use super::what::What;
use super::{commands, copy, emit, folded, horizon, sample};
use crate::audit::Operator;
use crate::config::Config;
use crate::failure::Failure;
use crate::http::Http;
use crate::index_reader::IndexReader;
use crate::layout::{ReadModel, Side};
use crate::listener::Listener;
use crate::outbox::pace::Pace;
use crate::outbox::refold::Refold;
use crate::postgres::Database;
use crate::replay::generations::Generations;
use crate::replay::session;
use crate::replay::shapes;
use crate::roles::{Roles, producer};

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
    elastic: Http,
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
        let (elastic, roles) = (Http::elasticsearch(&config.elasticsearch)?, Roles::new(config)?);
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
                Some(_) => self.view(model, scope.key.as_deref(), repairs.as_deref_mut(), report).await?,
            }
        }
        drop(alone);
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

    async fn emit(&self, lack: &Lack, repairs: &mut RepairScope) -> Result<usize, Failure> {
        if lack.listed.is_empty() {
            return Ok(0);
        }
        let (mut emitted, producer) = (0, producer(self.config)?);
        for Missing { finding, rows } in &lack.listed {
            let Some(rows) = rows else { continue };
            if !repairs.admits(finding.what, &finding.name, &finding.key) {
                continue;
            }
            if !emit::emit(self.config, &self.write, &producer, rows).await? {
                continue;
            }
            let subject = format!("{}/{}", finding.name, finding.key);
            self.sign(&self.write, &repairs.operator, "emit again", &subject, &json!(finding)).await?;
            emitted += 1;
        }
        Ok(emitted)
    }

    async fn sign(
        &self,
        database: &Database,
        operator: &Operator,
        action: &str,
        subject: &str,
        details: &serde_json::Value,
    ) -> Result<(), Failure> {
        let fail = |error| database.failure(error);
        let mut connection = database.pool.acquire().await.map_err(fail)?;
        operator.sign(&mut connection, action, subject, details).await.map_err(fail)
    }

    async fn view(
        &self,
        model: &ReadModel,
        key: Option<&str>,
        repairs: Option<&mut RepairScope>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let (Some(definition), Some(role)) = (&model.table, self.roles.view(model.name, AUDITED)) else {
            return Ok(());
        };
        let Some(serving) = self.serving(model).await? else { return Ok(()) };
        let mut connection = self.alone(model.name).await?;
        let audited = Audited::of(self.config, model, definition);
        let serving_table = (serving, table(model.name, serving));
        let looked = Looked { name: model.name, table: definition, serving: serving_table, key };
        let mark = match self.whole_since() {
            Some(since) => copy::Mark::of(&self.read, model, serving, since).await?,
            None => None,
        };
        let mut view = View { model, looked: &looked, audited: &audited, refold: self.refold(role, serving) };
        let now = horizon::settled(&self.write, horizon::OPEN_AT_MOST).await?;
        match mark {
            Some(mark) => self.new_of_view(&mut view, &mut connection, (mark, now), repairs, report).await,
            None => {
                let left = self.whole_view(&mut view, &mut connection, repairs, report).await?;
                self.keep(&view, &mut connection, now.filter(|_| left == 0 && key.is_none())).await
            }
        }
    }

    /// Folds all of a view again and compares; returns the number of findings that were not repaired.
    async fn whole_view(
        &self,
        view: &mut View<'_>,
        connection: &mut PgConnection,
        mut repairs: Option<&mut RepairScope>,
        report: &mut Report,
    ) -> Result<usize, Failure> {
        let View { model, looked, audited, ref mut refold } = *view;
        let before = report.left();
        if looked.key.is_none() {
            self.unfolded(model, looked, None, report).await?;
        }
        refold.log(audited.events.clone())?;
        let rows = rows::check(&self.read, refold, connection, (looked, audited)).await?;
        if let Some(repairs) = repairs.as_deref_mut() {
            self.repair_rows(looked, &rows, &audited.rows, repairs, report).await?;
        }
        let which = looked.key.map_or(Which::All, Which::Of);
        let documents = self.documents(model, looked, which, repairs, report).await?;
        report.add(model.name, rows, documents);
        Ok(report.left().saturating_sub(before))
    }

    /// Compares the rows of a view that have changed since a mark, and a part of the rest.
    async fn new_of_view(
        &self,
        view: &mut View<'_>,
        connection: &mut PgConnection,
        (mut mark, now): (copy::Mark, Option<DateTime<Utc>>),
        repairs: Option<&mut RepairScope>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let View { model, looked, audited, ref mut refold } = *view;
        let fail = |error| self.read.failure(error);
        let (before, since) = (report.left(), mark.since);
        let databases = [&self.write, &self.read];
        // Once the view has everything that was written before `now`, the next comparison need not check it.
        self.unfolded(model, looked, Some(since), report).await?;
        let rows = copy::check(databases, model, refold, connection, (looked, audited, &mut mark)).await?;
        let operations = self.operations(model, looked, mark.operation).await?;
        let which = Which::Noted(&audited.touched, operations);
        let documents = self.documents(model, looked, which, repairs, report).await?;
        let rows_are_right = rows.findings.is_empty();
        report.add(model.name, rows, documents);
        match now {
            // The whole view is compared the next time.
            _ if !rows_are_right => verified::forget(&mut *connection, model.name).await.map_err(fail),
            Some(now) if report.left() == before => {
                audited.forget_touched(connection).await.map_err(fail)?;
                let mark = copy::Mark { since: now, operation: operations.1, ..mark };
                verified::set(connection, model.name, &mark).await.map_err(fail)
            }
            // The same again.
            _ => Ok(()),
        }
    }

    /// The range of operations whose documents are checked next for a row; it begins again after the last one.
    async fn operations(
        &self,
        model: &ReadModel,
        looked: &Looked<'_>,
        from: i64,
    ) -> Result<(i64, i64), Failure> {
        let Some(role) = self.roles.view(model.name, looked.serving.0).filter(|_| model.mapping.is_some())
        else {
            return Ok((0, 0));
        };
        let last = self.index(model.name, looked.serving.0, role).reader.last_operation().await?;
        let from = if from > last { 0 } else { from };
        Ok((from, from + sample::part(last)))
    }

    /// Keeps the copy of a view that was equal at a time, or removes it.
    async fn keep(
        &self,
        &View { model, looked, audited, .. }: &View<'_>,
        connection: &mut PgConnection,
        equal_at: Option<DateTime<Utc>>,
    ) -> Result<(), Failure> {
        let kept = async {
            let Some(now) = equal_at else { return audited.remove(connection).await };
            audited.keep(connection).await?;
            verified::set(connection, model.name, &copy::Mark::whole(model, looked.serving.0, now)).await
        };
        kept.await.map_err(|error| self.read.failure(error))
    }

    async fn unfolded(
        &self,
        model: &ReadModel,
        looked: &Looked<'_>,
        since: Option<DateTime<Utc>>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let databases = [&self.write, &self.read];
        let group = Group { id: self.config.namespace.group(model.name), generation: looked.serving.0 };
        let unfolded = folded::check(self.config, databases, model, &group, (since, self.patience)).await?;
        report.findings.extend(unfolded);
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

    async fn repair_rows(
        &self,
        looked: &Looked<'_>,
        rows: &Rows,
        audited: &str,
        repairs: &mut RepairScope,
        report: &mut Report,
    ) -> Result<(), Failure> {
        for pair in &rows.drifted {
            if !repair::is_known(pair, rows.stuck) || !repairs.admits(What::Row, looked.name, &pair.key) {
                continue;
            }
            let row = repair::row(&self.read, looked, audited, pair, &repairs.operator).await;
            report.count_repair(looked.name, &pair.key, &row.map_err(|error| self.read.failure(error))?);
        }
        Ok(())
    }

    /// Compares documents after rows were repaired, so that their documents are found, too.
    async fn documents(
        &self,
        model: &ReadModel,
        Looked { name, table, serving: (generation, rows), .. }: &Looked<'_>,
        which: Which<'_>,
        repairs: Option<&mut RepairScope>,
        report: &mut Report,
    ) -> Result<Option<i64>, Failure> {
        let (Some(_), Some(role), [column]) =
            (&model.mapping, self.roles.view(name, *generation), table.key.as_slice())
        else {
            return Ok(None);
        };
        let documents = Documents {
            config: self.config,
            read: &self.read,
            index: self.index(name, *generation, role),
            table: rows.clone(),
            column,
            which,
        };
        let checked = documents.check().await?;
        if let Some(repairs) = repairs {
            self.repair_documents(&documents.index, &documents, &checked.findings, repairs, report).await?;
        }
        report.findings.extend(checked.findings);
        Ok(Some(checked.count))
    }

    async fn repair_documents(
        &self,
        index: &Index<'_>,
        source: &dyn Source,
        findings: &[Finding],
        repairs: &mut RepairScope,
        report: &mut Report,
    ) -> Result<(), Failure> {
        for finding in findings {
            if !repairs.admits(finding.what, &finding.name, &finding.key) {
                continue;
            }
            let repaired = index.repair(&finding.key, source).await?;
            if repaired == Repaired::Now {
                let subject = format!("{}/{}", index.reader.name, finding.key);
                self.sign(&self.read, &repairs.operator, "publish again", &subject, &json!(finding)).await?;
            }
            report.count_repair(&index.reader.name, &finding.key, &repaired);
        }
        Ok(())
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

/// A view that is compared.
struct View<'v> {
    model: &'v ReadModel,
    looked: &'v Looked<'v>,
    audited: &'v Audited,
    refold: Refold<'v>,
}
