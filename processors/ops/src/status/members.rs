//! Whether groups have members.

use std::collections::BTreeMap;

use super::lag::Kafka;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::Reader;

/// The number of members of each group that is behind. Blocks.
pub(super) fn members(config: &Config, kafka: &Kafka) -> Result<BTreeMap<String, usize>, Failure> {
    let (reader, mut members) = (Reader::new(&config.kafka)?, BTreeMap::new());
    for lag in kafka.lags.iter().filter(|lag| lag.records > 0) {
        if !members.contains_key(&lag.group) {
            members.insert(lag.group.clone(), reader.members(&lag.group)?);
        }
    }
    Ok(members)
}
