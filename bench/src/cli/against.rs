//! `scripts/bench against`.

use clap::{Args, Subcommand, ValueEnum};

use super::Order;
use crate::latency::sender::Pace;
use crate::load::customers::VERSIONS;

/// A stage that is compared.
#[derive(Debug, Subcommand)]
pub(crate) enum Against {
    /// Customers' commands from Kafka into ledger, streams and outbox
    Commands {
        /// The peers, one after another
        #[arg(value_enum, value_name = "PEER", default_values = ["one-by-one", "jvm"])]
        peers: Vec<Decider>,
        #[command(flatten)]
        turns: Turns,
    },
    /// Customers' events from Kafka into the table of the view
    View {
        /// The peers, one after another
        #[arg(value_enum, value_name = "PEER", default_values = ["sink", "sink-tuned", "jvm"])]
        peers: Vec<Folder>,
        #[command(flatten)]
        turns: Turns,
    },
    /// Customers' events from Kafka into the index of the view
    Search {
        /// The peers, one after another
        #[arg(value_enum, value_name = "PEER", default_values = ["jvm"])]
        peers: Vec<Indexer>,
        #[command(flatten)]
        turns: Turns,
    },
    /// Customers' events from Kafka, decoded and folded into nothing
    #[command(mut_arg("records", |records| records.default_value("1000000")))]
    #[command(mut_arg("warm_up", |warm_up| warm_up.default_value("200000")))]
    Consume {
        /// The peers, one after another
        #[arg(value_enum, value_name = "PEER", default_values = ["plain", "jvm"])]
        peers: Vec<Consumer>,
        #[command(flatten)]
        turns: Turns,
    },
    /// The outbox to Kafka: our settings of Debezium against its defaults
    Cdc(Cdc),
    /// From a command until its row, through every stage
    Chain(Chain),
}

/// Alternatives that decide commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Decider {
    /// One transaction for each command, at 16 connections
    OneByOne,
    /// A program on the JVM that commits batches
    Jvm,
}

/// Alternatives that maintain the index of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Indexer {
    /// A program on the JVM that sends upserts with Elasticsearch's client
    Jvm,
}

/// Alternatives that maintain the table of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Folder {
    /// Debezium's JDBC sink with its defaults, on a topic of rows
    Sink,
    /// The same, tuned
    SinkTuned,
    /// A program on the JVM that commits batches
    Jvm,
}

/// Alternatives that process commands up to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Chained {
    /// A program on the JVM and Debezium, with the defaults of its clients and of Debezium
    Defaults,
    /// The same with settings for speed, Debezium with ours
    Jvm,
}

/// Options of `against chain`.
#[derive(Debug, Args)]
pub(crate) struct Chain {
    /// The peers, one after another
    #[arg(value_enum, value_name = "PEER", default_values = ["defaults", "jvm"])]
    pub(crate) peers: Vec<Chained>,
    /// The rates of commands, in percent of what the slowest carries
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_values = ["10", "50", "80"])]
    pub(crate) shares: Vec<u32>,
    /// Duration at each rate
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// Warm-up at the same rate before that, in seconds
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    pub(crate) quiet: u32,
    /// Commands of the backlog that count, rounded down to whole streams
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..))]
    records: u64,
    /// Commands before them that do not count
    #[arg(long, default_value_t = 10_000, value_name = "COMMANDS")]
    warm_up: u64,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,
    /// Rounds: Millrace, each peer, and Millrace again
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: u32,
}

impl Chain {
    /// Commands of the backlog that do not count: whole streams.
    pub(crate) fn warm_up(&self) -> u64 {
        self.warm_up - self.warm_up % VERSIONS
    }

    /// The whole backlog.
    pub(crate) fn backlog(&self) -> u64 {
        self.warm_up() + self.records - self.records % VERSIONS
    }

    /// Its streams.
    pub(crate) fn streams(&self) -> u64 {
        self.backlog() / VERSIONS
    }

    /// Of the first open loop, which comes after the backlog; at no rate yet.
    pub(crate) fn pace(&self) -> Pace {
        Pace { rate: 0, quiet: self.quiet, seconds: self.seconds, first: self.streams() }
    }
}

/// Alternatives that read events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Consumer {
    /// librdkafka's consumer, which decodes nothing
    Plain,
    /// Kafka's consumer on the JVM with Apicurio's deserializer
    Jvm,
}

/// Options of `against cdc`.
#[derive(Debug, Args)]
pub(crate) struct Cdc {
    /// Commits per second while latency is measured
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// Rows a second in further measurements of latency, as shares of what the slower carries
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_values = ["10", "50", "80"])]
    pub(crate) shares: Vec<u64>,
    /// Duration at each rate
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// Warm-up at the same rate before that, in seconds
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    pub(crate) quiet: u32,
    /// Rows of the backlog that count
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) records: u64,
    /// Rows before them that do not count
    #[arg(long, default_value_t = 10_000, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) warm_up: u64,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,
    /// Rounds: ours, the defaults, and ours again
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: u32,
}

/// The backlog of a comparison, and how often it is drained.
#[derive(Debug, Clone, Args)]
pub(crate) struct Turns {
    /// Measured records, rounded down to whole streams
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) records: u64,
    /// Records before them that do not count, so that none is measured while it starts: a JVM compiles itself for so long
    #[arg(long, default_value_t = 50_000, value_name = "RECORDS")]
    warm_up: u64,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,
    /// How the records of different streams follow each other
    #[arg(long, value_enum, default_value_t = Order::Spread)]
    pub(crate) order: Order,
    /// Rounds: Millrace, each peer, and Millrace again
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: u32,
}

impl Turns {
    /// Records that do not count: whole streams.
    pub(crate) fn warm_up(&self) -> u64 {
        self.warm_up - self.warm_up % VERSIONS
    }

    /// All records, those that do not count too.
    pub(crate) fn all(&self) -> u64 {
        self.warm_up() + self.records - self.records % VERSIONS
    }
}

/// Options of the peer with one transaction for each command.
#[derive(Debug, Args)]
pub(crate) struct OneByOne {
    /// The instance whose commands it decides, in whose tables
    #[arg(long)]
    pub(crate) namespace: String,
    /// Partitions of the topic
    #[arg(long)]
    pub(crate) partitions: i32,
    /// Transactions at once
    #[arg(long, default_value_t = 16)]
    pub(crate) connections: u32,
}

/// Options of a contestant that only reads.
#[derive(Debug, Args)]
pub(crate) struct Consume {
    /// The reader
    #[arg(value_enum)]
    pub(crate) reader: Reader,
    /// The instance whose customers' events it reads
    #[arg(long)]
    pub(crate) namespace: String,
    /// Partitions of the topic
    #[arg(long)]
    pub(crate) partitions: i32,
}

/// A reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reader {
    /// Millrace's loop with a role that decodes
    Millrace,
    /// librdkafka's consumer, which decodes nothing
    Plain,
}
