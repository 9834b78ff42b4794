//! The generations into which this build may fold, and when it begins one of its own shape.
//!
//! A generation has the shape of the build that began it. Only processes of that shape fold into it, so processes of two builds
//! run at the same time, each with its own generation; the new one is compared and swapped like any other.

use std::collections::BTreeMap;

use millrace_engine::failpoints::{broken, mechanism};
use millrace_store::names;
use millrace_store::replay::{self, Known, Shape};
use sqlx::{PgConnection, PgExecutor};

use super::generations::{Generation, State};
use crate::failure::Failure;
use crate::layout::ReadModel;
use crate::postgres::Database;

/// What a build does about a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing: the serving generation has its shape.
    Serves,
    /// Begin the next generation, and abandon this one, if any, which a lower release is building.
    Begins(Option<i32>),
    /// Build this generation, which has its shape.
    Builds(i32),
    /// Wait for this generation of another build, whose release is not lower.
    Waits(i32),
    /// Nothing: the serving generation is of this higher release.
    IsTooOld(i32),
    /// Nothing: this earlier generation had its shape, and its release or a later one. It was rolled back, refused or retired.
    HadIt(i32),
}

/// `asked_by` of a generation that a build has begun because of its shape.
pub(super) const RELEASE_ASKS: &str = "release";

/// Types that are binary compatible count as equal.
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

/// A column that is missing in a generation's table, or has another type.
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

/// The columns that tables of generations lack compared with this build's.
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

/// The live generations into which this build does not fold, each with the reason.
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
        let reason = format!("another-shape: {lacks}");
        unfit.entry(lacks.place).or_insert(reason);
    }
    Ok(unfit)
}

/// Why this build does not fold into a generation that another one has begun.
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

/// What this build must do about a view, in the transaction of `connection`.
pub(crate) async fn due_of(connection: &mut PgConnection, model: &ReadModel) -> sqlx::Result<Due> {
    let known = replay::every(&mut *connection, model.name).await?;
    let serving = known.iter().find(|one| one.state == State::Serving.as_str());
    let serving = serving.map(|one| one.generation).unwrap_or_default();
    let whole = lacking(connection, &[(model, serving)]).await?.is_empty();
    Ok(due(&known, &model.shape, whole))
}

/// A build of a lower release than the serving generation's begins none; otherwise two builds would replace each other's for
/// ever. A shape that this release or a later one has had before is not begun automatically: it was rolled back, refused or
/// retired, and an operator decides. A table that is not `whole` any more is rebuilt by a build of its shape. Of two that are
/// being built, the one of the higher release continues.
fn due(known: &[Known], ours: &Shape, whole: bool) -> Due {
    let in_state = |state: State| known.iter().find(|one| one.state == state.as_str());
    let is_ours = |one: &&Known| one.shape.as_ref() == Some(&ours.fingerprint);
    let release = |one: &Known| one.release.unwrap_or_default();
    let Some(serving) = in_state(State::Serving) else { return Due::Serves };
    let declined = |one: &&Known| is_ours(one) && release(one) >= ours.release;
    let had = known.iter().find(declined).filter(|_| !broken(mechanism::DECLINED_SHAPE));
    match (is_ours(&serving), in_state(State::Building), had) {
        (true, _, _) if whole => Due::Serves,
        (_, Some(building), _) if is_ours(&building) => Due::Builds(building.generation),
        (false, _, _) if release(serving) > ours.release => Due::IsTooOld(release(serving)),
        (false, _, Some(had)) => Due::HadIt(had.generation),
        (_, Some(other), _) if release(other) >= ours.release => Due::Waits(other.generation),
        (_, lower, _) => Due::Begins(lower.map(|lower| lower.generation)),
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
            assert_eq!(due(std::slice::from_ref(&serving), &ours("b", 1), true), Due::Begins(None));
            assert_eq!(due(&[serving], &ours("b", 2), true), Due::Begins(None));
        }
        let serving = [known(1, State::Serving, "a", 2)];
        assert_eq!(due(&serving, &ours("b", 1), true), Due::IsTooOld(2));
        assert_eq!(due(&serving, &ours("a", 3), true), Due::Serves);
    }

    #[test]
    fn two_builds_do_not_take_turns() {
        let swapped = [known(1, State::Following, "a", 1), known(2, State::Serving, "b", 1)];
        assert_eq!(due(&swapped, &ours("a", 1), true), Due::HadIt(1), "the old one");
        let back = [known(1, State::Serving, "a", 1), known(2, State::Following, "b", 2)];
        assert_eq!(due(&back, &ours("b", 2), true), Due::HadIt(2), "what was rolled back");
        let retired = [known(1, State::Serving, "a", 1), known(2, State::Retired, "b", 2)];
        assert_eq!(due(&retired, &ours("b", 2), true), Due::HadIt(2), "or retired");
        assert_eq!(due(&retired, &ours("b", 3), true), Due::Begins(None), "but for a later release");
        assert_eq!(
            due(&swapped, &ours("a", 2), true),
            Due::Begins(None),
            "which may have a former shape, too"
        );
    }

    #[test]
    fn of_two_new_builds_the_higher_release_goes_on_and_an_equal_one_waits() {
        let building = |release| [known(1, State::Serving, "a", 1), known(2, State::Building, "b", release)];
        assert_eq!(due(&building(2), &ours("c", 3), true), Due::Begins(Some(2)));
        assert_eq!(due(&building(2), &ours("c", 2), true), Due::Waits(2));
        assert_eq!(due(&building(3), &ours("c", 2), true), Due::Waits(2));
        assert_eq!(due(&building(3), &ours("b", 2), true), Due::Builds(2), "whichever build has begun it");
        assert_eq!(due(&building(2), &ours("a", 1), true), Due::Serves);
    }

    #[test]
    fn a_table_that_lost_a_column_is_built_anew_once() {
        let serving = known(1, State::Serving, "a", 1);
        assert_eq!(due(std::slice::from_ref(&serving), &ours("a", 1), false), Due::Begins(None));
        let building = known(2, State::Building, "a", 1);
        assert_eq!(due(&[serving, building], &ours("a", 1), false), Due::Builds(2));
    }
}
