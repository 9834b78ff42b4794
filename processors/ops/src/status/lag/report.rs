//! What is said of topics, and of how far groups are behind them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::moment;

/// What Kafka knows, next to the groups' offsets.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Kafka {
    /// Every topic of the instance.
    pub topics: Vec<Topic>,
    /// How far each group is behind in each topic.
    pub lags: Vec<Lag>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// 0 when it is not there.
    pub partitions: i32,
    /// Records that it holds.
    pub records: i64,
    /// Records that were ever written to it, those that were deleted since and markers of transactions included.
    #[serde(skip)]
    pub written: i64,
}

/// How far a group is behind a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Lag {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Records that can be read and are not applied; markers of transactions between them count too.
    pub records: i64,
    /// Age of the oldest of them; `None` when it could not be read in time.
    pub seconds: Option<f64>,
    /// Records that cannot be read yet, since a producer's transaction is still open.
    pub withheld: i64,
    /// Applied records whose rows may not be in Elasticsearch yet.
    pub unpublished: Option<i64>,
    /// Partitions that no worker ever claimed.
    pub unclaimed: i32,
    /// Partitions whose next records were deleted before they were read: they stand until the group is reset.
    pub deleted: Vec<Deleted>,
    /// Partitions that stand at a record that cannot be fetched, until it is a dead letter.
    pub unfetchable: Vec<Stuck>,
    /// How long the topic keeps its records, in seconds; `None` for ever, or unknown.
    pub kept_seconds: Option<f64>,
}

/// Records that were deleted before a group had read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// The partition's number.
    pub partition: i32,
    /// The first of them.
    pub from: i64,
    /// The first that is there.
    pub to: i64,
}

/// A record that cannot be fetched, where a group stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stuck {
    /// The partition's number.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// As Kafka's client says.
    pub why: String,
}

impl Lag {
    /// Where it stands at what cannot be fetched, for people.
    pub fn stuck(&self) -> Option<String> {
        let stuck = |Stuck { partition, offset, why }: &Stuck| {
            format!("stands at offset {offset} of partition {partition}, which cannot be fetched: {why}")
        };
        let stuck = self.unfetchable.iter().map(stuck).collect::<Vec<_>>().join(", ");
        (!stuck.is_empty()).then_some(stuck)
    }

    /// What was lost to retention, for people.
    pub fn lost(&self) -> Option<String> {
        let range = |Deleted { partition, from, to }: &Deleted| {
            format!("{from} to {} of partition {partition}", to - 1)
        };
        let ranges = self.deleted.iter().map(range).collect::<Vec<_>>().join(", ");
        (!ranges.is_empty())
            .then(|| format!("LOST TO RETENTION: the offsets {ranges} were deleted before they were read"))
    }

    /// A warning before records are lost: the oldest has waited for half of the time that its topic keeps it.
    pub fn expiring(&self) -> Option<String> {
        let (waited, kept) = (self.seconds?, self.kept_seconds?);
        let shown = |seconds| moment::shown(Duration::from_secs_f64(seconds));
        (self.records > 0 && waited > kept / 2.0)
            .then(|| format!("the topic deletes records after {}: read these soon", shown(kept)))
    }
}

impl Kafka {
    /// With how long topics keep their records.
    pub fn keeping(mut self, kept: &BTreeMap<String, f64>) -> Self {
        for lag in &mut self.lags {
            lag.kept_seconds = kept.get(&lag.topic).copied();
        }
        self
    }

    /// An alarm for each group whose records were deleted before it read them, and the way on.
    pub fn deleted(&self) -> Vec<String> {
        let lost = self.lags.iter().filter_map(|lag| Some((lag, lag.lost()?)));
        let alarms = lost.map(|(Lag { group, topic, .. }, lost)| {
            format!(
                "{group}: {topic}: {lost}, and the partition stands. To go on behind them stop `millrace run` and reset the \
                 group: kafka-consumer-groups --group {group} --reset-offsets --to-earliest --topic {topic} --execute"
            )
        });
        alarms.collect()
    }
}
