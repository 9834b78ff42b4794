//! Converts errors of the engine for operators: which service could not be reached, at which address.

use millrace_engine::{Dependency, Reason, WorkError};

use crate::config::Config;
use crate::failure::{Failure, Service};
use crate::layout::Side;

/// An error in work on one of the two databases.
pub fn failure(config: &Config, side: Side, error: WorkError) -> Failure {
    let failure = match &error {
        WorkError::Outage { dependency, reason } => unreachable_at(config, side, *dependency, reason),
        other => Failure::refused(other.to_string()),
    };
    failure.with_source(error)
}

fn unreachable_at(config: &Config, side: Side, dependency: Dependency, reason: &Reason) -> Failure {
    let (service, address) = match (dependency, side) {
        (Dependency::Postgres, Side::Write) => {
            (Service::WriteDatabase, config.postgres.write.url.to_string())
        }
        (Dependency::Postgres, Side::Read) => (Service::ReadDatabase, config.postgres.read.url.to_string()),
        (Dependency::Kafka, _) => (Service::Kafka, config.kafka.brokers.clone()),
        (Dependency::Registry, _) => (Service::Registry, config.registry.url.to_string()),
        (Dependency::Elasticsearch, _) => (Service::Elasticsearch, config.elasticsearch.url.to_string()),
    };
    Failure::unreachable(service, address, reason.clone())
}
