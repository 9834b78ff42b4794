//! A sale in which every order has the same product, in turns with one in which the orders have different ones: what
//! stages lose by it that share what they know of a product.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::offsets::{Offsets, Side};
use super::{Drained, Task, report, verify};
use crate::cli::{Backlog, Hot, Shared};
use crate::instance::Instance;
use crate::load::sale::{self, Demand};
use crate::preload;
use crate::report::{Report, spread, whole};

/// Drains each stage with the demand spread and hot, in turns.
pub(crate) async fn hot(instance: &Instance, options: &Hot) -> Result<Report> {
    let (mut drained, mut notes, mut ratios) = (Vec::new(), Vec::new(), Map::new());
    for stage in &options.stages {
        let (runs, of_stage) = turns(instance, *stage, &options.backlog).await?;
        drained.extend(runs);
        notes.push(format!("{}, hot: {} of spread's records a second", stage.name(), spread(&of_stage)));
        ratios.insert(stage.name().to_owned(), json!(of_stage));
    }
    drained.sort_by(|one, other| one.case.cmp(&other.case).then(one.run.cmp(&other.run)));
    let title = format!(
        "A sale of {} records: every order has the same product, or different ones",
        whole(options.backlog.records as f64)
    );
    let of_all = report(instance, title, &drained);
    notes.extend(of_all.notes);
    let figures = json!({"ratios": Value::Object(ratios), "drains": of_all.figures});
    Ok(Report { notes, figures, ..of_all })
}

async fn turns(instance: &Instance, stage: Shared, backlog: &Backlog) -> Result<(Vec<Drained>, Vec<f64>)> {
    let (mut drained, mut ratios) = (Vec::new(), Vec::new());
    for run in 1..=backlog.runs {
        let spread = drain(instance, stage, Demand::Spread, backlog, run).await?;
        let hot = drain(instance, stage, Demand::Hot, backlog, run).await?;
        ratios.push(hot.per_second / spread.per_second);
        drained.extend([spread, hot]);
    }
    Ok((drained, ratios))
}

async fn drain(
    instance: &Instance,
    stage: Shared,
    demand: Demand,
    backlog: &Backlog,
    run: u32,
) -> Result<Drained> {
    instance.recreate().await?;
    instance.stop_debezium().await?;
    let orders = backlog.records / stage.records();
    prepare(instance, stage, demand, orders, backlog).await?;
    let task = Task {
        case: format!("{}, {}", stage.name(), demand.name()),
        roles: stage.roles(),
        side: stage.side(),
        records: orders * stage.records(),
        settings: vec!["elasticsearch.publish=false".to_owned()],
        counted: &["millrace", "postgres"],
    };
    let drained = task.drain(instance, run).await?;
    match stage {
        Shared::Orders => verify::placed(instance, demand, orders).await?,
        Shared::Inventory => verify::reserved(instance, demand, orders).await?,
        Shared::RevenueDaily => verify::sold(instance, demand, orders).await?,
    }
    Ok(drained)
}

async fn prepare(
    instance: &Instance,
    stage: Shared,
    demand: Demand,
    orders: u64,
    backlog: &Backlog,
) -> Result<()> {
    match stage {
        Shared::Orders => {
            decide_what_comes_before(instance).await?;
            preload::sale::orders(instance, demand, orders).await
        }
        Shared::Inventory => {
            decide_what_comes_before(instance).await?;
            preload::sale::reservations(instance, demand, orders).await
        }
        Shared::RevenueDaily => preload::sale::events(instance, demand, orders, backlog.order).await,
    }
}

/// Customers, products and their stock are there before the backlog is; the process that decided them has ended.
async fn decide_what_comes_before(instance: &Instance) -> Result<()> {
    let commands = preload::sale::before(instance).await?;
    let mut offsets = Offsets::watch(instance, Side::Write, "commands").await?;
    let mut running = instance.start(&["commands"], &[]).await?;
    offsets.at_least(commands, &mut running).await?;
    running.stop()
}

impl Shared {
    /// Records of one order.
    fn records(self) -> u64 {
        match self {
            Shared::Orders | Shared::Inventory => 1,
            Shared::RevenueDaily => sale::VERSIONS,
        }
    }

    fn roles(self) -> Vec<&'static str> {
        match self {
            Shared::Orders | Shared::Inventory => vec!["commands"],
            Shared::RevenueDaily => vec!["view", self.name()],
        }
    }

    fn side(self) -> Side {
        match self {
            Shared::Orders | Shared::Inventory => Side::Write,
            Shared::RevenueDaily => Side::Read,
        }
    }
}
