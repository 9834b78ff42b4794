//! `millrace replay`: rebuilds, rolls back, retires or shows the generations of a view.

mod comparison;

use chrono::{DateTime, NaiveDateTime};
use clap::Args;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::layout::{ReadModel, Side};
use millrace_ops::moment;
use millrace_ops::postgres::Database;
use millrace_ops::replay::build::{self, Wish};
use millrace_ops::replay::generations::{Generation, Generations, State};
use millrace_ops::replay::reset::{self, Consequence, Reset};
use millrace_ops::replay::session::Pair;
use millrace_ops::replay::{cutover, fill, watch};
use schemars::JsonSchema;
use serde::Serialize;

use crate::output::{self, Format, Table};
use crate::progress::Terminal;

const HELP: &str = "\
A view is always rebuilt from the first event, whichever offset is named, because a row can only be folded from its first \
event. The flags are those of Kafka's kafka-consumer-groups --reset-offsets, which has the same effect while `millrace run` is \
stopped: the next start detects the reset and rebuilds.

The next generation has its own table, index and group (`<namespace>.<view>.g2` in Kafka). The old one goes on serving and \
applying events. When both have applied the same records, their rows are compared. If they are equal, the new one serves and \
the old one follows. If they differ, nothing is swapped and the differing fields are shown; --accept-differences swaps \
anyway, for a view whose code has changed.

--from-outbox folds the events of the outbox instead, when Kafka no longer has all of them.

Examples:
  millrace replay orders --to-earliest                   print what would be done
  millrace replay orders --to-earliest --execute         do it; after Ctrl-C or a crash the same command continues
  millrace replay orders --to-earliest --execute --accept-differences
  millrace replay orders --status                        the generations and the last comparison
  millrace replay orders --rollback                      the generation that served before serves again
  millrace replay orders --retire                        remove every generation that does not serve

Exit code 1 when the generations differ and are not swapped.";

/// Options of `replay`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Options {
    /// The view
    pub view: String,
    /// What to do.
    #[command(flatten)]
    pub action: Action,
    /// Only print what would be done; the default
    #[arg(long, conflicts_with = "execute")]
    pub dry_run: bool,
    /// Do it, and wait until it is done
    #[arg(long, conflicts_with_all = ["status", "rollback", "retire"])]
    pub execute: bool,
    /// Swap even when the generations differ
    #[arg(long, requires = "execute")]
    pub accept_differences: bool,
}

/// The action. `--to…`, `--by…` and `--shift…` are Kafka's names for a backward reset.
#[derive(Debug, Args)]
#[group(id = "action", required = true, multiple = false)]
pub struct Action {
    /// From the first event
    #[arg(long)]
    pub to_earliest: bool,
    /// From this time on, such as 2026-01-31T12:00:00.000: rebuilds from the first event
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub to_datetime: Option<String>,
    /// From this long ago, such as P1DT2H: rebuilds from the first event
    #[arg(long, value_name = "DURATION")]
    pub by_duration: Option<String>,
    /// From this offset on: rebuilds from the first event
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,
    /// This many records back, such as -1000: rebuilds from the first event
    #[arg(long, value_name = "RECORDS", allow_negative_numbers = true,
          value_parser = clap::value_parser!(i64).range(..0))]
    pub shift_by: Option<i64>,
    /// From the outbox, when Kafka no longer has all events
    #[arg(long)]
    pub from_outbox: bool,
    /// Show the view's generations
    #[arg(long)]
    pub status: bool,
    /// Let the generation that served before serve again
    #[arg(long)]
    pub rollback: bool,
    /// Remove every generation that does not serve
    #[arg(long)]
    pub retire: bool,
}

/// What a rebuild would do.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Rebuild {
    /// The view.
    view: &'static str,
    /// The generation that serves.
    serving: i32,
    /// The one that is being built already.
    building: Option<i32>,
    /// The number of records that are read.
    records: i64,
}

/// The generation that served before serves again.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RolledBack {
    /// The view.
    view: &'static str,
    /// The generation that serves now.
    serving: i32,
    /// The one that served before, which follows.
    before: i32,
    /// The number of records that the serving one has not applied yet.
    behind: i64,
}

/// Generations were removed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Retired {
    /// The view.
    view: &'static str,
    /// Their numbers.
    retired: Vec<i32>,
}

/// A time in the formats of Kafka's own tool; it is only recorded as the reason.
fn datetime(text: &str) -> Result<String, String> {
    let with_zone = DateTime::parse_from_rfc3339(text).is_ok();
    let without = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").is_ok();
    let refused = || format!("`{text}` is not a time: write 2026-01-31T12:00:00.000");
    if with_zone || without { Ok(text.to_owned()) } else { Err(refused()) }
}

impl Action {
    /// The flag that asked for the rebuild, for the record.
    fn reason(&self) -> String {
        let Self { to_datetime, by_duration, to_offset, shift_by, from_outbox, .. } = self;
        let flags = [
            from_outbox.then(|| "--from-outbox".to_owned()),
            to_datetime.as_ref().map(|time| format!("--to-datetime {time}")),
            by_duration.as_ref().map(|duration| format!("--by-duration {duration}")),
            to_offset.map(|offset| format!("--to-offset {offset}")),
            shift_by.map(|records| format!("--shift-by {records}")),
        ];
        flags.into_iter().flatten().next().unwrap_or_else(|| "--to-earliest".to_owned())
    }
}

/// Rebuilds, rolls back, retires or shows the generations of a view.
///
/// # Errors
/// [`Failure::Refused`] when the generations differ, or there is nothing to roll back to; [`Failure::Unreachable`].
pub async fn replay(config: &Config, format: Format, options: &Options) -> Result<(), Failure> {
    let model = ReadModel::named(config, &options.view)?;
    let read = Database::of(config, Side::Read)?;
    let Action { status, rollback, retire, .. } = options.action;
    if status {
        show(config, format, &read, &model).await
    } else if rollback {
        roll_back(config, format, &read, &model).await
    } else if retire {
        let retired = build::retire(config, &read, &model, &Terminal::default()).await?;
        let text = format!("{}: {} generations removed {retired:?}\n", model.name, retired.len());
        output::print(format, &text, &Retired { view: model.name, retired })
    } else if options.execute {
        rebuild(config, format, &read, &model, options).await
    } else {
        preview(config, format, &read, &model).await
    }
}

/// Prints what a rebuild would do.
async fn preview(config: &Config, format: Format, read: &Database, model: &ReadModel) -> Result<(), Failure> {
    let generations = Generations::of(read, model.name).await?;
    let serving = generations.serving()?;
    let building = generations.building().map(|building| building.generation);
    let records = Pair::new(&config.namespace, model, serving, serving).position_now(read).await?.goal;
    let text = match building {
        Some(building) => {
            format!("{}: generation {building} is being built; --execute waits for it\n", model.name)
        }
        None => format!(
            "{}: would build the next generation beside generation {serving} from {records} records, from the first \
             event on, compare, and swap when equal; add --execute to do it\n",
            model.name
        ),
    };
    output::print(format, &text, &Rebuild { view: model.name, serving, building, records })
}

async fn rebuild(
    config: &Config,
    format: Format,
    read: &Database,
    model: &ReadModel,
    options: &Options,
) -> Result<(), Failure> {
    let reason = options.action.reason();
    if !["--to-earliest", "--from-outbox"].contains(&reason.as_str()) {
        output::say(&format!("{reason}: a view is always rebuilt from the first event"));
    }
    let terminal = Terminal::default();
    let Options { accept_differences, action: Action { from_outbox, .. }, .. } = *options;
    let number = if from_outbox {
        fill::fill(config, read, model, accept_differences, &terminal).await?
    } else {
        let wish = Wish { asked_by: "operator", reason: &reason, accept_differences };
        build::begin(config, read, model, wish).await?
    };
    let generation = watch::until_decided(config, read, model, number, &terminal).await?;
    let comparison = generation.comparison.as_ref().map(comparison::text).unwrap_or_default();
    let end = match generation.state {
        State::Building => "not swapped",
        _ => "swapped",
    };
    let text = format!("{}: generation {number} {end}; {comparison}", model.name);
    output::print(format, &text, &generation)?;
    match generation.state {
        State::Building => Err(Failure::refused(format!(
            "generation {number} of {} differs and was not swapped; with --accept-differences it is, --retire removes it",
            model.name
        ))),
        _ => Ok(()),
    }
}

/// Swaps back without a comparison. The earlier generation has followed all the time; what it still lacks is printed.
async fn roll_back(
    config: &Config,
    format: Format,
    read: &Database,
    model: &ReadModel,
) -> Result<(), Failure> {
    let generations = Generations::of(read, model.name).await?;
    let serving = generations.serving()?;
    let nothing = || Failure::refused(format!("there is no generation of {} to roll back to", model.name));
    let to = generations.previous().ok_or_else(nothing)?.generation;
    let behind = cutover::roll_back(config, read, model, (serving, to)).await?;
    let text = format!(
        "{}: generation {to} serves again, {behind} records behind generation {serving}, which follows\n",
        model.name
    );
    let document = RolledBack { view: model.name, serving: to, before: serving, behind };
    output::print(format, &text, &document)
}

async fn show(config: &Config, format: Format, read: &Database, model: &ReadModel) -> Result<(), Failure> {
    let generations = Generations::of(read, model.name).await?;
    let serving = generations.serving()?;
    let mut table = Table::new(&["generation", "state", "behind", "asked by", "reason", "since"]);
    let mut comparisons = String::new();
    for generation in &generations.0 {
        let pair = Pair::new(&config.namespace, model, serving, generation.generation);
        let behind = pair.position_now(read).await?.behind;
        row(&mut table, generation, behind);
        let found = generation.comparison.as_ref().map(comparison::text).unwrap_or_default();
        comparisons.push_str(&found);
    }
    let (group, topics) = (config.namespace.group(model.name), model.topics(&config.namespace));
    if let Reset::Asked(asked) = reset::look(config, read, (&group, serving), &topics).await? {
        for Consequence { what, .. } in asked.consequences(Side::Read) {
            output::say(&format!("{group}: {what}"));
        }
    }
    output::print(format, &format!("{}{comparisons}", table.render()), &generations.0)
}

/// The state; a build that was compared and differs waits for the operator.
fn state(generation: &Generation) -> &'static str {
    let differs = generation.comparison.as_ref().is_some_and(|comparison| !comparison.equal());
    match generation.state {
        State::Building if differs => "differs",
        state => state.as_str(),
    }
}

fn row(table: &mut Table, generation: &Generation, behind: i64) {
    table.row([
        generation.generation.to_string(),
        state(generation).to_owned(),
        behind.to_string(),
        generation.asked_by.clone(),
        generation.reason.clone(),
        moment::written(generation.swapped_at.unwrap_or(generation.started_at)),
    ]);
}
