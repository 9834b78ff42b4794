//! Whether any process works in a group.

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::lag::Kafka;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{self, TIMEOUT};

/// How many members the groups have that are behind, by name. The others are not asked for. It blocks.
pub(super) fn members(config: &Config, kafka: &Kafka) -> Result<BTreeMap<String, usize>, Failure> {
    let fail = |error| kafka::failure(&config.kafka, &error);
    let client: BaseConsumer = kafka::groupless_config(&config.kafka).create().map_err(fail)?;
    let mut members = BTreeMap::new();
    for lag in kafka.lags.iter().filter(|lag| lag.records > 0) {
        if !members.contains_key(&lag.group) {
            let list = client.fetch_group_list(Some(&lag.group), TIMEOUT).map_err(fail)?;
            let count = list.groups().iter().filter(|group| group.name() == lag.group);
            members.insert(lag.group.clone(), count.map(|group| group.members().len()).sum());
        }
    }
    Ok(members)
}
