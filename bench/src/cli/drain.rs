//! `scripts/bench drain`.

use clap::{Args, Subcommand, ValueEnum};

/// A stage of the pipeline.
#[derive(Debug, Subcommand)]
pub(crate) enum Stage {
    /// Commands from Kafka into ledger, streams and outbox
    Commands(Commands),
    /// Events from Kafka into a view in Postgres, without Elasticsearch (`elasticsearch.publish=false`)
    View(Views),
    /// Events from Kafka into Elasticsearch, and the same documents by a plain `_bulk` loop, in turns
    #[command(mut_arg("runs", |runs| runs.default_value("5")))]
    Elasticsearch(Search),
    /// Customers' events into Postgres, which refuses one customer in a thousand, in turns with all of them accepted
    Poison(Backlog),
    /// A sale in which every order has the same product, in turns with one in which orders have different ones
    Hot(Hot),
}

/// Options of `drain commands`.
#[derive(Debug, Args)]
pub(crate) struct Commands {
    #[command(flatten)]
    pub(crate) backlog: Backlog,
    /// Give every command a trace, of which this part is sampled; `--set otlp.endpoint=URL` sends its spans
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(..=100))]
    pub(crate) traced: Option<u64>,
}

/// The backlog of a drain.
#[derive(Debug, Clone, Args)]
pub(crate) struct Backlog {
    /// Records, rounded down to whole streams
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) records: u64,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,
    /// How the records of different streams follow each other
    #[arg(long, value_enum, default_value_t = Order::Spread)]
    pub(crate) order: Order,
    /// Number of runs; the table shows each run and the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

/// How the records of different streams follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// The first record of every stream, then the second of every stream: a batch hardly meets a stream twice
    Spread,
    /// All records of a stream one after another: a batch folds them into one row
    Together,
}

/// Options of `drain view`.
#[derive(Debug, Args)]
pub(crate) struct Views {
    /// The views, one after another
    #[arg(value_enum, value_name = "VIEW", default_values = ["sales_daily", "customers"])]
    pub(crate) views: Vec<View>,
    #[command(flatten)]
    pub(crate) backlog: Backlog,
}

/// A view that Postgres holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum View {
    /// Sums by day and category
    SalesDaily,
    /// A row for each customer
    Customers,
    /// A row for each order
    Orders,
}

/// Options of `drain hot`.
#[derive(Debug, Args)]
pub(crate) struct Hot {
    /// The stages, one after another
    #[arg(value_enum, value_name = "STAGE", default_values = ["orders", "inventory", "revenue_daily"])]
    pub(crate) stages: Vec<Shared>,
    #[command(flatten)]
    pub(crate) backlog: Backlog,
}

/// A stage in which orders share what is known of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Shared {
    /// Orders are placed: each refers to its products
    Orders,
    /// Stock is reserved: each order writes the streams of its products
    Inventory,
    /// A view: each confirmed order adds to the sums of its products
    RevenueDaily,
}

/// Options of `drain elasticsearch`.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// The indices, one after another
    #[arg(value_enum, value_name = "INDEX", default_values = ["events", "customers"])]
    pub(crate) indices: Vec<Index>,
    #[command(flatten)]
    pub(crate) backlog: Backlog,
    /// Documents in a request of the plain loop
    #[arg(long, default_value_t = 5_000, value_name = "DOCUMENTS")]
    pub(crate) plain_documents: usize,
    /// Connections of the plain loop
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) plain_connections: usize,
}

/// What Elasticsearch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Index {
    /// One document for each event
    Events,
    /// One document for each customer, newer versions over older ones
    Customers,
}

impl View {
    /// As `millrace run view` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            View::SalesDaily => "sales_daily",
            View::Customers => "customers",
            View::Orders => "orders",
        }
    }
}

impl Shared {
    /// As the command line calls it, and `millrace run view` if it is a view.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Shared::Orders => "orders",
            Shared::Inventory => "inventory",
            Shared::RevenueDaily => "revenue_daily",
        }
    }
}

impl Index {
    /// As `millrace run view` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Index::Events => "events",
            Index::Customers => "customers",
        }
    }
}

impl Order {
    /// As the command line calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Order::Spread => "spread",
            Order::Together => "together",
        }
    }
}
