//! Compares a generation whose rows have another key than the serving one's with its events, by the fold and by the view's check
//! SQL.

use millrace_store::names::table;

use super::audited::{AUDITED, Audited};
use super::finding::{Field, Finding};
use super::rows::{self, Looked, Rows};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{ReadModel, Side};
use crate::outbox::refold::Refold;
use crate::postgres::Database;
use crate::replay::compare::{Compared, Comparison, Difference};
use crate::replay::session;
use crate::roles::Roles;

/// Compares the rows of the building generation with its events, up to its progress.
///
/// # Errors
/// [`Failure::Busy`] when the view is being verified by another process; [`Failure`].
pub(crate) async fn check(
    config: &Config,
    read: &Database,
    model: &ReadModel,
    (serving, building): (i32, i32),
) -> Result<Comparison, Failure> {
    let fail = |error| read.failure(error);
    let (write, roles) = (Database::of(config, Side::Write)?, Roles::new(config)?);
    let no_rows = || Failure::usage(format!("`{}` has no rows", model.name));
    let (Some(definition), Some(role)) = (&model.table, roles.view(model.name, AUDITED)) else {
        return Err(no_rows());
    };
    let mut connection = session::open(read).await.map_err(fail)?;
    if !session::alone(&mut connection, "verify", &config.namespace, model.name).await.map_err(fail)? {
        return Err(Failure::Busy(format!("{} is being verified by another process", model.name)));
    }
    let audited = Audited::of(config, model, definition);
    let mut refold = Refold::new(config, [&write, read], role, building);
    refold.log(audited.events.clone())?;
    let rows = (building, table(model.name, building));
    let looked = Looked { name: model.name, table: definition, serving: rows, only: None };
    let rows = rows::check(read, &mut refold, &mut connection, (&looked, &audited)).await?;
    audited.remove(&mut connection).await.map_err(fail)?;
    Ok(comparison(rows, (serving, building)))
}

fn comparison(Rows { count, more, findings, .. }: Rows, (serving, building): (i32, i32)) -> Comparison {
    let differing = i64::try_from(findings.len()).unwrap_or(i64::MAX).saturating_add(more);
    let fields = findings.into_iter().take(20).flat_map(differences).collect();
    Comparison { serving, building, what: Compared::Events, rows: [count; 2], differing, fields }
}

/// Findings as differences: the expected values take the place of the serving generation's.
fn differences(Finding { key, fields, .. }: Finding) -> Vec<Difference> {
    let difference = |Field { field, found, expected, .. }| Difference {
        key: key.clone(),
        field,
        serving: expected,
        building: found,
    };
    fields.into_iter().map(difference).collect()
}
