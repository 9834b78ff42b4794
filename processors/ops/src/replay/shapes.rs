//! Which generations this build may fold into, and when it begins one of its own shape.
//!
//! A generation is of the shape that the build had which began it. Only processes of that shape fold into it, so old and new
//! ones run side by side, each with its own; the new one takes its place like any other build.

use std::collections::BTreeMap;

use millrace_store::names;
use millrace_store::replay::{self, Known, Shape};
use sqlx::{PgConnection, PgExecutor};

use super::generations::{Generation, State};
use crate::failure::Failure;
use crate::layout::ReadModel;
use crate::postgres::Database;

/// Who asks for a generation of another shape.
pub(super) const RELEASE_ASKS: &str = "release";

/// A type that Postgres takes for another without changing a byte is as good.
const LACKING: &str = "
    SELECT wanted.view, wanted.generation, wanted.rel, wanted.name, format_type(a.atttypid, a.atttypmod)
    FROM UNNEST($1::text[], $2::int[], $3::text[], $4::text[], $5::text[]) AS wanted(view, generation, rel, name, type)
    LEFT JOIN pg_attribute AS a
        ON a.attrelid = to_regclass(quote_ident(wanted.rel)) AND a.attname = wanted.name
           AND a.attnum > 0 AND NOT a.attisdropped
    WHERE a.attname IS NULL OR (a.atttypid <> to_regtype(wanted.type) AND NOT EXISTS (
        SELECT FROM pg_cast
        WHERE castsource = a.atttypid AND casttarget = to_regtype(wanted.type) AND castmethod = 'b'))
    ORDER BY 1, 2, 4";

/// A column that a generation's table does not have as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking {
    place: Place,
    table: String,
    column: String,
    /// The type that it has instead.
    found: Option<String>,
}

/// A view and one of its generations.
pub type Place = (String, i32);

impl std::fmt::Display for Lacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, column, found, .. } = self;
        match found {
            Some(found) => write!(f, "the column `{column}` of {table} is of the type {found}"),
            None => write!(f, "the table {table} has no column `{column}`"),
        }
    }
}

/// What the tables of generations lack of what this build's have.
pub(crate) async fn lacking(
    executor: impl PgExecutor<'_>,
    generations: &[(&ReadModel, i32)],
) -> sqlx::Result<Vec<Lacking>> {
    let wanted = generations.iter().flat_map(|(model, generation)| {
        let columns = model.table.iter().flat_map(|table| &table.columns);
        columns.map(move |(column, kind)| (model.name, *generation, column.as_str(), kind.as_str()))
    });
    let wanted: Vec<_> = wanted.collect();
    let rows: Vec<(String, i32, String, String, Option<String>)> = sqlx::query_as(LACKING)
        .bind(wanted.iter().map(|one| one.0).collect::<Vec<_>>())
        .bind(wanted.iter().map(|one| one.1).collect::<Vec<_>>())
        .bind(wanted.iter().map(|one| names::table(one.0, one.1)).collect::<Vec<_>>())
        .bind(wanted.iter().map(|one| one.2).collect::<Vec<_>>())
        .bind(wanted.iter().map(|one| one.3).collect::<Vec<_>>())
        .fetch_all(executor)
        .await?;
    let lacking = |(view, generation, table, column, found)| Lacking {
        place: (view, generation),
        table,
        column,
        found,
    };
    Ok(rows.into_iter().map(lacking).collect())
}

/// The live generations of the models' views that this build folds nothing into, each with the reason.
///
/// # Errors
/// [`Failure::Unreachable`].
pub async fn unfit(
    read: &Database,
    models: impl Iterator<Item = &ReadModel>,
    live: &[Generation],
) -> Result<BTreeMap<Place, String>, Failure> {
    let (mut ours, mut unfit) = (Vec::new(), BTreeMap::new());
    for model in models {
        for one in live.iter().filter(|one| one.view == model.name) {
            if one.is_of(&model.shape) {
                ours.push((model, one.generation));
            } else {
                unfit.insert((one.view.clone(), one.generation), foreign(one, &model.shape));
            }
        }
    }
    let lacking = lacking(&read.pool, &ours).await.map_err(|error| read.failure(error))?;
    for lacks in lacking {
        let told = format!("another-shape: {lacks}");
        unfit.entry(lacks.place).or_insert(told);
    }
    Ok(unfit)
}

/// What is told of a generation that another build has begun.
fn foreign(one: &Generation, ours: &Shape) -> String {
    let (generation, release) = (one.generation, one.release.unwrap_or_default());
    match &one.shape {
        Some(_) if release > ours.release => format!(
            "build-too-old: generation {generation} is of release {release}, and this build of {}",
            ours.release
        ),
        Some(shape) => format!(
            "another-shape: generation {generation} is of the shape {shape}, and this build has {}",
            ours.fingerprint
        ),
        None => format!("another-shape: generation {generation} is as an earlier build has set it up"),
    }
}

/// Whether this build begins the next generation of a view by itself, inside the transaction of `connection`.
pub(super) async fn is_due(connection: &mut PgConnection, model: &ReadModel) -> sqlx::Result<bool> {
    let known = replay::every(&mut *connection, model.name).await?;
    let serving = known.iter().find(|one| one.state == State::Serving.as_str());
    let serving = serving.map(|one| one.generation).unwrap_or_default();
    let whole = lacking(connection, &[(model, serving)]).await?.is_empty();
    Ok(due(&known, &model.shape, whole))
}

/// A build of a lower release than the serving generation's begins none: two builds would take turns for ever. Nor is a shape
/// begun by itself that this release, or a later one, has had: it was rolled back, refused or replaced, and an operator says when
/// it comes again. A table that is not `whole` any more is built anew by whoever has its shape.
fn due(known: &[Known], ours: &Shape, whole: bool) -> bool {
    let in_state = |state: State| known.iter().find(|one| one.state == state.as_str());
    let (Some(serving), None) = (in_state(State::Serving), in_state(State::Building)) else { return false };
    let is_ours = |one: &Known| one.shape.as_ref() == Some(&ours.fingerprint);
    let release = |one: &Known| one.release.unwrap_or_default();
    match is_ours(serving) {
        true => !whole,
        false => {
            release(serving) <= ours.release
                && !known.iter().any(|one| is_ours(one) && release(one) >= ours.release)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(generation: i32, state: State, shape: &str, release: i32) -> Known {
        let shape = (!shape.is_empty()).then(|| shape.to_owned());
        let release = (release > 0).then_some(release);
        Known { generation, state: state.as_str().to_owned(), shape, release }
    }

    fn ours(shape: &str, release: i32) -> Shape {
        Shape { fingerprint: shape.to_owned(), release }
    }

    #[test]
    fn a_new_shape_is_begun_by_its_own_or_a_later_release() {
        for serving in [known(1, State::Serving, "a", 1), known(1, State::Serving, "", 0)] {
            assert!(due(std::slice::from_ref(&serving), &ours("b", 1), true), "{serving:?}");
            assert!(due(&[serving], &ours("b", 2), true));
        }
        assert!(!due(&[known(1, State::Serving, "a", 2)], &ours("b", 1), true), "a lower release");
        assert!(!due(&[known(1, State::Serving, "a", 1)], &ours("a", 2), true), "the same shape");
    }

    #[test]
    fn two_builds_do_not_take_turns() {
        let swapped = [known(1, State::Following, "a", 1), known(2, State::Serving, "b", 1)];
        assert!(!due(&swapped, &ours("a", 1), true), "the old one");
        let back = [known(1, State::Serving, "a", 1), known(2, State::Following, "b", 2)];
        assert!(!due(&back, &ours("b", 2), true), "what was rolled back");
        let retired = [known(1, State::Serving, "a", 1), known(2, State::Retired, "b", 2)];
        assert!(!due(&retired, &ours("b", 2), true), "or retired");
        assert!(due(&retired, &ours("b", 3), true), "but for a later release");
        assert!(due(&swapped, &ours("a", 2), true), "which may have a former shape, too");
    }

    #[test]
    fn a_table_that_lost_a_column_is_built_anew_once() {
        let serving = known(1, State::Serving, "a", 1);
        assert!(due(std::slice::from_ref(&serving), &ours("a", 1), false));
        assert!(!due(&[serving, known(2, State::Building, "a", 1)], &ours("a", 1), false));
    }
}
