//! Names. Everything that an instance owns has its namespace as prefix, so that several instances share one stack.

use std::fmt;

use millrace_schemas::Kind;

/// The name of an instance: prefix of its topics, groups, slot, publication, database schemas and indices.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace(String);

/// A kind in the names of topics.
pub(crate) fn in_topics(kind: Kind) -> &'static str {
    match kind {
        Kind::Command => "cmd",
        Kind::Event => "evt",
        Kind::Rejection => "rej",
        Kind::Outcome => "out",
    }
}

/// The name cannot be a namespace.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a namespace: it must be 1 to 40 of a-z, 0-9 and _, beginning with a letter")]
pub struct NotANamespace(String);

impl Default for Namespace {
    /// `millrace`.
    fn default() -> Self {
        Self("millrace".to_owned())
    }
}

impl Namespace {
    /// Checks a name: 1 to 40 of `a-z`, `0-9` and `_`, beginning with a letter, so that it is valid in Kafka, Postgres
    /// and Elasticsearch alike.
    ///
    /// # Errors
    /// [`NotANamespace`].
    pub fn new(name: &str) -> Result<Self, NotANamespace> {
        let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let begins = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if letters && begins && name.len() <= 40 {
            Ok(Self(name.to_owned()))
        } else {
            Err(NotANamespace(name.to_owned()))
        }
    }

    /// The topic of a context's commands, events, rejections or outcomes: `millrace.cmd.orders.v1`.
    pub fn topic(&self, kind: Kind, context: &str) -> String {
        format!("{self}.{}.{context}.v1", in_topics(kind))
    }

    /// The kind and the context of the records of a topic; `None` for a topic that is not this instance's.
    pub fn carried_by(&self, topic: &str) -> Option<(Kind, &'static str)> {
        let (short, rest) = topic.strip_prefix(&*self.0)?.strip_prefix('.')?.split_once('.')?;
        let context = rest.strip_suffix(".v1")?;
        let kind = match short {
            "cmd" => Kind::Command,
            "evt" => Kind::Event,
            "rej" => Kind::Rejection,
            "out" => Kind::Outcome,
            _ => return None,
        };
        Some((kind, millrace_schemas::CONTEXTS.iter().copied().find(|known| *known == context)?))
    }

    /// The context whose events a topic carries; `None` for any other topic.
    pub fn event_context(&self, topic: &str) -> Option<&'static str> {
        self.carried_by(topic).and_then(|(kind, context)| (kind == Kind::Event).then_some(context))
    }

    /// The consumer group of a role: `millrace.orders`.
    pub fn group(&self, role: &str) -> String {
        format!("{self}.{role}")
    }

    /// The Kafka group of a generation that does not serve: `millrace.orders.g2`. The serving generation has the role's group, so
    /// that operators and their tools need no other name.
    pub fn generation_group(&self, role: &str, generation: i32) -> String {
        format!("{self}.{role}.g{generation}")
    }

    /// The `ce_source` of records from the outbox: `/millrace`.
    pub fn source(&self) -> String {
        format!("/{self}")
    }

    /// The name under which readers search a published view: `millrace-orders`.
    pub fn index_alias(&self, view: &str) -> String {
        format!("{self}-{view}")
    }

    /// The index of one generation of a view: `millrace-orders-g1`.
    pub fn index(&self, view: &str, generation: i32) -> String {
        format!("{self}-{view}-g{generation}")
    }

    /// The schema in both databases.
    pub fn database_schema(&self) -> &str {
        &self.0
    }

    /// The replication slot, publication and Debezium connector of the outbox: `millrace_outbox`.
    pub fn outbox(&self) -> String {
        format!("{self}_outbox")
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The dead letters of a topic and group: `millrace.cmd.orders.v1.millrace.commands.dlq`.
pub fn dead_letter_topic(topic: &str, group: &str) -> String {
    format!("{topic}.{group}.dlq")
}

/// The topic of the wake-up copies for the `level`-th retry of records of a topic and group:
/// `millrace.cmd.orders.v1.millrace.commands.retry.1`.
pub fn retry_topic(topic: &str, group: &str, level: usize) -> String {
    format!("{topic}.{group}.retry.{level}")
}

/// The level of a retry topic, which is the last part of its name; `None` for other topics.
pub fn retry_level(topic: &str) -> Option<usize> {
    topic.rsplit_once(".retry.")?.1.parse().ok()
}

/// The table of one generation of a view: `orders_g1`.
pub fn table(view: &str, generation: i32) -> String {
    format!("{view}_g{generation}")
}

/// The role that decides commands, and the last part of its consumer group.
pub const COMMANDS: &str = "commands";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_of_the_instance_tells_what_it_carries() {
        let namespace = Namespace::new("shop").unwrap();
        for kind in [Kind::Command, Kind::Event, Kind::Rejection, Kind::Outcome] {
            assert_eq!(namespace.carried_by(&namespace.topic(kind, "orders")), Some((kind, "orders")));
        }
        for foreign in
            ["shop2.evt.orders.v1", "evt.orders.v1", "shop.evt.nothing.v1", "shop.evt.orders.v1.dlq"]
        {
            assert_eq!(namespace.carried_by(foreign), None, "{foreign}");
        }
        assert_eq!(namespace.event_context("shop.rej.orders.v1"), None);
    }

    #[test]
    fn a_retry_topic_tells_its_level() {
        for level in [1, 12] {
            assert_eq!(retry_level(&retry_topic("m.cmd.orders.v1", "m.commands.g2", level)), Some(level));
        }
        for other in ["m.cmd.orders.v1", "m.retry.x", &dead_letter_topic("m.cmd.orders.v1", "m.commands")] {
            assert_eq!(retry_level(other), None, "{other}");
        }
    }

    #[test]
    fn a_namespace_is_valid_in_kafka_postgres_and_elasticsearch() {
        for good in ["millrace", "m1", "a_b_2"] {
            assert!(Namespace::new(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "_a", "A", "a-b", "a.b", "ä", &"a".repeat(41)] {
            assert!(Namespace::new(bad).is_err(), "{bad}");
        }
    }
}
