//! Replay: a view in Postgres and Elasticsearch is built from a backlog, then rebuilt beside itself, compared and swapped
//! by `millrace replay`, while the same process serves the generation before.

use std::time::Instant;

use anyhow::{Result, ensure};
use millrace_testkit::Running;
use serde::Serialize;
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::cli::{Order, Replay, View};
use crate::cpu::{self, Components, Seconds};
use crate::drain::index;
use crate::drain::offsets::{Offsets, Side};
use crate::drain::verify::Expected;
use crate::instance::Instance;
use crate::memory;
use crate::preload;
use crate::report::{Report, whole};
use crate::stack::database;

const COLUMNS: [&str; 8] =
    ["what", "events", "seconds", "events/s", "cpu: millrace", "postgres", "elasticsearch", "peak MB"];
const VIEW: View = View::Customers;

/// One way through all events.
#[derive(Debug, Serialize)]
struct Way {
    what: &'static str,
    events: f64,
    seconds: f64,
    cpu: Seconds,
    /// The peak resident memory in MB.
    peak_mb: f64,
    /// Resident memory in MB in each tenth of the time.
    course: Vec<f64>,
}

/// Measures a fresh instance.
pub(crate) async fn measure(instance: &Instance, options: &Replay) -> Result<Report> {
    let expected = Expected::of(VIEW, options.records);
    instance.recreate().await?;
    instance.stop_debezium().await?;
    preload::customer_events(instance, 0..expected.streams, Order::Spread).await?;
    let mut offsets = Offsets::watch(instance, Side::Search, VIEW.name()).await?;
    let mut running = instance.start(&["view", VIEW.name()], &[]).await?;
    let watched = Watched::of(instance, &running, &offsets)?;
    offsets.at_least(expected.events, &mut running).await?;
    let built = watched.way("built", &expected)?;
    check(instance, &expected, 1).await?;
    let watched = Watched::of(instance, &running, &offsets)?;
    instance.millrace(&["replay", VIEW.name(), "--to-earliest", "--execute"]).await?;
    let rebuilt = watched.way("rebuilt, compared, swapped", &expected)?;
    check(instance, &expected, 2).await?;
    running.stop()?;
    Ok(report(instance, &[built, rebuilt]))
}

/// What is observed from a moment on.
struct Watched {
    began: Instant,
    components: Components,
    before: Seconds,
    course: memory::Course,
}

impl Watched {
    fn of(instance: &Instance, running: &Running, offsets: &Offsets) -> Result<Self> {
        let components =
            Components::find(&instance.stack).with("millrace", running.pid()).without(offsets.backend());
        let (before, course) = (components.used()?, memory::Course::watch(running.pid()));
        Ok(Self { began: Instant::now(), components, before, course })
    }

    fn way(self, what: &'static str, expected: &Expected) -> Result<Way> {
        let (course, peak_mb) = self.course.finish();
        Ok(Way {
            what,
            events: expected.events as f64,
            seconds: self.began.elapsed().as_secs_f64(),
            cpu: cpu::between(&self.before, &self.components.used()?),
            peak_mb,
            course,
        })
    }
}

/// This generation serves, and what it serves is what was sent.
async fn check(instance: &Instance, expected: &Expected, generation: i32) -> Result<()> {
    let sql =
        format!("SELECT generation FROM \"{}\".replay WHERE view = $1 AND state = 'serving'", instance.name);
    let mut connection = database(instance.stack.read_database_url()).await?;
    let serving = sqlx::query_scalar(AssertSqlSafe(sql)).bind(VIEW.name());
    let serving: i32 = serving.fetch_one(&mut connection).await?;
    ensure!(serving == generation, "generation {serving} serves, not {generation}");
    expected.check(instance).await?;
    index::check(instance, &instance.alias(VIEW.name()), expected.streams, expected.events).await
}

impl Way {
    fn row(&self) -> Vec<String> {
        let cpu = |name: &str| self.cpu.get(name).map_or_else(String::new, |seconds| format!("{seconds:.1}"));
        vec![
            self.what.to_owned(),
            whole(self.events),
            format!("{:.1}", self.seconds),
            whole(self.events / self.seconds),
            cpu("millrace"),
            cpu("postgres"),
            cpu("elasticsearch"),
            whole(self.peak_mb),
        ]
    }
}

fn report(instance: &Instance, ways: &[Way]) -> Report {
    let course = |way: &Way| format!("{}: {}", way.what, memory::told(&way.course));
    Report {
        title: "A view of customers in Postgres and Elasticsearch".to_owned(),
        columns: COLUMNS.to_vec(),
        rows: ways.iter().map(Way::row).collect(),
        notes: ways.iter().map(course).collect(),
        figures: json!({"settings": instance.settings(), "ways": ways}),
    }
}
