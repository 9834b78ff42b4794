//! Looking at everything in turn: topics, rows, documents; and repairing what may be repaired.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_engine::Role;
use millrace_store::Group;
use millrace_store::names::table;
use serde_json::json;
use sqlx::PgConnection;

use super::Scope;
use super::audited::{AUDITED, Audited};
use super::documents::Documents;
use super::finding::Finding;
use super::folded;
use super::index::{Index, Repaired, Source};
use super::log::LogDocuments;
use super::repair::{self, RepairScope};
use super::report::{Compared, Report};
use super::rows::{self, Looked, Rows};
use super::topics::{self, Lack, Missing};
use super::what::What;
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

/// How often it is tried to be the only one that looks at a view.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// Compares what is stored with the outbox.
pub struct Auditor<'a> {
    config: &'a Config,
    write: Database,
    read: Database,
    elastic: Http,
    roles: Roles,
    patience: Duration,
    /// Events folded in a second at most.
    per_second: Option<u32>,
    listener: Option<&'a dyn Listener>,
}

impl<'a> Auditor<'a> {
    /// Debezium and publishing get `patience` to catch up.
    ///
    /// # Errors
    /// When a client cannot be set up.
    pub fn new(config: &'a Config, patience: Duration) -> Result<Self, Failure> {
        let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
        let (elastic, roles) = (Http::elasticsearch(&config.elasticsearch)?, Roles::new(config)?);
        Ok(Self { config, write, read, elastic, roles, patience, per_second: None, listener: None })
    }

    /// Folds so many events a second at most.
    pub fn in_the_background(self, per_second: u32) -> Self {
        Self { per_second: Some(per_second), ..self }
    }

    /// Reports how far it is.
    pub fn with_listener(self, listener: &'a dyn Listener) -> Self {
        Self { listener: Some(listener), ..self }
    }

    fn pace(&self) -> Pace {
        self.per_second.map_or_else(Pace::unbounded, Pace::of)
    }

    /// What folds a view again.
    fn refold(&self, role: Arc<dyn Role>, serving: i32) -> Refold<'_> {
        let refold = Refold::new(self.config, [&self.write, &self.read], role, serving).at(self.pace());
        match self.listener {
            Some(listener) => refold.with_listener(listener),
            None => refold,
        }
    }

    /// Looks at everything in scope, and repairs for an operator. Not beside a later release: what that has written would be
    /// judged, and repaired, by a fold that does not know it.
    pub async fn look(
        &self,
        scope: &Scope,
        mut repairs: Option<&mut RepairScope>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        self.write.leave_to_later("verify").await?;
        if scope.topics {
            self.topics(repairs.as_deref_mut(), report).await?;
        }
        for model in &scope.models {
            match &model.table {
                None => self.log(model, repairs.as_deref_mut(), report).await?,
                Some(_) => self.view(model, scope.key.as_deref(), repairs.as_deref_mut(), report).await?,
            }
        }
        Ok(())
    }

    async fn topics(&self, repairs: Option<&mut RepairScope>, report: &mut Report) -> Result<(), Failure> {
        let found = topics::check(self.config, &self.write, self.patience, self.pace()).await?;
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
            if !topics::emit(self.config, &self.write, &producer, rows).await? {
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
        mut repairs: Option<&mut RepairScope>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let fail = |error| self.read.failure(error);
        let (Some(definition), Some(role)) = (&model.table, self.roles.view(model.name, AUDITED)) else {
            return Ok(());
        };
        let Some(serving) = self.serving(model).await? else { return Ok(()) };
        let mut connection = self.alone(model.name).await?;
        let audited = Audited::of(self.config, model, definition);
        let mut refold = self.refold(role, serving).logging(audited.events.clone())?;
        let serving_table = (serving, table(model.name, serving));
        let looked = Looked { name: model.name, table: definition, serving: serving_table, key };
        let rows = rows::check(&self.read, &mut refold, &mut connection, (&looked, &audited)).await?;
        if let Some(repairs) = repairs.as_deref_mut() {
            self.repair_rows(&looked, &rows, &audited.rows, repairs, report).await?;
        }
        audited.remove(&mut connection).await.map_err(fail)?;
        if key.is_none() {
            let databases = [&self.write, &self.read];
            let group = Group { id: self.config.namespace.group(model.name), generation: serving };
            let unfolded = folded::check(self.config, databases, model, &group, self.patience).await?;
            report.findings.extend(unfolded);
        }
        let documents = self.documents(model, &looked, repairs, report).await?;
        let (name, events) = (model.name.to_owned(), rows.events);
        report.compared.push(Compared { name, events, rows: Some(rows.count), documents });
        report.more += rows.more;
        report.findings.extend(rows.findings);
        Ok(())
    }

    /// The generation that serves, when it is of this build's shape: of another this build does not know what is right.
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

    /// A connection that is the only one which looks at a view. Another has as long as Debezium has.
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

    /// After rows were repaired, so that their documents are found to be wrong.
    async fn documents(
        &self,
        model: &ReadModel,
        Looked { name, table, serving: (generation, rows), key }: &Looked<'_>,
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
            key: *key,
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
        let log = LogDocuments { config: self.config, databases: [&self.write, &self.read], model, index };
        let (checked, expected) = log.check(self.pace()).await?;
        if let Some(repairs) = repairs {
            self.repair_documents(&log.index, &expected, &checked.findings, repairs, report).await?;
        }
        let (name, events) = (model.name.to_owned(), u64::try_from(checked.count).unwrap_or_default());
        report.compared.push(Compared { name, events, rows: None, documents: Some(checked.count) });
        report.findings.extend(checked.findings);
        Ok(())
    }
}
