//! The services that are spoken to over plain HTTP: schema registry and Connect; and what is common to answers.

use std::error::Error;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use millrace_engine::access::{Access, AccessError, Renewed};
use reqwest::{Client, ClientBuilder, Method, StatusCode, Url};
use serde_json::Value;

use crate::address::Address;
use crate::config;
use crate::failure::{Failure, Service};

/// Attempts at a request that has no answer in time, such as from a JVM that pauses. All requests are idempotent.
pub(crate) const TRIES: usize = 3;
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The delay between requests to a busy service.
const ASKED_EVERY: Duration = Duration::from_millis(250);
/// Characters of a service's reason that are kept, at most.
const REASON_MAX: usize = 600;

/// One service. Its client is made again when a file of its access changes: keep it, for each one loads certificates.
#[derive(Debug, Clone)]
pub struct Http {
    service: Service,
    address: Address,
    client: Arc<Renewed<Client>>,
}

/// An answer of any status.
#[derive(Debug)]
pub struct Answer {
    service: Service,
    /// What was asked for.
    path: String,
    /// The status.
    pub status: StatusCode,
    /// The body; null when it is empty, text when it is not JSON.
    pub body: Value,
}

/// The HTTP client. It is shared, since loading the trusted certificates takes longer than most requests.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client() -> Result<Client, Failure> {
    static CLIENT: LazyLock<reqwest::Result<Client>> = LazyLock::new(|| builder().build());
    let client = CLIENT.as_ref().map(Client::clone);
    client.map_err(|error| Failure::refused("HTTP cannot be set up").caused_by(error))
}

/// A client with certificates or credentials.
fn own_client(access: &Access) -> Result<Client, AccessError> {
    access.of_client(builder())?.build().map_err(AccessError::client)
}

fn builder() -> ClientBuilder {
    Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT)
}

impl Http {
    /// The schema registry.
    ///
    /// # Errors
    /// When TLS cannot be set up, or a file cannot be used.
    pub fn registry(config: &config::Registry) -> Result<Self, Failure> {
        Self::new(Service::Registry, &config.url, &config.access)
    }

    /// Kafka Connect.
    ///
    /// # Errors
    /// When TLS cannot be set up, or a file cannot be used.
    pub fn connect(config: &config::Connect) -> Result<Self, Failure> {
        Self::new(Service::Connect, &config.url, &config.access)
    }

    fn new(service: Service, address: &Address, access: &config::Access) -> Result<Self, Failure> {
        let access = access.files();
        let shared = (access == Access::default()).then(client).transpose()?;
        let files = access.files();
        let made = move || shared.as_ref().map_or_else(|| own_client(&access), |shared| Ok(shared.clone()));
        let client = Renewed::new(files, made);
        let client = client.map_err(|error| Failure::usage(service.to_string()).caused_by(error))?;
        Ok(Self { service, address: address.clone(), client: Arc::new(client) })
    }

    /// Sends a request to a path below the service's address; each segment is escaped. Without an answer in time it is sent
    /// again, so it must be idempotent.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] when there is no answer, or one that says that the service cannot answer now.
    pub async fn send(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Answer, Failure> {
        self.send_query(method, path, &[], body).await
    }

    /// As [`send`](Self::send), with a query.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_query(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let url = self.url(path, query)?;
        let mut tries = 1;
        let (status, text) = loop {
            match self.exchange(method.clone(), url.clone(), body).await {
                Err(error) if error.is_timeout() && tries < TRIES => tries += 1,
                answer => break answer.map_err(|error| self.unreachable(error))?,
            }
        };
        let path = format!("/{}", path.join("/"));
        Answer::read(self.service, path, status, &text).unless_away(&self.address)
    }

    async fn exchange(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> reqwest::Result<(StatusCode, String)> {
        let request = self.client.get().request(method, url);
        let request = body.into_iter().fold(request, |request, body| request.json(body));
        let response = request.send().await?;
        Ok((response.status(), response.text().await?))
    }

    /// Repeats a request while the answer is one of `busy`, for at most `within`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn patiently(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
        busy: &[StatusCode],
        within: Duration,
    ) -> Result<Answer, Failure> {
        let until = Instant::now() + within;
        loop {
            let answer = self.send(method.clone(), path, body).await?;
            if !busy.contains(&answer.status) || Instant::now() > until {
                return Ok(answer);
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }

    /// Gets a document; `None` when there is none.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`Failure::Refused`] for any other answer than success.
    pub async fn find(&self, path: &[&str]) -> Result<Option<Value>, Failure> {
        self.send(Method::GET, path, None).await?.found()
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Failure> {
        let mut url = self.address.url().clone();
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(path),
            Err(()) => {
                return Err(Failure::usage(format!(
                    "{} cannot be the address of {}",
                    self.address, self.service
                )));
            }
        };
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    fn unreachable(&self, error: reqwest::Error) -> Failure {
        // The URL may hold a password.
        let error = error.without_url();
        Failure::unreachable(self.service, &self.address, innermost(&error)).with_source(error)
    }
}

/// What the innermost cause says, which is most: "Connection refused".
pub(crate) fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl Answer {
    pub(crate) fn read(service: Service, path: String, status: StatusCode, text: &str) -> Self {
        let body = match text {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        };
        Self { service, path, status, body }
    }

    /// The answer, unless it says that the service at `address` cannot answer now.
    pub(crate) fn unless_away(self, address: &Address) -> Result<Self, Failure> {
        match self.status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Err(Failure::unreachable(self.service, address, format!("it answers {}", self.status)))
            }
            StatusCode::NOT_FOUND if self.is_no_registrys() => {
                let Self { path, status, .. } = &self;
                let why = format!(
                    "it answers `{path}` with {status}, and not as a registry does: does `registry.url` have the path of \
                     its API, such as /apis/ccompat/v7 of Apicurio?"
                );
                Err(Failure::unreachable(self.service, address, why))
            }
            _ => Ok(self),
        }
    }

    /// A 404 of something else at the registry's address: the registry itself says what it does not have (40401, 40402, 40403).
    fn is_no_registrys(&self) -> bool {
        let code = self.body.get("error_code").and_then(Value::as_u64);
        self.service == Service::Registry && code.is_none_or(|code| code / 100 != 404)
    }

    /// The body of a successful answer; `None` when there is no such document.
    ///
    /// # Errors
    /// [`Failure::Refused`] with the service's reason.
    pub fn found(self) -> Result<Option<Value>, Failure> {
        match self.status {
            StatusCode::NOT_FOUND => Ok(None),
            _ => self.success().map(Some),
        }
    }

    /// The body of a successful answer.
    ///
    /// # Errors
    /// [`Failure::Refused`] with the service's reason.
    pub fn success(self) -> Result<Value, Failure> {
        let Self { service, path, status, body } = self;
        match status.is_success() {
            true => Ok(body),
            false => {
                Err(Failure::refused(format!("{service} refuses `{path}` with {status}: {}", reason(&body))))
            }
        }
    }
}

/// The reason in a service's answer; each service has its own format.
pub fn reason(body: &Value) -> String {
    let places = ["/message", "/error/reason", "/error/root_cause/0/reason", "/error"];
    let given = places.iter().find_map(|place| body.pointer(place)).and_then(Value::as_str);
    let text = given.map_or_else(|| body.to_string(), str::to_owned);
    let causes = body.pointer("/error/caused_by/reason").and_then(Value::as_str);
    let text = causes.map_or(text.clone(), |cause| format!("{text}: {cause}"));
    text.chars().take(REASON_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reasons_are_found_where_each_service_puts_them() {
        assert_eq!(reason(&json!({"error_code": 409, "message": "incompatible"})), "incompatible");
        let elastic = json!({"error": {"reason": "failed", "caused_by": {"reason": "why"}}});
        assert_eq!(reason(&elastic), "failed: why");
        assert_eq!(reason(&json!("text")), "\"text\"");
    }

    #[test]
    fn a_404_that_is_not_the_registrys_says_that_the_path_is_wrong() {
        let address: Address = "http://registry:8080".parse().unwrap();
        let answer = |service, body: Value| {
            Answer { service, path: "/subjects/x".to_owned(), status: StatusCode::NOT_FOUND, body }
                .unless_away(&address)
        };
        assert!(answer(Service::Registry, json!({"error_code": 40401, "message": "not found"})).is_ok());
        assert!(answer(Service::Connect, json!("no such page")).is_ok());
        let failure = answer(Service::Registry, json!({"status": 404, "title": "no resource"})).unwrap_err();
        assert!(failure.to_string().contains("does `registry.url` have the path"), "{failure}");
    }
}
