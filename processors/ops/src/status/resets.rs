//! Resets of groups by operators that the next start will handle.

use futures::future::try_join_all;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{self, Group, Side};
use crate::postgres::Database;
use crate::replay::generations::{self, State};
use crate::replay::reset::{self, Consequence, Reset};

/// What follows from a reset of a group; or that it has lost commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Reset")]
pub struct Wish {
    /// The consumer group.
    pub group: String,
    /// For people.
    pub what: String,
    /// Whether it is refused.
    pub refused: bool,
    #[serde(skip)]
    lost: bool,
}

/// Checks the committed offsets of every group of the write side, and of every serving generation.
pub(super) async fn look(config: &Config, write: &Database, read: &Database) -> Result<Vec<Wish>, Failure> {
    // Other queries report a component that does not answer.
    let live = generations::live(&read.pool).await.unwrap_or_default();
    let serving = |view: &str| {
        let serving = live.iter().find(|one| one.view == view && one.state == State::Serving);
        serving.map(|one| one.generation)
    };
    let looks = layout::groups(config).into_iter().filter_map(|group| match group.side {
        Side::Write => Some(of_group(config, write, group, 1)),
        Side::Read => serving(group.role).map(|generation| of_group(config, read, group, generation)),
    });
    Ok(try_join_all(looks).await?.concat())
}

async fn of_group(
    config: &Config,
    database: &Database,
    Group { id, topics, side, .. }: Group,
    generation: i32,
) -> Result<Vec<Wish>, Failure> {
    let wish = |what, refused, lost| Wish { group: id.clone(), what, refused, lost };
    Ok(match reset::look(config, database, (&id, generation), &topics).await? {
        Reset::None => Vec::new(),
        Reset::Asked(asked) => asked
            .consequences(side)
            .into_iter()
            .map(|Consequence { what, refused }| wish(what, refused, false))
            .collect(),
        Reset::Lost(what) if side == Side::Write => vec![wish(what, true, true)],
        // Its rows are as old as its offsets: it continues from there.
        Reset::Lost(_) => Vec::new(),
    })
}

/// Separates resets from lost commits.
pub(super) fn split(found: Result<Vec<Wish>, Failure>) -> (Result<Vec<Wish>, Failure>, Result<(), Failure>) {
    let (lost, wishes) = match found {
        Ok(found) => found.into_iter().partition::<Vec<_>, _>(|wish| wish.lost),
        Err(failure) => return (Ok(Vec::new()), Err(failure)),
    };
    let sound = lost.into_iter().next().map_or(Ok(()), |lost| Err(Failure::refused(lost.what)));
    (Ok(wishes), sound)
}
