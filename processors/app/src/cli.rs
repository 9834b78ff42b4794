//! The command line.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::{Arg, ArgAction, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use millrace_ops::config::Config;
use millrace_ops::layout;
use millrace_ops::moment::{self, Span};

use crate::config::{self, Global};
use crate::dlq::cli::Action;

const ABOUT: &str = "Commands in Kafka become rows in Postgres and documents in Elasticsearch, once.";

const EXAMPLES: &str = "\
Examples:
  millrace setup                                 create everything that an instance needs; run it as often as you like
  millrace setup --wait 10m                      for a deployment: ends when every view serves in the shape of this build
  millrace setup --partitions 16                 enlarge topics while everything runs
  millrace run                                   every role in one process, until SIGTERM
  millrace run commands                          only the command processor
  millrace run view orders customers             only two views
  millrace run saga fulfilment                   only one saga
  millrace run gateway                           only commands, receipts and queries over HTTP
  millrace send orders.jsonl --wait              send commands, wait until each has its outcome
  millrace schema show PlaceOrder                a command's topic, key and fields, with an example
  millrace status                                lag, slot, connector, indices and dead letters at a glance
  millrace doctor                                settings of components that will hurt, and what to type
  millrace receipt 0197b2a4-…                    the outcome of a command
  millrace commands --status rejected --since 1h
  millrace replay orders --to-earliest           what a rebuild of a view would read; --execute does it
  millrace verify                                compare topics, rows and documents with the outbox
  millrace trace orders/10248                    everything that followed from an order, or from a command
  millrace stream show orders/10248 --as-of 2026-01-31T12:00:00Z
  millrace saga list --stuck                     sagas that need an operator
  millrace customer show ALFKI                   all that is known of a customer, and how fresh it is
  millrace category rename Beverages Drinks      another name for a category, everywhere
  millrace segment preview best-customers        how many customers a segment has now, and some of them
  millrace retries list                          what is being retried, and why
  millrace dlq list --group orders               records that could not be processed, and why
  millrace dlq redrive w12 --why fixed           give the record of a dead letter to its group again
  millrace audit list --since 1d                 who changed what by hand, and why
  millrace outbox skip 0197b2a4-… --dry-run      skip a row that the connector cannot carry
  millrace prune --dry-run                       rows that are older than their retention and would be removed
  millrace config show --changed                 settings that differ from the default, and where each comes from

Exit codes:
  0  done
  1  something was refused, was rejected or failed
  2  the command line or the configuration is wrong
  3  a dependency cannot be reached
  4  not found
  5  stored data is wrong and was not repaired
  6  something is missing or blocked, and needs an operator
  7  no process works where records wait
  8  a lag is beyond --lag-max

Data goes to standard output, messages go to standard error.";

const CONFIGURATION: &str = "\
Configuration, in order of precedence: --set kafka.brokers=…, MILLRACE_KAFKA__BROKERS in the
environment, `brokers` in the table [kafka] of the TOML file, the default.
`millrace config show --help` explains it. Settings by component:
";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, about = ABOUT, after_help = EXAMPLES, after_long_help = long_help())]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Name of `--set` after a command.
const SET_BEHIND: &str = "set_behind";

impl Cli {
    /// Reads the command line; ends the process with help or a usage error when there is nothing to do.
    pub fn read() -> Self {
        Self::from_words(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// `--set` may stand before and after the command, and all of them count. With clap's global options the ones after the
    /// command would replace those before it.
    fn from_words<W: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self, clap::Error> {
        let matches = with_set(Self::command()).try_get_matches_from(words)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let mut inner = matches.subcommand();
        while let Some((_, matches)) = inner {
            cli.global.set.extend(matches.get_many::<String>(SET_BEHIND).into_iter().flatten().cloned());
            inner = matches.subcommand();
        }
        Ok(cli)
    }
}

fn with_set(command: clap::Command) -> clap::Command {
    let set = || {
        Arg::new(SET_BEHIND)
            .long("set")
            .value_name("SETTING=VALUE")
            .action(ArgAction::Append)
            .help_heading(config::GLOBAL)
    };
    let help = "Set a setting, such as kafka.session_timeout=30s; `millrace config show` lists all settings";
    command.mut_subcommands(|inner| with_set(inner.arg(set().help(help))))
}

fn long_help() -> String {
    let mut components: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in config::names() {
        let (component, setting) = name.split_once('.').unwrap_or(("", name));
        components.entry(component).or_default().push(setting);
    }
    let line = |(component, settings): (&str, Vec<&str>)| {
        let of = if component.is_empty() { String::new() } else { format!("{component}: ") };
        format!("  {of}{}", settings.join(", "))
    };
    let lines: Vec<String> = components.into_iter().map(line).collect();
    format!("{EXAMPLES}\n\n{CONFIGURATION}{}", lines.join("\n"))
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create schemas, topics, tables, publication, slot, connector and indices, or bring them up to date; deletes no data
    Setup {
        /// Then wait until every view serves in the shape of this build, at most this long, such as 90s or 10m
        #[arg(long, value_parser = moment::span, value_name = "TIME", num_args = 0..=1, default_missing_value = "10m")]
        wait: Option<Span>,
        /// Only print what would be created or changed
        #[arg(long, conflicts_with = "wait")]
        dry_run: bool,
        /// Set the instance up although a later release has set it up
        #[arg(long)]
        downgrade: bool,
        /// Enlarge topics of commands, events, rejections and outcomes that have fewer partitions; the instance may run
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
    },
    /// Remove everything that the namespace owns, with its data
    Teardown {
        /// Delete all data of the namespace
        #[arg(long)]
        yes: bool,
    },
    /// Decide commands, fold views, run sagas and effects, until SIGTERM
    Run {
        /// The roles of this process [default: all]
        #[command(subcommand)]
        only: Option<Role>,
    },
    /// Rebuild a view beside the serving one, compare, swap; roll back; retire
    Replay(crate::replay::Options),
    /// Compare topics, rows and documents with the outbox, and repair what differs
    Verify(crate::verify::Options),
    /// Remove rows that are older than their retention, as `millrace run` also does; never events
    Prune(crate::prune::Options),
    /// Send commands that are written as JSON
    Send(crate::send::Options),
    /// Show the contract with producers: commands, their fields, an example of each; check commands before they are sent
    #[command(after_help = crate::schema::HELP)]
    Schema {
        /// What to do with the contract.
        #[command(subcommand)]
        action: crate::schema::Action,
    },
    /// Show lag, slot, connector, indices and dead letters at a glance; fails when something is missing, is lost or needs an
    /// operator
    #[command(after_help = crate::status::HELP)]
    Status {
        /// Also show what is all right
        #[arg(long)]
        all: bool,
        /// First wait until every view has applied the events of all decided commands, at most this long, such as 90s or 10m
        #[arg(long, value_parser = moment::span, value_name = "TIME", num_args = 0..=1, default_missing_value = "10m")]
        wait: Option<Span>,
        /// Fail when the oldest record that a group has not applied is older, such as 5s
        #[arg(long, value_parser = moment::span, value_name = "TIME")]
        lag_max: Option<Span>,
    },
    /// Check each component and setting that the instance depends on, and say what to do about each finding
    #[command(after_help = crate::doctor::HELP)]
    Doctor {
        /// Also show what is fine
        #[arg(long)]
        all: bool,
    },
    /// Show the outcome of a command
    Receipt {
        /// The command's id (`ce_id`)
        id: String,
        /// The command's source (`ce_source`), when several sources use the id
        #[arg(long)]
        source: Option<String>,
    },
    /// List decided commands, or those being retried, the newest first
    Commands(crate::receipts::Options),
    /// Show streams
    Stream {
        /// What to do with a stream.
        #[command(subcommand)]
        action: crate::stream::Action,
    },
    /// Show everything that followed from a command, an event, or the events of a stream
    #[command(after_help = crate::trace::HELP)]
    Trace(crate::trace::Options),
    /// Sagas: list instances, show the history of one, cancel one
    #[command(after_help = crate::saga::HELP)]
    Saga {
        /// What to do with sagas.
        #[command(subcommand)]
        action: crate::saga::Action,
    },
    /// Customers: show all that is known of one
    #[command(after_help = crate::customer::HELP)]
    Customer {
        /// What to do with customers.
        #[command(subcommand)]
        action: crate::customer::Action,
    },
    /// Categories: rename one
    #[command(after_help = crate::category::HELP)]
    Category {
        /// What to do with categories.
        #[command(subcommand)]
        action: crate::category::Action,
    },
    /// Segments: preview their customers
    #[command(after_help = crate::segment::HELP)]
    Segment {
        /// What to do with segments.
        #[command(subcommand)]
        action: crate::segment::Action,
    },
    /// Dead letters: records that could not be processed. List, show, redrive or discard them
    #[command(after_help = crate::dlq::cli::HELP)]
    Dlq {
        /// What to do with dead letters.
        #[command(subcommand)]
        action: Action,
    },
    /// List keys whose records wait for a retry, for a dead letter or for a missing version, and why
    #[command(after_help = crate::retries::HELP)]
    Retries {
        /// What to do with waiting keys.
        #[command(subcommand)]
        action: crate::retries::Action,
    },
    /// The audit: who changed what, and why
    #[command(after_help = crate::audit::HELP)]
    Audit {
        /// What to do with the audit.
        #[command(subcommand)]
        action: crate::audit::Action,
    },
    /// The outbox: skip a row that the connector cannot carry
    Outbox {
        /// What to do with the outbox.
        #[command(subcommand)]
        action: crate::outbox::cli::Action,
    },
    /// The configuration: show the values in force and where each comes from; check them
    #[command(after_help = config::cli::HELP)]
    Config {
        /// What to do with the configuration.
        #[command(subcommand)]
        action: config::cli::Action,
    },
}

/// Help about an argument that names some of them.
fn names_of(what: &str) -> String {
    let all = Config::default();
    let names: Vec<&str> = match what {
        "views" => layout::read_models(&all).iter().map(|view| view.name).collect(),
        "sagas" => layout::sagas(&all).iter().map(|saga| saga.name).collect(),
        _ => layout::effects(&all).iter().map(|effect| effect.name).collect(),
    };
    format!("Names of {what}: {}", names.join(", "))
}

/// The roles that a process takes when it does not take all.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Only decide commands
    Commands,
    /// Only fold events into these views
    View {
        /// Names of views
        #[arg(required = true, value_name = "NAME", help = names_of("views"))]
        names: Vec<String>,
    },
    /// Only run these sagas and their timers
    Saga {
        /// Names of sagas
        #[arg(required = true, value_name = "NAME", help = names_of("sagas"))]
        names: Vec<String>,
    },
    /// Only make the calls of these effects
    Effect {
        /// Names of effects
        #[arg(required = true, value_name = "NAME", help = names_of("effects"))]
        names: Vec<String>,
    },
    /// Only serve commands, receipts and queries over HTTP, at `gateway.listen`
    Gateway,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loaded;
    use crate::output::Format;

    fn parse(line: &str) -> Cli {
        Cli::from_words(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn the_definition_is_sound_and_its_help_teaches() {
        with_set(Cli::command()).debug_assert();
        let help = Cli::command().render_long_help().to_string();
        for part in ["millrace send orders.jsonl --wait", "Exit codes", "transaction_timeout"] {
            assert!(help.contains(part), "{part}");
        }
    }

    #[test]
    fn run_names_every_view_saga_and_effect() {
        let mut commands = Cli::command();
        let run = commands.find_subcommand_mut("run").unwrap();
        for (role, names) in
            [("view", "orders, customers"), ("saga", "fulfilment"), ("effect", "payment, mail")]
        {
            let help = run.find_subcommand_mut(role).unwrap().render_long_help().to_string();
            let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(help.contains(names), "{help}");
        }
    }

    /// Broken by hand as well, a text is broken twice.
    #[test]
    fn a_paragraph_of_help_is_one_line_that_the_terminal_breaks() {
        let flush = |line: &str| !line.is_empty() && !line.starts_with(' ');
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            for pair in lines.windows(2).filter(|pair| pair.iter().all(|line| flush(line))) {
                assert!(pair[0].ends_with(['.', ':']), "{}: {pair:?}", command.get_name());
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn run_takes_all_roles_or_some() {
        assert!(matches!(parse("millrace run").command, Command::Run { only: None }));
        assert!(matches!(
            parse("millrace run commands").command,
            Command::Run { only: Some(Role::Commands) }
        ));
        let Command::Run { only: Some(Role::View { names }) } =
            parse("millrace run view orders customers").command
        else {
            panic!("views")
        };
        assert_eq!(names, ["orders", "customers"]);
        assert!(Cli::from_words(["millrace", "run", "view"]).is_err());
        assert!(matches!(parse("millrace run gateway").command, Command::Run { only: Some(Role::Gateway) }));
    }

    #[test]
    fn a_replay_is_one_action_and_only_executed_when_asked() {
        let Command::Replay(options) = parse("millrace replay orders --shift-by -10 --execute").command
        else {
            panic!("replay")
        };
        assert_eq!(
            (options.view.as_str(), options.action.shift_by, options.execute),
            ("orders", Some(-10), true)
        );
        assert!(matches!(parse("millrace replay orders --rollback").command, Command::Replay(_)));
        for line in [
            "",
            "--rollback --retire",
            "--to-earliest --status",
            "--retire --execute",
            "--shift-by 10",
            "--to-earliest --accept-differences",
            "--to-earliest --dry-run --execute",
        ] {
            let words = ["millrace", "replay", "orders"].into_iter().chain(line.split_whitespace());
            assert!(Cli::from_words(words).is_err(), "{line}");
        }
    }

    #[test]
    fn global_options_go_anywhere() {
        let cli = parse("millrace receipt 1 --format json --namespace a --set topics.partitions=2");
        assert_eq!(cli.global.format, Format::Json);
        let config = Loaded::from(&cli.global, &[]).unwrap().config;
        assert_eq!((config.topics.partitions, config.namespace.to_string().as_str()), (2, "a"));
    }

    #[test]
    fn settings_before_and_behind_the_command_all_count() {
        let cli = parse("millrace --set a=1 stream --set b=2 show x --set c=3 --set d=4");
        assert_eq!(cli.global.set, ["a=1", "b=2", "c=3", "d=4"]);
    }

    #[test]
    fn a_setting_must_be_one_that_there_is() {
        let message = |line| Loaded::from(&parse(line).global, &[]).err().unwrap().to_string();
        assert!(message("millrace status --set topics.partition=2").contains("mean `topics.partitions`?"));
        assert!(message("millrace status --set topics.partitions").contains("SETTING=VALUE"));
    }

    #[test]
    fn a_stream_is_shown_at_a_version_or_at_a_time() {
        assert!(Cli::from_words("millrace stream show a/1 --at-version 2 --as-of 1h".split(' ')).is_err());
        assert!(Cli::from_words("millrace stream show a/1 --at-version 0".split(' ')).is_err());
    }
}
