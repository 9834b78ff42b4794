//! Growth: how fast each stage is, and how soon a row can be read, by partitions, by streams and by backlog.
//!
//! Customers are registered, which does not count; then each stage in turn drains changes of them, alone: deciding, the way
//! through Debezium, folding. With all that in the tables, commands arrive at a steady pace.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use millrace_testkit::Patience;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde::Serialize;
use serde_json::json;

use crate::cli::{Growing, Growth};
use crate::drain::offsets::{Offsets, Seen, Side};
use crate::drain::verify;
use crate::instance::Instance;
use crate::instance::PATIENCE;
use crate::latency::sender::Pace;
use crate::latency::{self, milliseconds};
use crate::load::Step;
use crate::preload;
use crate::report::{Report, whole};
use crate::stack::database;

const COLUMNS: [&str; 9] = [
    "what grows",
    "partitions",
    "streams",
    "backlog",
    "commands/s",
    "debezium/s",
    "view/s",
    "p50 ms",
    "p99 ms",
];
const ASK_AGAIN: Duration = Duration::from_millis(100);
const KAFKA_ANSWERS_WITHIN: Duration = Duration::from_secs(10);
const QUIET: u32 = 5;
const DECIDED: &str = "SELECT ARRAY[(SELECT count(*) FROM command WHERE status = 'completed'),
    (SELECT count(*) FROM outbox WHERE version IS NOT NULL), (SELECT count(*) FROM stream)]";
const FOLDED: &str = "SELECT ARRAY[count(*), sum(version)::bigint] FROM customers";

/// A point of a curve.
#[derive(Debug, Clone, Copy, Serialize)]
struct Point {
    what: &'static str,
    partitions: i32,
    /// Customers that are there.
    streams: u64,
    /// Changes of them that wait.
    backlog: u64,
}

/// What was measured at it.
#[derive(Debug, Serialize)]
struct Measured {
    #[serde(flatten)]
    point: Point,
    commands_per_second: f64,
    debezium_per_second: f64,
    view_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures every point of the curves asked for.
pub(crate) async fn measure(instance: &Instance, options: &Growth) -> Result<Report> {
    let mut measured = Vec::new();
    for point in options.curves.iter().flat_map(|curve| points(*curve, options.most)) {
        eprintln!("{point:?}");
        measured.push(point.measure(instance, options).await?);
    }
    Ok(report(instance, options, &measured))
}

/// The points of a curve, none of them with more records than asked for.
fn points(curve: Growing, most: u64) -> Vec<Point> {
    let usual =
        Point { what: curve.name(), partitions: 4, streams: 25_000.min(most), backlog: 100_000.min(most) };
    let up_to_most = move |sizes: [u64; 3]| sizes.into_iter().filter(move |size| *size <= most);
    match curve {
        Growing::Partitions => {
            [1, 2, 4, 8].map(|partitions| Point { partitions, ..usual }).into_iter().collect()
        }
        Growing::Streams => {
            up_to_most([1_000, 100_000, 1_000_000]).map(|streams| Point { streams, ..usual }).collect()
        }
        Growing::Backlog => {
            up_to_most([10_000, 100_000, 1_000_000]).map(|backlog| Point { backlog, ..usual }).collect()
        }
    }
}

impl Point {
    /// Every customer's registration.
    fn registrations(self) -> impl Iterator<Item = Step> {
        (0..self.streams).map(|stream| Step { stream, version: 1 })
    }

    /// Changes, spread over all customers.
    fn changes(self) -> impl Iterator<Item = Step> {
        let apart = (self.streams / self.backlog).max(1);
        (0..self.backlog)
            .map(move |n| Step { stream: n * apart % self.streams, version: 2 + n / self.streams })
    }

    fn all(self) -> u64 {
        self.streams + self.backlog
    }

    async fn measure(self, instance: &Instance, options: &Growth) -> Result<Measured> {
        let instance = &instance.with_partitions(self.partitions);
        instance.recreate().await?;
        instance.stop_debezium().await?;
        preload::customer_steps(instance, self.registrations().chain(self.changes())).await?;
        let commands_per_second = self.drain(instance, Side::Write, &["commands"]).await?;
        self.check_decided(instance).await?;
        let debezium_per_second = self.carry(instance).await?;
        let view_per_second = self.drain(instance, Side::Read, &["view", "customers"]).await?;
        self.check_folded(instance).await?;
        let (p50_ms, p99_ms) = self.latency(instance, options).await?;
        Ok(Measured {
            point: self,
            commands_per_second,
            debezium_per_second,
            view_per_second,
            p50_ms,
            p99_ms,
        })
    }

    /// Records a second from the last registration to the last change.
    async fn drain(self, instance: &Instance, side: Side, roles: &[&str]) -> Result<f64> {
        let mut offsets = Offsets::watch(instance, side, roles.last().unwrap_or(&"")).await?;
        let mut running = instance.start(roles, &["elasticsearch.publish=false".to_owned()]).await?;
        let from = offsets.at_least(self.streams, &mut running).await?;
        let to = offsets.at_least(self.all(), &mut running).await?;
        running.stop()?;
        Ok(per_second(&from, &to))
    }

    /// Lets Debezium go, and waits until the topic has every event.
    async fn carry(self, instance: &Instance) -> Result<f64> {
        let topic = Topic::open(instance, self.partitions)?;
        instance.resume_debezium().await?;
        let (from, began) = topic.at_least(self.streams).await?;
        let (to, ended) = topic.at_least(self.all()).await?;
        Ok((to - from) as f64 / ended.duration_since(began).as_secs_f64())
    }

    async fn latency(self, instance: &Instance, options: &Growth) -> Result<(f64, f64)> {
        let settings = ["elasticsearch.publish=false".to_owned()];
        let deciding = instance.start(&["commands"], &settings).await?;
        let folding = instance.start(&["view", "customers"], &settings).await?;
        let pace = Pace { rate: options.rate, quiet: QUIET, seconds: options.seconds, first: self.streams };
        let watched = latency::of_rows(instance, &pace, "customers").await?;
        deciding.stop()?;
        folding.stop()?;
        ensure!(watched.missing == 0, "{} rows could not be read in time", watched.missing);
        let at = |quantile: f64| milliseconds(watched.latency.value_at_quantile(quantile));
        Ok((at(0.5), at(0.99)))
    }

    /// Every command has its receipt and its event.
    async fn check_decided(self, instance: &Instance) -> Result<()> {
        let mut connection = database(instance.stack.write_database_url()).await?;
        let (all, streams) = (i64::try_from(self.all())?, i64::try_from(self.streams)?);
        verify::compare(&mut connection, instance, DECIDED, &[all, all, streams]).await
    }

    /// Every event is in its row.
    async fn check_folded(self, instance: &Instance) -> Result<()> {
        let mut connection = database(instance.stack.read_database_url()).await?;
        let (all, streams) = (i64::try_from(self.all())?, i64::try_from(self.streams)?);
        verify::compare(&mut connection, instance, FOLDED, &[streams, all]).await
    }
}

fn per_second(from: &Seen, to: &Seen) -> f64 {
    (to.records - from.records) as f64 / to.at.duration_since(from.at).as_secs_f64()
}

/// The topic of the customers' events.
struct Topic {
    consumer: BaseConsumer,
    name: String,
    partitions: i32,
}

impl Topic {
    fn open(instance: &Instance, partitions: i32) -> Result<Self> {
        let consumer = instance.stack.kafka().create()?;
        Ok(Self { consumer, name: instance.topic("evt", "customers"), partitions })
    }

    /// Waits until it has this many records; fails when nothing arrives for a while.
    async fn at_least(&self, wanted: u64) -> Result<(u64, Instant)> {
        let mut patience = Patience::new(PATIENCE);
        loop {
            let (records, now) = (tokio::task::block_in_place(|| self.records())?, Instant::now());
            if records >= wanted {
                return Ok((records, now));
            }
            ensure!(!patience.ends(records), "Debezium has carried {records} of {wanted} events");
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn records(&self) -> Result<u64> {
        let ends = (0..self.partitions).map(|partition| {
            Ok(self.consumer.fetch_watermarks(&self.name, partition, KAFKA_ANSWERS_WITHIN)?.1)
        });
        Ok(u64::try_from(ends.sum::<Result<i64>>()?)?)
    }
}

impl Measured {
    fn row(&self) -> Vec<String> {
        let Point { what, partitions, streams, backlog } = self.point;
        let numbers = [
            f64::from(partitions),
            streams as f64,
            backlog as f64,
            self.commands_per_second,
            self.debezium_per_second,
            self.view_per_second,
        ];
        let latencies = [self.p50_ms, self.p99_ms].map(|ms| format!("{ms:.1}"));
        std::iter::once(what.to_owned()).chain(numbers.map(whole)).chain(latencies).collect()
    }
}

fn report(instance: &Instance, options: &Growth, measured: &[Measured]) -> Report {
    let title = format!(
        "Each stage alone on its backlog, then until the row at {} commands a second for {} s",
        options.rate, options.seconds
    );
    let notes = vec![
        "The streams are there before; the backlog changes them, spread over all. Elasticsearch is left out."
            .to_owned(),
    ];
    let figures = json!({"settings": instance.settings(), "rate": options.rate, "points": measured});
    Report {
        title,
        columns: COLUMNS.to_vec(),
        rows: measured.iter().map(Measured::row).collect(),
        notes,
        figures,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(streams: u64, backlog: u64) -> Vec<(u64, u64)> {
        let point = Point { what: "", partitions: 1, streams, backlog };
        point.changes().map(|step| (step.stream, step.version)).collect()
    }

    #[test]
    fn changes_are_spread_over_all_streams_and_follow_each_other_in_each() {
        assert_eq!(changes(2, 4), [(0, 2), (1, 2), (0, 3), (1, 3)]);
        assert_eq!(changes(6, 3), [(0, 2), (2, 2), (4, 2)]);
    }

    #[test]
    fn no_point_has_more_than_asked_for() {
        let points = points(Growing::Streams, 100_000);
        assert_eq!(points.iter().map(|point| point.streams).collect::<Vec<_>>(), [1_000, 100_000]);
    }
}
