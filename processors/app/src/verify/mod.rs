//! `millrace verify`: what the auditor finds, and puts right when it is asked to.

mod report;

use clap::Args;
use millrace_ops::audit::Operator;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::moment::{self, Span};
use millrace_ops::verify::Scope;
use millrace_ops::verify::auditor::{Auditor, Depth};
use millrace_ops::verify::repair::RepairScope;
use millrace_ops::verify::report::Report;
use serde_json::json;

use crate::output::{self, Format};
use crate::progress::Terminal;

const HELP: &str = "\
Compares, and changes nothing unless --repair is given:
  events     every version of every stream of the outbox is on its topic, with its id and payload and nothing else in its
             place, every rejection of the last day, and every command that a saga or an effect has sent and that is not
             decided
  rows       the events, folded again, give the rows of the view
  fold       SQL over the events, written without the fold, computes the same rows
  documents  Elasticsearch has every row, as it is, and nothing else

Everything may go on meanwhile: rows are compared in one snapshot, with the events up to where the view is. The events of
a view are folded into tables of their own, which are removed afterwards.

--repair emits missing events, rejections and commands again with their own ids, puts rows as they fold, and sends documents again.
A row that SQL computes differently is not repaired: either the fold or the SQL is wrong, and `millrace replay` rebuilds the
view once that is fixed. Of a log (`events`) the documents are compared with the events; documents without an event are not
looked for.

--incremental goes on from where the last look has found everything right. It compares what is new, and the next part of the rest:
all rows and topics within 96 looks, documents of the log within 672. Without a last look, or after one that has found rows wrong, it
looks at everything.

Examples:
  millrace verify                                     everything
  millrace verify --incremental                       what is new, and a part of the rest
  millrace verify orders customers                    two views
  millrace verify --customer ALFKI                    the row of a customer
  millrace verify orders --key 10248 --repair --why \"edited by hand\"

Exit code 4 when there is nothing with the key, 5 when something is wrong and was not repaired.";

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
    /// Only what is new since the last look, and a part of the rest, as `millrace run` does it
    #[arg(long, conflicts_with_all = ["key", "customer", "repair"])]
    pub incremental: bool,
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

impl Options {
    fn scope(&self, config: &Config) -> Result<Scope, Failure> {
        match &self.customer {
            Some(customer) => Scope::of(config, &["customers".to_owned()], Some(customer.clone())),
            None => Scope::of(config, &self.views, self.key.clone()),
        }
    }
}

/// Compares, repairs when asked to, and says what is wrong.
///
/// # Errors
/// [`Failure::Drift`] when something is wrong and was not repaired; [`Failure::NotFound`] when there is nothing with the
/// key; [`Failure::Busy`] when another process looks at the same; [`Failure::Refused`] when Debezium or publishing
/// is too far behind to judge; [`Failure::Unreachable`].
pub async fn verify(config: &Config, format: Format, options: &Options) -> Result<(), Failure> {
    let scope = options.scope(config)?;
    let operator = options.why.as_deref().map(|why| Operator::new(options.who.as_deref(), why));
    let mut repairs = operator.map(RepairScope::everything);
    let terminal = Terminal::default();
    let depth = if options.incremental { Depth::New(config.audit.whole_interval) } else { Depth::Whole };
    let auditor = Auditor::new(config, options.patience.0)?.with_listener(&terminal).at_depth(depth);
    let mut report = Report::default();
    let looked = auditor.look(&scope, repairs.as_mut(), &mut report).await;
    // What was found before the comparison failed is printed.
    if looked.is_err() && report.findings.is_empty() {
        return looked;
    }
    if let Some(key) = scope.key.as_ref().filter(|_| looked.is_ok() && report.is_of_nothing()) {
        let views: Vec<&str> = scope.models.iter().map(|model| model.name).collect();
        let none = format!("{} has no key {key}: neither row, document nor events", views.join(", "));
        return Err(Failure::NotFound(none));
    }
    output::print(format, &report::text(&report), &json!(report))?;
    looked?;
    match report.left() {
        0 => Ok(()),
        left => Err(Failure::Drift(format!("{left} things are not as the outbox has them"))),
    }
}
