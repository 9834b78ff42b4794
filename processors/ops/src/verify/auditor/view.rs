//! Looking at one view: all of it, or what is new of it and a part of the rest; its rows first, then its documents.

use chrono::{DateTime, Utc};
use millrace_store::names::table;
use millrace_store::{Group, verified};
use sqlx::PgConnection;

use super::Auditor;
use crate::failure::Failure;
use crate::layout::ReadModel;
use crate::outbox::refold::Refold;
use crate::verify::audited::{AUDITED, Audited};
use crate::verify::documents::{Documents, Which};
use crate::verify::only::Only;
use crate::verify::repair::RepairScope;
use crate::verify::report::Report;
use crate::verify::rows::{self, Looked};
use crate::verify::{copy, folded, horizon, sample};

/// A view that is compared.
struct View<'v> {
    model: &'v ReadModel,
    looked: &'v Looked<'v>,
    audited: &'v Audited,
    refold: Refold<'v>,
}

impl Auditor<'_> {
    pub(super) async fn view(
        &self,
        model: &ReadModel,
        only: Option<&Only>,
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
        let looked = Looked { name: model.name, table: definition, serving: serving_table, only };
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
                self.keep(&view, &mut connection, now.filter(|_| left == 0 && only.is_none())).await
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
        if looked.only.is_none() {
            self.unfolded(model, looked, None, report).await?;
        }
        refold.log(audited.events.clone())?;
        let rows = rows::check(&self.read, refold, connection, (looked, audited)).await?;
        if let Some(repairs) = repairs.as_deref_mut() {
            self.repair_rows(looked, &rows, &audited.rows, repairs, report).await?;
        }
        let which = looked.only.map_or(Which::All, Which::Of);
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
        let Some(role) = self.roles.view(model.name, looked.serving.0).filter(|_| self.is_published(model))
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

    /// Whether its rows are sent to Elasticsearch, so that documents are expected there.
    fn is_published(&self, model: &ReadModel) -> bool {
        model.mapping.is_some() && self.config.elasticsearch.publish
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

    /// Compares documents after rows were repaired, so that their documents are found, too.
    async fn documents(
        &self,
        model: &ReadModel,
        Looked { name, table, serving: (generation, rows), .. }: &Looked<'_>,
        which: Which<'_>,
        repairs: Option<&mut RepairScope>,
        report: &mut Report,
    ) -> Result<Option<i64>, Failure> {
        let (true, Some(role), [column]) =
            (self.is_published(model), self.roles.view(name, *generation), table.key.as_slice())
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
}
