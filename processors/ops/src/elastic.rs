//! Elasticsearch, as tools ask it: requests of its client, each sent again when there is no answer in time.

use std::sync::Arc;

use elasticsearch::http::response::Response;
use elasticsearch::{Elasticsearch, Error};
use millrace_engine::Elastic;
use millrace_engine::access::Renewed;

use crate::address::Address;
use crate::config;
use crate::failure::{Failure, Service};
use crate::http::{Answer, TIMEOUT, TRIES, innermost};

/// The cluster. Each client loads the certificates that TLS trusts: make one and clone it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    client: Arc<Renewed<Elasticsearch>>,
    address: Address,
}

impl Client {
    /// A client of the configured cluster. Connects when first used.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(crate) fn new(config: &config::Elasticsearch) -> Result<Self, Failure> {
        let client = Elastic::client(config.url.reveal(), config.files(), TIMEOUT);
        let client = client.map_err(|error| Failure::usage("elasticsearch").caused_by(error))?;
        Ok(Self { client: Arc::new(client), address: config.url.clone() })
    }

    /// Sends a request. When there is no answer in time it is sent again: what it asks for must be the same when asked for
    /// twice.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] when there is no answer, or one that says that Elasticsearch cannot answer now.
    pub(crate) async fn send<R>(&self, request: impl Fn(Elasticsearch) -> R) -> Result<Answer, Failure>
    where
        R: Future<Output = Result<Response, Error>>,
    {
        let mut tries = 1;
        loop {
            match exchanged(request(self.client.get())).await {
                Err(error) if error.is_timeout() && tries < TRIES => tries += 1,
                Err(error) => return Err(self.unreachable(error)),
                Ok(answer) => return answer.unless_away(&self.address),
            }
        }
    }

    fn unreachable(&self, error: Error) -> Failure {
        Failure::unreachable(Service::Elasticsearch, &self.address, innermost(&error)).with_source(error)
    }
}

async fn exchanged(request: impl Future<Output = Result<Response, Error>>) -> Result<Answer, Error> {
    let response = request.await?;
    let (status, path) = (response.status_code(), response.url().path().to_owned());
    Ok(Answer::read(Service::Elasticsearch, path, status, &response.text().await?))
}
