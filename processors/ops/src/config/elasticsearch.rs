//! The search cluster.

use std::path::PathBuf;
use std::time::Duration;

use millrace_engine::access::{self, Credentials};
use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::Access;
use super::access::plain_text;
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
    /// A file with an encoded API key, instead of a user or a token; read again when it changes.
    pub api_key_file: Option<PathBuf>,
    /// A request that has no answer after this time is sent again.
    #[serde_as(as = "Human")]
    pub timeout: Duration,
    /// Replicas of each new index (`number_of_replicas`).
    pub replicas: u32,
    /// How soon a document can be searched (`refresh_interval`), or `never`. An existing index keeps its own interval.
    #[serde_as(as = "Or<Never>")]
    pub refresh_interval: Option<Duration>,
    /// Whether the rows of views are also sent to Elasticsearch, and compared with it. Rows that change while this is off are not sent
    /// later.
    pub publish: bool,
}

impl Default for Elasticsearch {
    fn default() -> Self {
        Self {
            url: Address::literal("http://127.0.0.1:9200"),
            access: Access::default(),
            api_key_file: None,
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

    /// What a client is made of.
    pub fn files(&self) -> access::Access {
        let files = self.access.files();
        let key = self.api_key_file.clone().map(Credentials::ApiKey);
        access::Access { credentials: key.or(files.credentials), ..files }
    }

    fn two_kinds(&self) -> Option<String> {
        let another = self.access.files().credentials.is_some() || !self.url.url().username().is_empty();
        (self.api_key_file.is_some() && another)
            .then(|| "elasticsearch.api_key_file excludes a user and a token".to_owned())
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let least = Duration::from_millis(1);
        let problems = [
            self.two_kinds(),
            self.api_key_file.as_ref().and_then(|_| plain_text("elasticsearch", &self.url)),
            at_least("elasticsearch.timeout", self.timeout, least),
            self.refresh_interval
                .and_then(|interval| at_least("elasticsearch.refresh_interval", interval, least)),
        ];
        let access = self.access.problems("elasticsearch", &self.url);
        problems.into_iter().flatten().chain(access).collect()
    }
}
