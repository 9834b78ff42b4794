//! What is said of topics, and of how far groups are behind them.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::moment;

/// The state of topics, and the lag of groups.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Kafka {
    /// Every topic of the instance.
    pub topics: Vec<Topic>,
    /// The lag of each group in each topic.
    pub lags: Vec<Lag>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The number of partitions; 0 when the topic does not exist.
    pub partitions: i32,
    /// The number of its records.
    pub records: i64,
    /// The number of offsets that were ever written, deleted records and transaction markers included.
    #[serde(skip)]
    pub written: i64,
}

/// The lag of a group in a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Lag {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Readable offsets that are not applied, transaction markers included.
    pub records: i64,
    /// Age of the oldest of them; `None` when it could not be read in time.
    pub seconds: Option<f64>,
    /// Records behind an open transaction, which cannot be read yet.
    pub withheld: i64,
    /// Applied records whose documents are not acknowledged.
    pub unpublished: Option<i64>,
    /// Partitions that were never claimed.
    pub unclaimed: i32,
    /// Partitions whose next records were deleted before they were read: they make no progress until the group is reset.
    pub deleted: Vec<Deleted>,
    /// Partitions whose next record cannot be fetched and is not a dead letter yet.
    pub unfetchable: Vec<Stuck>,
    /// The retention of the topic in seconds; `None` for ever, or unknown.
    pub kept_seconds: Option<f64>,
}

/// Records that were deleted before a group had read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "DeletedRecords")]
pub struct Deleted {
    /// The partition's number.
    pub partition: i32,
    /// The first of them.
    pub from: i64,
    /// The first existing offset.
    pub to: i64,
}

/// An unfetchable record that is a group's next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "UnfetchableRecord")]
pub struct Stuck {
    /// The partition's number.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The client's error.
    pub why: String,
}

impl Lag {
    /// A text for people about unfetchable records.
    pub fn stuck(&self) -> Option<String> {
        let stuck = |Stuck { partition, offset, why }: &Stuck| {
            format!("stands at offset {offset} of partition {partition}, which cannot be fetched: {why}")
        };
        let stuck = self.unfetchable.iter().map(stuck).collect::<Vec<_>>().join(", ");
        (!stuck.is_empty()).then_some(stuck)
    }

    /// A text for people about records that were lost to retention.
    pub fn lost(&self) -> Option<String> {
        let range = |Deleted { partition, from, to }: &Deleted| {
            format!("{from} to {} of partition {partition}", to - 1)
        };
        let ranges = self.deleted.iter().map(range).collect::<Vec<_>>().join(", ");
        (!ranges.is_empty())
            .then(|| format!("LOST TO RETENTION: the offsets {ranges} were deleted before they were read"))
    }

    /// A warning before records are lost: the oldest has waited for half of the topic's retention.
    pub fn expiring(&self) -> Option<String> {
        let (waited, kept) = (self.seconds?, self.kept_seconds?);
        let shown = |seconds| moment::shown(Duration::from_secs_f64(seconds));
        (self.records > 0 && waited > kept / 2.0)
            .then(|| format!("the topic deletes records after {}: read these soon", shown(kept)))
    }
}

impl Kafka {
    /// Adds the retention of topics.
    pub fn keeping(mut self, kept: &BTreeMap<String, f64>) -> Self {
        for lag in &mut self.lags {
            lag.kept_seconds = kept.get(&lag.topic).copied();
        }
        self
    }

    /// A text for each group whose records were deleted before it read them, with what to do.
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
