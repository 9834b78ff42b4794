//! `millrace verify`: compares stored data with the outbox, and repairs it on request.

mod report;

use clap::Args;
use millrace_ops::audit::Operator;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::moment::{self, Span};
use millrace_ops::verify::auditor::{Auditor, Depth};
use millrace_ops::verify::only::Only;
use millrace_ops::verify::repair::RepairScope;
use millrace_ops::verify::report::Report;
use millrace_ops::verify::{Scope, clocks};

use crate::output::{self, Format};
use crate::progress::Terminal;

const HELP: &str = "\
Compares the following and changes nothing unless --repair is given:
  events     the topics have every event of the outbox once, with its id and payload; every rejection of the last day; and
             every undecided command that a saga or an effect has sent
  rows       the view's rows equal the result of folding the events again
  fold       the view's rows equal the result of SQL over the events, which is written independently of the fold
  documents  Elasticsearch has a document for each row, equal to it, and no others
  ledger     with --customer: accounts hold what the ledger says
  provider   with --customer: the payment provider, if there is one, answers the same to each call of the newest payments

Everything else may run: rows are compared in one snapshot, with the events that the view has applied. The events of a view \
are folded into temporary tables, which are removed afterwards.

--repair writes missing events, rejections, outcomes and commands to their topics again with their original ids, replaces rows by the \
folded ones, and sends documents again. A row that SQL computes differently is not repaired: either the fold or the SQL is \
wrong; fix it, and `millrace replay` rebuilds the view. For a log (`events`) the documents are compared with the events; \
documents without an event are not searched for.

--incremental compares what is new since the last comparison without findings, and the next part of the rest: all rows and \
topics within 96 comparisons, documents of the log within 672. Without an earlier comparison, or after one that found wrong \
rows, it compares everything.

Examples:
  millrace verify                                     everything
  millrace verify --incremental                       what is new, and a part of the rest
  millrace verify orders customers                    two views
  millrace verify --customer ALFKI                    everything that shows a customer
  millrace verify orders --key 10248 --repair --why \"edited by hand\"

Exit code 4 when nothing has the key, 5 when a difference was found and not repaired.";

/// Options of `verify`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Options {
    /// Views to compare [default: all views, and the topics]
    #[arg(value_name = "VIEW", conflicts_with = "customer")]
    pub views: Vec<String>,
    /// Only the row with this key
    #[arg(long, requires = "views")]
    pub key: Option<String>,
    /// Only this customer's rows and documents, of every view that names its customers
    #[arg(long, value_name = "ID", conflicts_with = "key")]
    pub customer: Option<String>,
    /// Only what is new since the last comparison, and a part of the rest, as `millrace run` does
    #[arg(long, conflicts_with_all = ["key", "customer", "repair"])]
    pub incremental: bool,
    /// Repair differences
    #[arg(long, requires = "why")]
    pub repair: bool,
    /// Why, for the audit
    #[arg(long, requires = "repair")]
    pub why: Option<String>,
    /// Who does it, for the audit [default: the user's name]
    #[arg(long, requires = "repair")]
    pub who: Option<String>,
    /// How long to wait for Debezium and the publisher to catch up
    #[arg(long, value_parser = moment::span, value_name = "TIME", default_value = "60s")]
    pub patience: Span,
}

impl Options {
    fn scope(&self, config: &Config) -> Result<Scope, Failure> {
        match &self.customer {
            Some(customer) => Ok(Scope::of_customer(config, customer)),
            None => Scope::of(config, &self.views, self.key.clone()),
        }
    }
}

fn nothing_of(only: &Only, views: &str) -> String {
    match only {
        Only::Key(key) => format!("{views} has no key {key}: neither row, document nor events"),
        Only::Customer(id) => format!("no view knows the customer {id}: neither row, document nor events"),
    }
}

/// Compares, repairs on request, and prints the differences.
///
/// # Errors
/// [`Failure::Drift`] when a difference was found and not repaired; [`Failure::NotFound`] when nothing has the key;
/// [`Failure::Busy`] when another process compares the same; [`Failure::Refused`] when Debezium or the publisher is too far
/// behind; [`Failure::Unreachable`].
pub async fn verify(config: &Config, format: Format, options: &Options) -> Result<(), Failure> {
    let scope = options.scope(config)?;
    let operator = options.why.as_deref().map(|why| Operator::new(options.who.as_deref(), why));
    let mut repairs = operator.map(RepairScope::everything);
    let terminal = Terminal::default();
    let depth = if options.incremental { Depth::New(config.audit.whole_interval) } else { Depth::Whole };
    let auditor = Auditor::new(config, options.patience.0)?.with_listener(&terminal).at_depth(depth);
    let clocks = match &options.customer {
        Some(customer) => Some(clocks::of_customer(config, customer).await?),
        None => None,
    };
    let mut report = Report { clocks, ..Report::default() };
    let looked = auditor.look(&scope, repairs.as_mut(), &mut report).await;
    // Findings from before a failure are printed.
    if looked.is_err() && report.findings.is_empty() {
        return looked;
    }
    if let Some(only) = scope.only.as_ref().filter(|_| looked.is_ok() && report.is_of_nothing()) {
        let views: Vec<&str> = scope.models.iter().map(|model| model.name).collect();
        return Err(Failure::NotFound(nothing_of(only, &views.join(", "))));
    }
    output::print(format, &report::text(&report), &report)?;
    looked?;
    match report.left() {
        0 => Ok(()),
        left => Err(Failure::Drift(format!("{left} things are not as the outbox has them"))),
    }
}
