//! What topics must be set to, so that records are neither forgotten nor refused.

use std::collections::{BTreeMap, BTreeSet};

use millrace_engine::client;
use millrace_kafka::Setting;
use rdkafka::admin::{AdminClient, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::MetadataTopic;

use crate::config::Config;
use crate::failure::Failure;
use crate::kafka;
use crate::layout::Topic;

const RETENTION: &str = "retention.ms";
const FOREVER: i64 = -1;

const BATCH_MAX: &str = "max.message.bytes";
/// What an answer has beside one batch, at most.
const ANSWER_OVERHEAD: i64 = 65_536;

/// A setting as it must be.
pub(super) struct Wanted {
    pub(super) name: &'static str,
    pub(super) value: String,
    rule: Rule,
}

/// What becomes of a topic that has another value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// It may have lost records, or be about to: an operator's to decide.
    Exactly,
    /// A larger one does no harm; a smaller one is raised.
    AtLeast,
}

/// The settings of a topic of so many replicas.
pub(super) fn of(topic: &Topic, replicas: i32) -> Vec<Wanted> {
    let wanted = |name, value: String, rule| Wanted { name, value, rule };
    let forever = topic.forever.then(|| wanted(RETENTION, "-1".to_owned(), Rule::Exactly));
    let kept = topic.kept_ms.map(|kept| wanted(RETENTION, kept.to_string(), Rule::AtLeast));
    // A write that only one of several replicas has is lost with it. One replica may be away.
    let in_sync = (replicas - 1).max(1);
    let all = [
        // Never by size: how much is kept would depend on how much others write.
        wanted("retention.bytes", "-1".to_owned(), Rule::Exactly),
        // Compaction keeps the last record of each key, and every record counts.
        wanted("cleanup.policy", "delete".to_owned(), Rule::Exactly),
        wanted("min.insync.replicas", in_sync.to_string(), Rule::AtLeast),
        wanted(BATCH_MAX, topic.bytes_max.to_string(), Rule::AtLeast),
    ];
    forever.into_iter().chain(kept).chain(all).collect()
}

/// Looks at topics that are there: refuses them, raises their limits, or leaves them. Returns those that were raised.
pub(super) async fn keep(
    config: &Config,
    admin: &AdminClient<DefaultClientContext>,
    topics: &[&Topic],
) -> Result<BTreeSet<String>, Failure> {
    if topics.is_empty() {
        return Ok(BTreeSet::new());
    }
    let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
    let described = admin.describe_configs(&resources, &kafka::admin_options()).await;
    let described = described.map_err(|error| kafka::failure(&config.kafka, &error))?;
    let replicas = replicas(config, admin)?;
    let mut low = Vec::new();
    for found in described {
        let found = found.map_err(|code| {
            Failure::refused(format!("the settings of a topic of this instance cannot be read: {code}"))
        })?;
        let is = |topic: &&&Topic| found.specifier == OwnedResourceSpecifier::Topic(topic.name.clone());
        let Some(topic) = topics.iter().find(is) else { continue };
        let replicas = replicas.get(&topic.name).copied().unwrap_or(1);
        low.extend(too_low(topic, replicas, &found)?);
        refuse_what_no_client_takes(config, &topic.name, &found)?;
    }
    raise(config, admin, low).await
}

/// How many replicas each topic has.
fn replicas(
    config: &Config,
    admin: &AdminClient<DefaultClientContext>,
) -> Result<BTreeMap<String, i32>, Failure> {
    let metadata = tokio::task::block_in_place(|| admin.inner().fetch_metadata(None, kafka::TIMEOUT));
    let metadata = metadata.map_err(|error| kafka::failure(&config.kafka, &error))?;
    let replicas = |topic: &MetadataTopic| {
        let fewest = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
        fewest.and_then(|fewest| i32::try_from(fewest).ok()).unwrap_or(1)
    };
    Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), replicas(topic))).collect())
}

/// What is to be raised.
fn too_low(topic: &Topic, replicas: i32, found: &ConfigResource) -> Result<Vec<Setting>, Failure> {
    let mut low = Vec::new();
    for Wanted { name, value, rule } in of(topic, replicas) {
        let found = found.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
        match rule {
            Rule::Exactly if found != value => return Err(refusal(&topic.name, name, found, &value)),
            Rule::AtLeast if size(name, found) < size(name, &value) => {
                low.push(Setting { topic: topic.name.clone(), name: name.to_owned(), value });
            }
            Rule::Exactly | Rule::AtLeast => {}
        }
    }
    Ok(low)
}

/// A batch that is larger than an answer may be would stand in the way of all partitions of its broker.
fn refuse_what_no_client_takes(config: &Config, topic: &str, found: &ConfigResource) -> Result<(), Failure> {
    let most = client::answer_bytes_max(&kafka::settings(&config.kafka)) - ANSWER_OVERHEAD;
    let found = found
        .get(BATCH_MAX)
        .and_then(|entry| entry.value.as_deref())
        .and_then(|found| size(BATCH_MAX, found));
    match found {
        Some(found) if found > most => Err(Failure::refused(format!(
            "the topic `{topic}` has {BATCH_MAX}={found}, and no client of ours takes more than {most}: lower it, or raise \
             `receive.message.max.bytes` (kafka.properties), which is also what a record may take in memory"
        ))),
        _ => Ok(()),
    }
}

/// How large a value is.
fn size(name: &str, value: &str) -> Option<i64> {
    match value.parse().ok()? {
        FOREVER if name == RETENTION => Some(i64::MAX),
        size => Some(size),
    }
}

fn refusal(topic: &str, name: &str, found: &str, value: &str) -> Failure {
    Failure::refused(format!(
        "the topic `{topic}` has {name}={found}, under which it loses records that are needed; it must be {value}: \
         kafka-configs --alter --topic {topic} --add-config {name}={value}"
    ))
}

async fn raise(
    config: &Config,
    admin: &AdminClient<DefaultClientContext>,
    low: Vec<Setting>,
) -> Result<BTreeSet<String>, Failure> {
    if !low.is_empty() {
        let set = tokio::task::block_in_place(|| millrace_kafka::set(admin.inner(), &low, kafka::TIMEOUT));
        set.map_err(|error| kafka::failure(&config.kafka, &error))?;
    }
    Ok(low.into_iter().map(|setting| setting.topic).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_are_kept_for_ever_are_kept_longest() {
        assert!(size(RETENTION, "-1") > size(RETENTION, "604800000"));
        assert!(size("max.message.bytes", "-1") < size("max.message.bytes", "1"));
    }

    #[test]
    fn a_refusal_says_which_setting_of_which_topic_and_how_to_mend_it() {
        let refusal = refusal("shop.evt.orders.v1", "cleanup.policy", "compact", "delete").to_string();
        for part in ["`shop.evt.orders.v1` has cleanup.policy=compact", "--add-config cleanup.policy=delete"]
        {
            assert!(refusal.contains(part), "{refusal}");
        }
    }
}
