//! `millrace verify`: does everything that is stored say what the outbox says?
//!
//! The outbox is the event store. From it follows what the event topics must hold, which rows the views must have, and
//! which documents. Rows are checked twice: by folding the events again, which finds what went wrong on the way, and by
//! SQL that was written without the fold, which finds a fold that is wrong.

mod documents;
pub(crate) mod finding;
mod outbox;
pub(crate) mod pace;
mod refold;
pub(crate) mod repair;
mod rows;
mod topics;

use std::time::Duration;

use clap::Args;
use millrace_runtime::names::table;
use serde::Serialize;
use serde_json::json;

use crate::audit::Operator;
use crate::cli::Format;
use crate::config::Config;
use crate::failure::Failure;
use crate::http::Http;
use crate::layout::{ReadModel, Side, read_models};
use crate::moment::{self, Span};
use crate::output;
use crate::postgres::Database;
use crate::replay::generations::Generations;
use crate::replay::session;
use crate::run::roles::{Roles, producer};
use documents::Documents;
use finding::{Finding, What};
use pace::Pace;
use refold::{AUDITED, Refold};
use repair::Mandate;
use rows::{Looked, Rows};
use topics::{Lack, Missing};

const HELP: &str = "\
Compares, and changes nothing unless --repair is given:
  events     every version of every stream of the outbox is on its topic, and every rejection
  rows       the events, folded again, give the rows of the view
  fold       SQL over the events, written without the fold, tells the same rows
  documents  Elasticsearch has every row, as it is, and nothing else

Everything may go on meanwhile: rows are compared in one snapshot, with the events up to where the view is. The events of
a view are folded into tables of their own, which are removed afterwards.

--repair emits missing events and rejections again with their own ids, puts rows as they fold, and sends documents again. A row that SQL
tells differently is not repaired: either the fold or the SQL is wrong, and `millrace replay` rebuilds the view once that
is mended. Logs (`events`) are not compared yet.

Examples:
  millrace verify                                     everything
  millrace verify orders customers                    two views
  millrace verify --customer ALFKI                    the row of a customer
  millrace verify orders --key 10248 --repair --why \"edited by hand\"

Exit code 5 when something is wrong and was not repaired.";

/// Options of `verify`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Options {
    /// The views; all, and the topics, when none is named
    #[arg(value_name = "VIEW", conflicts_with = "customer")]
    pub views: Vec<String>,
    /// Only the row with this key
    #[arg(long, requires = "views")]
    pub key: Option<String>,
    /// Only this customer's row: `customers --key ID`
    #[arg(long, value_name = "ID", conflicts_with = "key")]
    pub customer: Option<String>,
    /// Put right what is wrong
    #[arg(long, requires = "why")]
    pub repair: bool,
    /// Why, for the table `audit`
    #[arg(long, requires = "repair")]
    pub why: Option<String>,
    /// Who, for the table `audit` [default: the user]
    #[arg(long, requires = "repair")]
    pub who: Option<String>,
    /// How long Debezium and the publishing of documents may be behind
    #[arg(long, value_parser = moment::span, value_name = "TIME", default_value = "60s")]
    pub patience: Span,
}

/// What to look at.
pub(crate) struct Scope {
    /// The views.
    pub(crate) models: Vec<ReadModel>,
    /// Whether the topics are looked at too.
    pub(crate) topics: bool,
    /// Only the row with this key.
    pub(crate) key: Option<String>,
}

impl Scope {
    /// Everything that there is to compare.
    pub(crate) fn everything() -> Self {
        let models = read_models().into_iter().filter(|model| model.table.is_some()).collect();
        Self { models, topics: true, key: None }
    }

    fn of(options: &Options) -> Result<Self, Failure> {
        let (views, key) = match &options.customer {
            Some(customer) => (vec!["customers".to_owned()], Some(customer.clone())),
            None => (options.views.clone(), options.key.clone()),
        };
        if views.is_empty() {
            return Ok(Self::everything());
        }
        let models = views.iter().map(|view| ReadModel::named(view)).collect::<Result<Vec<_>, _>>()?;
        match models.iter().find(|model| model.table.is_none()) {
            Some(log) => Err(Failure::usage(format!("`{}` is a log: logs are not compared yet", log.name))),
            None => Ok(Self { models, topics: false, key }),
        }
    }
}

/// What was looked at, and what is wrong.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// How much was compared, of what.
    pub(crate) compared: Vec<Compared>,
    pub(crate) findings: Vec<Finding>,
    /// How many more things are wrong than are listed.
    pub(crate) more: i64,
    /// How many of them were put right.
    pub(crate) repaired: usize,
}

/// How much was compared.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) name: String,
    /// Events and rejections of the outbox that were looked for, or events that were folded.
    pub(crate) events: u64,
    /// Rows, of a view.
    pub(crate) rows: Option<i64>,
    /// Documents, of a view that is published.
    pub(crate) documents: Option<i64>,
}

impl Report {
    /// How many things are wrong and were not put right.
    pub(crate) fn left(&self) -> usize {
        self.findings
            .len()
            .saturating_add(usize::try_from(self.more).unwrap_or_default())
            .saturating_sub(self.repaired)
    }

    fn text(&self) -> String {
        let mut table = output::Table::new(&["compared", "events", "rows", "documents"]);
        let told = |number: Option<i64>| number.map_or(String::new(), |number| number.to_string());
        for Compared { name, events, rows, documents } in &self.compared {
            table.row([name.clone(), events.to_string(), told(*rows), told(*documents)]);
        }
        let more = if self.more > 0 { format!("and {} more\n", self.more) } else { String::new() };
        let end = match (self.findings.len(), self.repaired) {
            (0, _) => "all as the outbox has it\n".to_owned(),
            (_, 0) => String::new(),
            (_, repaired) => format!("repaired: {repaired}\n"),
        };
        format!("{}{}{more}{end}", table.render(), findings(&self.findings))
    }
}

fn findings(findings: &[Finding]) -> String {
    if findings.is_empty() { String::new() } else { finding::table(findings) }
}

/// Compares, repairs when asked to, and says what is wrong.
///
/// # Errors
/// [`Failure::Drift`] when something is wrong and was not repaired; [`Failure::Refused`] when Debezium or publishing
/// is too far behind to judge; [`Failure::Unreachable`].
pub async fn verify(config: &Config, format: Format, options: &Options) -> Result<(), Failure> {
    let scope = Scope::of(options)?;
    let operator = options.why.as_deref().map(|why| Operator::new(options.who.as_deref(), why));
    let mut mandate = operator.map(Mandate::whole);
    let auditor = Auditor::new(config, options.patience.0)?;
    let mut report = Report::default();
    auditor.look(&scope, mandate.as_mut(), &mut report, Pace::unbounded).await?;
    output::print(format, &report.text(), &json!(report))?;
    match report.left() {
        0 => Ok(()),
        left => Err(Failure::Drift(format!("{left} things are not as the outbox has them"))),
    }
}

/// Compares what is stored with the outbox.
pub(crate) struct Auditor<'a> {
    config: &'a Config,
    write: Database,
    read: Database,
    elastic: Http,
    roles: Roles,
    patience: Duration,
}

impl<'a> Auditor<'a> {
    /// Debezium and publishing get `patience` to come level.
    ///
    /// # Errors
    /// When a client cannot be set up.
    pub(crate) fn new(config: &'a Config, patience: Duration) -> Result<Self, Failure> {
        let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
        let (elastic, roles) = (Http::elasticsearch(config)?, Roles::new(config)?);
        Ok(Self { config, write, read, elastic, roles, patience })
    }

    /// Looks at everything in scope, and repairs for an operator.
    pub(crate) async fn look(
        &self,
        scope: &Scope,
        mut mandate: Option<&mut Mandate>,
        report: &mut Report,
        pace: impl Fn() -> Pace,
    ) -> Result<(), Failure> {
        if scope.topics {
            self.topics(mandate.as_deref_mut(), report).await?;
        }
        for model in &scope.models {
            self.view(model, scope.key.as_deref(), mandate.as_deref_mut(), report, pace()).await?;
        }
        Ok(())
    }

    async fn topics(&self, mandate: Option<&mut Mandate>, report: &mut Report) -> Result<(), Failure> {
        let found = topics::check(self.config, &self.write, self.patience).await?;
        let events = u64::try_from(found.events).unwrap_or_default();
        report.compared.push(Compared { name: "topics".to_owned(), events, rows: None, documents: None });
        if let Some(mandate) = mandate {
            report.repaired += self.emit(&found.lack, mandate).await?;
        }
        report.more += found.lack.more;
        report.findings.extend(found.lack.told.into_iter().map(|missing| missing.finding));
        Ok(())
    }

    async fn emit(&self, lack: &Lack, mandate: &mut Mandate) -> Result<usize, Failure> {
        if lack.told.is_empty() {
            return Ok(0);
        }
        let (mut emitted, producer) = (0, producer(self.config)?);
        for Missing { finding, rows } in &lack.told {
            if !mandate.takes(finding.what, &finding.name, &finding.key) {
                continue;
            }
            topics::emit(self.config, &self.write, &producer, rows).await?;
            let subject = format!("{}/{}", finding.name, finding.key);
            self.sign(&self.write, &mandate.operator, "emit again", &subject, &json!(finding)).await?;
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
        mut mandate: Option<&mut Mandate>,
        report: &mut Report,
        pace: Pace,
    ) -> Result<(), Failure> {
        let fail = |error| self.read.failure(error);
        let (Some(definition), Some(role)) = (&model.table, self.roles.view(model.name, AUDITED)) else {
            return Ok(());
        };
        let serving = Generations::of(&self.read, model.name).await?.serving()?;
        let mut connection = session::open(&self.read).await.map_err(fail)?;
        if !session::alone(&mut connection, "verify", &self.config.namespace, model.name)
            .await
            .map_err(fail)?
        {
            return Err(Failure::refused(format!("{} is being verified by another process", model.name)));
        }
        let databases = [&self.write, &self.read];
        let mut refold = Refold::new(self.config, databases, (model, definition), role, serving, pace)?;
        let serving_table = (serving, table(model.name, serving));
        let looked = Looked { name: model.name, table: definition, serving: serving_table, key };
        let rows = rows::check(&self.read, &mut refold, &mut connection, &looked).await?;
        if let Some(mandate) = mandate.as_deref_mut() {
            report.repaired += self.mend_rows(&looked, &rows, &refold.rows(), mandate).await?;
        }
        refold.remove(&mut connection).await?;
        let documents = self.documents(model, &looked, mandate, report).await?;
        let (name, events) = (model.name.to_owned(), refold.events);
        report.compared.push(Compared { name, events, rows: Some(rows.count), documents });
        report.more += rows.more;
        report.findings.extend(rows.findings);
        Ok(())
    }

    async fn mend_rows(
        &self,
        looked: &Looked<'_>,
        rows: &Rows,
        audited: &str,
        mandate: &mut Mandate,
    ) -> Result<usize, Failure> {
        let mut mended = 0;
        for twin in &rows.drifted {
            if !mandate.takes(What::Row, looked.name, &twin.key) {
                continue;
            }
            let row = repair::row(&self.read, looked, audited, twin, &mandate.operator).await;
            mended += usize::from(row.map_err(|error| self.read.failure(error))?);
        }
        Ok(mended)
    }

    /// After rows were repaired, so that their documents are found to be wrong.
    async fn documents(
        &self,
        model: &ReadModel,
        Looked { name, table, serving: (generation, rows), key }: &Looked<'_>,
        mandate: Option<&mut Mandate>,
        report: &mut Report,
    ) -> Result<Option<i64>, Failure> {
        let (Some(_), Some(role), [column]) =
            (model.mapping, self.roles.view(name, *generation), table.key.as_slice())
        else {
            return Ok(None);
        };
        let documents = Documents {
            config: self.config,
            read: &self.read,
            elastic: &self.elastic,
            role,
            name,
            index: self.config.namespace.index(name, *generation),
            table: rows.clone(),
            column,
            key: *key,
            patience: self.patience,
        };
        let checked = documents.check().await?;
        if let Some(mandate) = mandate {
            for finding in &checked.findings {
                report.repaired += usize::from(self.mend_document(&documents, finding, mandate).await?);
            }
        }
        report.findings.extend(checked.findings);
        Ok(Some(checked.count))
    }

    async fn mend_document(
        &self,
        documents: &Documents<'_>,
        finding: &Finding,
        mandate: &mut Mandate,
    ) -> Result<bool, Failure> {
        if !mandate.takes(finding.what, &finding.name, &finding.key) || !documents.mend(&finding.key).await? {
            return Ok(false);
        }
        let subject = format!("{}/{}", documents.index, finding.key);
        self.sign(&self.read, &mandate.operator, "publish again", &subject, &json!(finding)).await?;
        Ok(true)
    }
}
