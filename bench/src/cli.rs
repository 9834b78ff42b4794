//! The command line.

mod against;
mod drain;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use against::{
    Against, Cdc, Chain, Chained, Consume, Consumer, Decider, Folder, Indexer, OneByOne, Reader, Turns,
};
pub(crate) use drain::{Backlog, Commands, Hot, Index, Order, Search, Shared, Stage, View, Views};

const ABOUT: &str = "Measures the release binary on the real components: how fast a command arrives, and how much one stage can do.";

const EXAMPLES: &str = "\
Examples:
  scripts/bench latency                              50 commands a second for a minute
  scripts/bench latency --rate 200 --seconds 30
  scripts/bench reading                              what people ask while 50 commands a second arrive
  scripts/bench drain commands                       200,000 commands, decided
  scripts/bench drain view sales_daily customers     events into Postgres alone
  scripts/bench drain elasticsearch events           events into Elasticsearch, against a plain _bulk loop
  scripts/bench drain poison                         what one refused customer in a thousand costs the others
  scripts/bench drain hot inventory                  what it costs that every order has the same product
  scripts/bench replay                               a million events, rebuilt beside what serves
  scripts/bench rest                                 what a running instance costs while nothing arrives
  scripts/bench history --events 10000000            what a long history costs
  scripts/bench overview --customers 100000          the document of one customer among so many
  scripts/bench growth streams --most 100000         with a thousand and with a hundred thousand customers
  scripts/bench drain view --order together --set processing.events_batch_max=10000
  scripts/bench against commands one-by-one          in turns with one transaction for each command
  scripts/bench against consume plain                in turns with a consumer that decodes nothing
  scripts/bench against view sink-tuned --pairs 7    in turns with Debezium's JDBC sink
  scripts/bench against chain jvm --shares 10        from a command until its row, in turns with a program on the JVM
  scripts/bench against search                       in turns with a program that sends upserts to Elasticsearch

Every measurement creates an instance of its own (namespace bench_…), checks that the result is what was sent, and
removes the instance. The addresses of the stack come from the environment, as `scripts/stack env` prints them.
A table goes to standard output, all figures to a JSON file under target/bench/. docs/measured.md explains them.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench", bin_name = "scripts/bench", version, about = ABOUT, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) measurement: Measurement,
}

/// Options of every measurement.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The program that is measured
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "MILLRACE_BIN",
        default_value = "target/release/millrace"
    )]
    pub(crate) millrace: PathBuf,
    /// The folder for figures and logs
    #[arg(long, global = true, value_name = "FOLDER", default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Keep the instance of the last run, to inspect its tables and topics
    #[arg(long, global = true)]
    pub(crate) keep: bool,
    /// Configures what is measured, as `millrace --set` does
    #[arg(long = "set", global = true, value_name = "FIELD=VALUE")]
    pub(crate) set: Vec<String>,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Measurement {
    /// From a command's intended time to the row in Postgres and the document in Elasticsearch, every role running
    Latency(Latency),
    /// Records per second of one stage that drains a backlog, with the machine to itself
    Drain {
        #[command(subcommand)]
        stage: Stage,
    },
    /// Queries of Postgres and Elasticsearch while commands arrive, and how soon a new customer can be read
    Reading(Reading),
    /// How fast each stage is and how soon a row can be read, by partitions, by streams and by backlog
    Growth(Growth),
    /// Queries of operators and the auditor, and throughput of decisions, without and with very many events
    History(History),
    /// The document of a customer in SQL, among very many who have done something in every context
    Overview(Overview),
    /// A view of Postgres and Elasticsearch is built from its events, then rebuilt, compared and swapped
    Replay(Replay),
    /// What a running instance costs while nothing arrives: processors, threads, memory, transactions
    Rest(Rest),
    /// A stage compared in turns with alternatives, on the same backlog, until the rows are the same
    Against {
        #[command(subcommand)]
        stage: Against,
    },
    /// A peer of `against commands`, as a separate process
    #[command(hide = true)]
    OneByOne(OneByOne),
    /// A contestant of `against consume`, as a separate process
    #[command(hide = true)]
    Consume(Consume),
}

/// Options of `latency`.
#[derive(Debug, Args)]
pub(crate) struct Latency {
    /// Commands per second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Duration of the measurement
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// Warm-up at the same rate before that, in seconds
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub(crate) warm_up: u32,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,
}

/// Options of `reading`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Reading {
    /// Commands per second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Queries per second of each kind
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) questions: u32,
    /// Duration of the measurement
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// Warm-up at the same rate before that, in seconds
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub(crate) warm_up: u32,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,
}

/// Options of `growth`.
#[derive(Debug, Args)]
pub(crate) struct Growth {
    /// The curves, one after another
    #[arg(value_enum, value_name = "CURVE", default_values = ["partitions", "streams", "backlog"])]
    pub(crate) curves: Vec<Growing>,
    /// Points with more streams or a longer backlog are left out
    #[arg(long, default_value_t = 1_000_000, value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(crate) most: u64,
    /// Commands per second while latency is measured
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// Duration of the measurement
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
}

/// What grows from point to point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Growing {
    /// Partitions of each topic: 1, 2, 4, 8
    Partitions,
    /// Existing streams: 10³, 10⁵, 10⁶
    Streams,
    /// Backlog in records: 10⁴, 10⁵, 10⁶
    Backlog,
}

/// Options of `history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Events of customers, rounded down to whole streams
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    pub(crate) events: u64,
    /// Events of each customer
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) versions: u64,
    /// Events of each command that has a receipt
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) of_command: u64,
    /// Only these views work and are verified; else all, and the topics
    #[arg(long, value_name = "VIEW", num_args = 1..)]
    pub(crate) views: Vec<String>,
    /// Commands that are decided after them
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(crate) commands: u64,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,
}

/// Options of `overview`.
#[derive(Debug, Args)]
pub(crate) struct Overview {
    /// Customers, each with an address, orders, an account, a cart, a subscription and a review
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) customers: u64,
    /// Documents that are read, one after another
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) documents: u64,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,
}

/// Options of `replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Events of the view `customers`, rounded down to whole streams
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) records: u64,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,
}

/// Options of `rest`.
#[derive(Debug, Args)]
pub(crate) struct Rest {
    /// Duration of the measurement
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// Seconds before that, after everything is level, that do not count
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub(crate) quiet: u32,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,
}

impl Measurement {
    /// Part of the namespace and of the file's name.
    pub(crate) fn name(&self) -> String {
        let name = match self {
            Measurement::Latency(_) => "latency",
            Measurement::Drain { stage: Stage::Commands(_) } => "drain_commands",
            Measurement::Drain { stage: Stage::View(_) } => "drain_view",
            Measurement::Drain { stage: Stage::Elasticsearch(_) } => "drain_elasticsearch",
            Measurement::Drain { stage: Stage::Poison(_) } => "drain_poison",
            Measurement::Drain { stage: Stage::Hot(_) } => "drain_hot",
            Measurement::Reading(_) => "reading",
            Measurement::Growth(_) => "growth",
            Measurement::History(_) => "history",
            Measurement::Overview(_) => "overview",
            Measurement::Replay(_) => "replay",
            Measurement::Rest(_) => "rest",
            Measurement::Against { stage: Against::Commands { .. } } => "against_commands",
            Measurement::Against { stage: Against::View { .. } } => "against_view",
            Measurement::Against { stage: Against::Search { .. } } => "against_search",
            Measurement::Against { stage: Against::Cdc(_) } => "against_cdc",
            Measurement::Against { stage: Against::Chain(_) } => "against_chain",
            Measurement::Against { stage: Against::Consume { .. } } => "against_consume",
            Measurement::OneByOne(_) => "one_by_one",
            Measurement::Consume(_) => "consume",
        };
        name.to_owned()
    }

    /// Partitions of each topic.
    pub(crate) fn partitions(&self) -> i32 {
        match self {
            Measurement::Latency(options) => options.partitions,
            Measurement::Drain {
                stage: Stage::Commands(Commands { backlog, .. }) | Stage::Poison(backlog),
            } => backlog.partitions,
            Measurement::Reading(options) => options.partitions,
            // Each point has its own.
            Measurement::Growth(_) => 1,
            Measurement::History(options) => options.partitions,
            Measurement::Overview(options) => options.partitions,
            Measurement::Replay(options) => options.partitions,
            Measurement::Rest(options) => options.partitions,
            Measurement::Drain { stage: Stage::View(views) } => views.backlog.partitions,
            Measurement::Drain { stage: Stage::Hot(hot) } => hot.backlog.partitions,
            Measurement::Drain { stage: Stage::Elasticsearch(search) } => search.backlog.partitions,
            Measurement::Against { stage: Against::Commands { turns, .. } | Against::View { turns, .. } } => {
                turns.partitions
            }
            Measurement::Against { stage: Against::Cdc(options) } => options.partitions,
            Measurement::Against { stage: Against::Chain(options) } => options.partitions,
            Measurement::Against {
                stage: Against::Search { turns, .. } | Against::Consume { turns, .. },
            } => turns.partitions,
            Measurement::OneByOne(options) => options.partitions,
            Measurement::Consume(options) => options.partitions,
        }
    }
}

impl Growing {
    /// The name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Partitions => "partitions",
            Self::Streams => "streams",
            Self::Backlog => "backlog",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn views_have_the_names_of_the_program_that_is_measured() {
        let line = ["bench", "drain", "view", "sales_daily", "orders", "--records", "1000"];
        let cli = Cli::try_parse_from(line).unwrap();
        let Measurement::Drain { stage: Stage::View(views) } = cli.measurement else { panic!("a view") };
        assert_eq!(views.views, [View::SalesDaily, View::Orders]);
        assert_eq!(views.backlog.records, 1_000);
    }

    #[test]
    fn a_comparison_counts_whole_streams() {
        let cli =
            Cli::try_parse_from(["bench", "against", "commands", "--records", "1003", "--warm-up", "10"]);
        let Measurement::Against { stage: Against::Commands { turns, .. } } = cli.unwrap().measurement else {
            panic!("commands")
        };
        assert_eq!((turns.warm_up(), turns.all()), (8, 1_008));
    }

    #[test]
    fn who_only_reads_has_a_longer_backlog_unless_told_otherwise() {
        let backlog = |line: &[&str]| {
            let Measurement::Against { stage: Against::Consume { turns, .. } } =
                Cli::try_parse_from(line).unwrap().measurement
            else {
                panic!("consume")
            };
            (turns.warm_up(), turns.all())
        };
        assert_eq!(backlog(&["bench", "against", "consume"]), (200_000, 1_200_000));
        let line = ["bench", "against", "consume", "--records", "4000", "--warm-up", "400"];
        assert_eq!(backlog(&line), (400, 4_400));
    }
}
