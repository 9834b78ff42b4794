//! The search cluster.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::Access;
use super::check::at_least;
use super::units::{Human, Never, Or};
use crate::address::Address;

/// How documents are written and kept.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Elasticsearch {
    /// The URL of the cluster.
    pub url: Address,
    /// Certificates and credentials.
    pub access: Access,
    /// A request that has no answer after this time is sent again.
    #[serde_as(as = "Human")]
    pub timeout: Duration,
    /// Replicas of each new index (`number_of_replicas`).
    pub replicas: u32,
    /// How soon a document can be searched (`refresh_interval`), or `never`. An existing index keeps its own interval.
    #[serde_as(as = "Or<Never>")]
    pub refresh_interval: Option<Duration>,
    /// Whether the rows of views are also sent to Elasticsearch. Rows that change while this is off are not sent later.
    pub publish: bool,
}

impl Default for Elasticsearch {
    fn default() -> Self {
        Self {
            url: Address::literal("http://127.0.0.1:9200"),
            access: Access::default(),
            timeout: Duration::from_secs(30),
            replicas: 0,
            refresh_interval: Some(Duration::from_millis(500)),
            publish: true,
        }
    }
}

impl Elasticsearch {
    /// The refresh interval as an index has it.
    pub fn index_refresh_interval(&self) -> String {
        self.refresh_interval.map_or("-1".to_owned(), |interval| format!("{}ms", interval.as_millis()))
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let least = Duration::from_millis(1);
        let problems = [
            at_least("elasticsearch.timeout", self.timeout, least),
            self.refresh_interval
                .and_then(|interval| at_least("elasticsearch.refresh_interval", interval, least)),
        ];
        let access = self.access.problems("elasticsearch", &self.url);
        problems.into_iter().flatten().chain(access).collect()
    }
}
