//! Events of which one customer in a thousand is refused by Postgres, in turns with the same events undisturbed: what
//! the others lose by it.

use anyhow::Result;
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::offsets::Side;
use super::verify::{self, Expected};
use super::{COLUMNS, Drained, Task, prepare, read_side};
use crate::cli::{Backlog, View};
use crate::instance::Instance;
use crate::load::customers;
use crate::report::{Report, spread, whole};

const ONE_IN: u64 = 1_000;
/// Both constraints cost Postgres the same for each row.
const UNDISTURBED: (&str, &str) = ("undisturbed", "nobody$");
const POISONED: (&str, &str) = ("poisoned", "000$");

/// Folds the backlog undisturbed and poisoned, in turns.
pub(crate) async fn poison(instance: &Instance, backlog: &Backlog) -> Result<Report> {
    let (mut drained, mut ratios) = (Vec::new(), Vec::new());
    for run in 1..=backlog.runs {
        let undisturbed = drain(instance, backlog, run, UNDISTURBED).await?;
        let poisoned = drain(instance, backlog, run, POISONED).await?;
        ratios.push(poisoned.per_second / undisturbed.per_second);
        drained.extend([undisturbed, poisoned]);
    }
    let streams = backlog.records / customers::VERSIONS;
    let title = format!(
        "Folding the events of {} customers, {} of which Postgres refuses",
        whole(streams as f64),
        refused(streams)
    );
    let notes = vec![format!(
        "Events a second: {} of undisturbed. Those behind a refused one count as done when they wait.",
        spread(&ratios)
    )];
    let figures = json!({"settings": instance.settings(), "runs": drained, "ratios": ratios});
    Ok(Report {
        title,
        columns: COLUMNS.to_vec(),
        rows: drained.iter().map(Drained::row).collect(),
        notes,
        figures,
    })
}

async fn drain(
    instance: &Instance,
    backlog: &Backlog,
    run: u32,
    (case, refused_names): (&str, &str),
) -> Result<Drained> {
    let expected = Expected::of(View::Customers, backlog.records);
    prepare(instance, View::Customers, expected.streams, backlog.order).await?;
    refuse(instance, refused_names).await?;
    let task = Task {
        case: case.to_owned(),
        roles: vec!["view", View::Customers.name()],
        side: Side::Read,
        records: expected.events,
        settings: vec!["elasticsearch.publish=false".to_owned()],
        counted: &["millrace", "postgres"],
    };
    let drained = task.drain(instance, run).await?;
    if case == UNDISTURBED.0 {
        expected.check(instance).await?;
    } else {
        verify::refused(instance, expected.streams, refused(expected.streams)).await?;
    }
    Ok(drained)
}

/// Lets Postgres refuse the rows of customers whose name matches.
async fn refuse(instance: &Instance, names: &str) -> Result<()> {
    let sql = format!(
        "ALTER TABLE \"{}\".customers_g1 ADD CONSTRAINT poison CHECK (name !~ '{names}')",
        instance.name
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut read_side(instance).await?).await?;
    Ok(())
}

/// How many of so many customers have a name that ends so, the first being number 0.
fn refused(streams: u64) -> u64 {
    (streams - 1) / ONE_IN
}
