//! Required settings of topics, so that records are neither lost nor refused.

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

/// How much older than the broker's clock a record's timestamp may be (KIP-937).
const STAMP_AGE_MAX: &str = "message.timestamp.before.max.ms";

const BATCH_MAX: &str = "max.message.bytes";
/// Overhead of a fetch response beside one batch, in bytes.
const ANSWER_OVERHEAD: i64 = 65_536;

/// A required setting.
pub(super) struct Wanted {
    pub(super) name: &'static str,
    pub(super) value: String,
    rule: Rule,
}

/// What is done about another value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Refuse it: the topic may have lost records, or may lose them, and an operator must decide.
    Exactly,
    /// Raise a smaller value; accept a larger one.
    AtLeast,
    /// Lower a larger value; accept a smaller one.
    AtMost,
}

/// The required settings of a topic with this number of replicas.
pub(super) fn of(topic: &Topic, replicas: i32) -> Vec<Wanted> {
    let wanted = |name, value: String, rule| Wanted { name, value, rule };
    // Retention uses timestamps: it would remove a record with an older one within minutes, whether it was read or not. So such a
    // record is refused at its producer.
    let stamp = topic.kept_ms.filter(|_| topic.stamped_by_others).map(|kept| match kept {
        FOREVER => wanted(STAMP_AGE_MAX, i64::MAX.to_string(), Rule::AtLeast),
        kept => wanted(STAMP_AGE_MAX, kept.to_string(), Rule::AtMost),
    });
    let forever = topic.forever.then(|| wanted(RETENTION, "-1".to_owned(), Rule::Exactly));
    let kept = topic.kept_ms.map(|kept| wanted(RETENTION, kept.to_string(), Rule::AtLeast));
    // `min.insync.replicas`: one replica may be away, and an acknowledged record is on at least two of several.
    let in_sync = (replicas - 1).max(1);
    let all = [
        // No retention by size: it would depend on the volume of other records.
        wanted("retention.bytes", "-1".to_owned(), Rule::Exactly),
        // No compaction: it would keep only the last record of each key.
        wanted("cleanup.policy", "delete".to_owned(), Rule::Exactly),
        wanted("min.insync.replicas", in_sync.to_string(), Rule::AtLeast),
        wanted(BATCH_MAX, topic.bytes_max.to_string(), Rule::AtLeast),
    ];
    forever.into_iter().chain(kept).chain(stamp).chain(all).collect()
}

/// Checks existing topics: refuses them, changes their settings unless `dry`, or accepts them. Returns those that are changed.
pub(super) async fn keep(
    config: &Config,
    admin: &AdminClient<DefaultClientContext>,
    topics: &[&Topic],
    dry: bool,
) -> Result<BTreeSet<String>, Failure> {
    if topics.is_empty() {
        return Ok(BTreeSet::new());
    }
    let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
    let described = admin.describe_configs(&resources, &kafka::admin_options()).await;
    let described = described.map_err(|error| kafka::failure(&config.kafka, &error))?;
    let replicas = replicas(config, admin)?;
    let mut unfit_settings = Vec::new();
    for found in described {
        let found = found.map_err(|code| {
            Failure::refused(format!("the settings of a topic of this instance cannot be read: {code}"))
        })?;
        let is = |topic: &&&Topic| found.specifier == OwnedResourceSpecifier::Topic(topic.name.clone());
        let Some(topic) = topics.iter().find(is) else { continue };
        let replicas = replicas.get(&topic.name).copied().unwrap_or(1);
        unfit_settings.extend(unfit(topic, replicas, &found)?);
        refuse_what_no_client_takes(config, &topic.name, &found)?;
    }
    let changed = unfit_settings.iter().map(|setting: &Setting| setting.topic.clone()).collect();
    if !dry {
        set(config, admin, unfit_settings).await?;
    }
    Ok(changed)
}

/// The number of replicas of each topic.
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

/// The settings to raise or lower.
fn unfit(topic: &Topic, replicas: i32, found: &ConfigResource) -> Result<Vec<Setting>, Failure> {
    let mut wrong = Vec::new();
    for Wanted { name, value, rule } in of(topic, replicas) {
        let found = found.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
        let (is, must) = (size(name, found), size(name, &value));
        let fits = match rule {
            Rule::Exactly if found != value => return Err(refusal(&topic.name, name, found, &value)),
            Rule::Exactly => true,
            Rule::AtLeast => is >= must,
            Rule::AtMost => is.is_some_and(|is| Some(is) <= must),
        };
        if !fits {
            wrong.push(Setting { topic: topic.name.clone(), name: name.to_owned(), value });
        }
    }
    Ok(wrong)
}

/// Refuses a topic whose batches may exceed the clients' response limit: such a batch would block all partitions of its broker.
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

/// The value as a number, for comparisons.
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

async fn set(
    config: &Config,
    admin: &AdminClient<DefaultClientContext>,
    settings: Vec<Setting>,
) -> Result<(), Failure> {
    if !settings.is_empty() {
        let set =
            tokio::task::block_in_place(|| millrace_kafka::set(admin.inner(), &settings, kafka::TIMEOUT));
        set.map_err(|error| kafka::failure(&config.kafka, &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_are_kept_for_ever_are_kept_longest() {
        assert!(size(RETENTION, "-1") > size(RETENTION, "604800000"));
        assert!(size(STAMP_AGE_MAX, "9223372036854775807") > size(STAMP_AGE_MAX, "2592000000"));
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
