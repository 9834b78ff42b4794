//! Consumer groups and the generations of what they build.

use std::borrow::Cow;

/// A consumer group and the generation of the read model that it builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The role's group, the same for all its generations: `millrace.orders`. In Kafka it is the serving generation's.
    pub id: String,
    /// 1 for the first; a rebuild counts up.
    pub generation: i32,
}

impl Group {
    /// What is this generation's alone: the group's id for the first one, `millrace.orders.g2` for the second. Its retry
    /// topics and figures are called after it; its dead letters lie with those of the other generations.
    pub fn own_name(&self) -> Cow<'_, str> {
        own_name(&self.id, self.generation)
    }
}

/// As [`Group::own_name`].
pub fn own_name(group: &str, generation: i32) -> Cow<'_, str> {
    match generation {
        ..=1 => Cow::Borrowed(group),
        later => Cow::Owned(format!("{group}.g{later}")),
    }
}
