//! Consumer groups and the generations of read models.

use std::borrow::Cow;

/// A consumer group and the generation of the read model that it builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The role's group, the same for all its generations: `millrace.orders`. In Kafka it is the group of the serving generation.
    pub id: String,
    /// The number of the generation, from 1; each rebuild has the next one.
    pub generation: i32,
}

impl Group {
    /// The name of this generation: the group's id for the first one, `millrace.orders.g2` for the second. Its retry topics and
    /// metrics have this name; dead letters share one topic for all generations.
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
