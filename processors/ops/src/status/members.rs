//! Whether any process works in a group.

use std::collections::BTreeMap;

use super::lag::Kafka;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::Reader;

/// How many members the groups have that are behind, by name. The others are not asked for. It blocks.
pub(super) fn members(config: &Config, kafka: &Kafka) -> Result<BTreeMap<String, usize>, Failure> {
    let (reader, mut members) = (Reader::new(&config.kafka)?, BTreeMap::new());
    for lag in kafka.lags.iter().filter(|lag| lag.records > 0) {
        if !members.contains_key(&lag.group) {
            members.insert(lag.group.clone(), reader.members(&lag.group)?);
        }
    }
    Ok(members)
}
