//! Filters must name existing things: a typo must not look like "no dead letters".

use millrace_store::dead_letter::{self, Column};

use super::letter::text;
use super::tables::{Filters, Tables};
use crate::config::Config;
use crate::failure::Failure;
use crate::known;
use crate::layout::{self, Side};

/// Refuses filters that cannot match anything.
///
/// # Errors
/// [`Failure::Usage`] for a group or a topic, [`Failure::NotFound`] for a code or a key that no letter ever had.
pub(super) async fn check(config: &Config, tables: &Tables<'_>, filters: &Filters) -> Result<(), Failure> {
    let groups = layout::groups(config);
    if let Some(group) = &filters.group {
        let names = groups.iter().flat_map(|group| [group.role.to_owned(), group.id.clone()]);
        // An earlier build may have had groups that this one does not know.
        let names = names.chain(distinct(tables, Column::Group).await?);
        known::among("group", group, &names.collect::<Vec<_>>())?;
    }
    if let Some(topic) = &filters.topic {
        let names = groups.iter().flat_map(|group| group.topics.iter().cloned());
        let names = names.chain(distinct(tables, Column::Topic).await?);
        known::among("topic", topic, &names.collect::<Vec<_>>())?;
    }
    if let Some(code) = &filters.code {
        had("code", code, &distinct(tables, Column::Code).await?)?;
    }
    if filters.keys.is_empty() {
        return Ok(());
    }
    let known = distinct(tables, Column::Key).await?;
    filters.keys.iter().try_for_each(|key| had("key", key, &known))
}

fn had(what: &str, value: &str, known: &[String]) -> Result<(), Failure> {
    if known.iter().any(|known| known == value) {
        return Ok(());
    }
    Err(Failure::NotFound(format!("no dead letter has the {what} `{value}`{}", known::instead(value, known))))
}

/// Every value of a column in both tables, of letters of every status.
async fn distinct(tables: &Tables<'_>, column: Column) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for side in [Side::Write, Side::Read] {
        let database = tables.side(side);
        let values = dead_letter::distinct(&database.pool, column).await;
        let values = values.map_err(|error| database.failure(error))?;
        found.extend(values.iter().map(|value| text(value)));
    }
    Ok(found)
}
