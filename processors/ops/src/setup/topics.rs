//! Topics, with the configured number of partitions and the required settings.

use rdkafka::admin::{AdminClient, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

use super::growth::{self, Growth};
use super::settings::{self, Wanted};
use super::steps::{Did, Steps};
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{self, Reader};
use crate::layout::{self, Topic};

/// Creates the missing ones of these topics.
pub(crate) async fn ensure(config: &Config, wanted: &[Topic]) -> Result<(), Failure> {
    let there = tokio::task::block_in_place(|| Reader::new(&config.kafka)?.topics())?;
    let missing: Vec<&Topic> = wanted.iter().filter(|topic| !there.contains_key(&topic.name)).collect();
    create_missing(config, &kafka::admin(&config.kafka)?, &missing).await
}

/// Removes the existing ones of these topics.
pub(crate) async fn remove(config: &Config, names: &[&str]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let answers = kafka::admin(&config.kafka)?.delete_topics(names, &kafka::admin_options()).await;
    for answer in answers.map_err(|error| kafka::failure(&config.kafka, &error))? {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => (),
            Err((topic, code)) => {
                return Err(Failure::refused(format!("the topic `{topic}` cannot be deleted: {code}")));
            }
        }
    }
    Ok(())
}

/// Creates missing topics; refuses unsuitable existing ones before it creates any. Returns the topics that have fewer partitions
/// than `asked`.
pub(super) async fn create(
    config: &Config,
    asked: Option<i32>,
    steps: &mut Steps<'_>,
) -> Result<Vec<Growth>, Failure> {
    let config = &sized(config, asked);
    let wanted = layout::topics(config);
    let there = tokio::task::block_in_place(|| Reader::new(&config.kafka)?.topics())?;
    let smaller = growth::wanted(config, asked.is_some(), &wanted, &there)?;
    let admin = kafka::admin(&config.kafka)?;
    let (old, new): (Vec<&Topic>, Vec<&Topic>) =
        wanted.iter().partition(|topic| there.contains_key(&topic.name));
    let raised = settings::keep(config, &admin, &old, steps.dry).await?;
    if !steps.dry {
        create_missing(config, &admin, &new).await?;
    }
    for topic in &wanted {
        let did = match there.contains_key(&topic.name) {
            true if raised.contains(&topic.name) => Did::Updated,
            there => Did::created_if(!there),
        };
        steps.report(did, "topic", &topic.name)?;
    }
    Ok(smaller)
}

/// The configuration with another number of partitions.
fn sized(config: &Config, asked: Option<i32>) -> Config {
    let mut config = config.clone();
    config.topics.partitions = asked.unwrap_or(config.topics.partitions);
    config
}

fn new_topic<'t>(config: &Config, topic: &'t Topic, wanted: &'t [Wanted]) -> NewTopic<'t> {
    let replication = TopicReplication::Fixed(config.topics.replication_factor);
    let new = NewTopic::new(&topic.name, topic.size(config), replication);
    wanted.iter().fold(new, |new, setting| new.set(setting.name, &setting.value))
}

async fn create_missing(
    config: &Config,
    admin: &AdminClient<DefaultClientContext>,
    missing: &[&Topic],
) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    let replicas = config.topics.replication_factor;
    let wanted: Vec<_> = missing.iter().map(|topic| settings::of(topic, replicas)).collect();
    let new = missing.iter().zip(&wanted).map(|(topic, wanted)| new_topic(config, topic, wanted));
    let topics: Vec<NewTopic<'_>> = new.collect();
    let answers = admin.create_topics(&topics, &kafka::admin_options()).await;
    for answer in answers.map_err(|error| kafka::failure(&config.kafka, &error))? {
        match answer {
            // Another setup has done it.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => (),
            Err((topic, code)) => {
                return Err(Failure::refused(format!("the topic `{topic}` cannot be created: {code}")));
            }
        }
    }
    Ok(())
}
