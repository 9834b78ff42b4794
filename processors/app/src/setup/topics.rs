//! Topics, of the configured size.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

use super::steps::{Did, Steps};
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{self, Reader};
use crate::layout::{self, Topic};

const FOREVER: &str = "-1";
const RETENTION: &str = "retention.ms";

/// An administrator's connection.
pub(crate) fn admin(config: &Config) -> Result<AdminClient<DefaultClientContext>, Failure> {
    kafka::client_config(config).create().map_err(|error| kafka::failure(config, &error))
}

/// How long administrators wait.
pub(crate) fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(kafka::TIMEOUT)).operation_timeout(Some(kafka::TIMEOUT))
}

/// Creates those of these topics that are not there.
pub(crate) async fn ensure(config: &Config, wanted: &[Topic]) -> Result<(), Failure> {
    let there = tokio::task::block_in_place(|| Reader::new(config)?.topics())?;
    let missing: Vec<&Topic> = wanted.iter().filter(|topic| !there.contains_key(&topic.name)).collect();
    create_missing(config, &admin(config)?, &missing).await
}

/// Removes those of these topics that are there.
pub(crate) async fn remove(config: &Config, topics: &[Topic]) -> Result<(), Failure> {
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    remove_named(config, &names).await
}

/// As [`remove`], by name.
pub(super) async fn remove_named(config: &Config, names: &[&str]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let answers = admin(config)?.delete_topics(names, &options()).await;
    for answer in answers.map_err(|error| kafka::failure(config, &error))? {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => (),
            Err((topic, code)) => {
                return Err(Failure::refused(format!("the topic `{topic}` cannot be deleted: {code}")));
            }
        }
    }
    Ok(())
}

/// Creates the topics that are not there; refuses those of another size before creating any.
pub(super) async fn create(config: &Config, steps: &mut Steps) -> Result<(), Failure> {
    let wanted = layout::topics(config);
    let there = tokio::task::block_in_place(|| Reader::new(config)?.topics())?;
    for topic in &wanted {
        refuse_other_size(config, topic, &there)?;
    }
    let admin = admin(config)?;
    let (old, new): (Vec<&Topic>, Vec<&Topic>) =
        wanted.iter().partition(|topic| there.contains_key(&topic.name));
    refuse_other_retention(config, &admin, &old).await?;
    create_missing(config, &admin, &new).await?;
    for topic in &wanted {
        steps.tell(Did::created_if(!there.contains_key(&topic.name)), "topic", &topic.name)?;
    }
    Ok(())
}

fn size(config: &Config, topic: &Topic) -> i32 {
    if topic.single { 1 } else { config.partitions }
}

fn refuse_other_size(config: &Config, topic: &Topic, there: &BTreeMap<String, i32>) -> Result<(), Failure> {
    let wanted = size(config, topic);
    match there.get(&topic.name) {
        Some(partitions) if *partitions != wanted => Err(Failure::refused(format!(
            "the topic `{}` has {partitions} partitions, and {wanted} are configured (partitions). Keys would move between \
             partitions and lose their order: configure {partitions}, or choose a new namespace.",
            topic.name
        ))),
        _ => Ok(()),
    }
}

async fn refuse_other_retention(
    config: &Config,
    admin: &AdminClient<DefaultClientContext>,
    old: &[&Topic],
) -> Result<(), Failure> {
    let forever = old.iter().filter(|topic| topic.forever);
    let resources: Vec<ResourceSpecifier<'_>> =
        forever.map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
    if resources.is_empty() {
        return Ok(());
    }
    let described = admin.describe_configs(&resources, &AdminOptions::new()).await;
    let described = described.map_err(|error| kafka::failure(config, &error))?;
    for (resource, answer) in resources.iter().zip(described) {
        let ResourceSpecifier::Topic(topic) = resource else { continue };
        let found =
            answer.ok().and_then(|config| config.get(RETENTION).and_then(|entry| entry.value.clone()));
        if let Some(found) = found.filter(|found| found != FOREVER) {
            return Err(Failure::refused(format!(
                "the topic `{topic}` forgets its records after {found} ms, and they must be kept for ever: \
                 kafka-configs --alter --topic {topic} --add-config retention.ms=-1"
            )));
        }
    }
    Ok(())
}

async fn create_missing(
    config: &Config,
    admin: &AdminClient<DefaultClientContext>,
    missing: &[&Topic],
) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    let replication = || TopicReplication::Fixed(config.replication_factor);
    let mut topics = Vec::new();
    for topic in missing {
        let new = NewTopic::new(&topic.name, size(config, topic), replication());
        topics.push(if topic.forever { new.set(RETENTION, FOREVER) } else { new });
    }
    let answers = admin.create_topics(&topics, &options()).await;
    for answer in answers.map_err(|error| kafka::failure(config, &error))? {
        match answer {
            // Somebody else was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => (),
            Err((topic, code)) => {
                return Err(Failure::refused(format!("the topic `{topic}` cannot be created: {code}")));
            }
        }
    }
    Ok(())
}
