//! Who may call: machine clients with their tokens, contexts and rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use millrace_ops::config::{self, Gateway, Subject};
use millrace_ops::pace::Pace;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::problem::{Kind, Problem};
use crate::queries::WAITING_MAX;
use crate::token::Token;
use crate::unread::{BYTES_MAX, Unread};

/// Requests of this much time may come at once.
const BURST: Duration = Duration::from_secs(1);

/// When a client may ask again for which there was no place to wait, in seconds.
const RETRY_AFTER: u16 = 1;

/// A program that may call.
pub(crate) struct Client {
    /// Its name, which is the source of its commands.
    pub(crate) name: String,
    contexts: Vec<String>,
    queries: Vec<Subject>,
    tokens: Vec<Token>,
    pace: Pace,
    /// Its places for requests that wait for an outcome: half of the process's while there are other clients.
    waiting: Semaphore,
    /// Those for requests that wait for a version.
    pub(crate) versions: Semaphore,
    /// Those of its answers that wait to be read.
    pub(crate) unread: Unread,
    /// The batch that it may send at a time.
    pub(crate) batch: Semaphore,
}

/// All of them.
pub(crate) struct Clients(Vec<Arc<Client>>);

impl Clients {
    pub(crate) fn new(gateway: &Gateway) -> Self {
        let share = |places: usize| if gateway.clients.len() > 1 { places.div_ceil(2) } else { places };
        let client = |client: &config::Client| Client {
            name: client.name.clone(),
            contexts: client.contexts.clone(),
            queries: client.queries.clone(),
            tokens: client.tokens().map(Token::of).collect(),
            pace: Pace::new(gateway.requests_per_second),
            waiting: Semaphore::new(share(gateway.requests_max)),
            versions: Semaphore::new(share(WAITING_MAX)),
            unread: Unread::of(share(BYTES_MAX)),
            batch: Semaphore::new(1),
        };
        Self(gateway.clients.iter().map(client).map(Arc::new).collect())
    }

    /// The client whose token a request has. Compares with every token, so that the time does not say which is near.
    pub(crate) fn authenticated(&self, headers: &HeaderMap) -> Option<Arc<Client>> {
        let presented = Token::presented(headers)?;
        let mut found = None;
        for client in &self.0 {
            for token in &client.tokens {
                if token.is(&presented) {
                    found = Some(client.clone());
                }
            }
        }
        found
    }
}

impl Client {
    /// Whether it may send commands to a context.
    pub(crate) fn may_send_to(&self, context: &str) -> bool {
        self.contexts.iter().any(|allowed| allowed == context)
    }

    /// Whether it may query something.
    pub(crate) fn may_query(&self, subject: Subject) -> bool {
        self.queries.contains(&subject)
    }

    /// A place among its requests that wait.
    pub(crate) fn place_to_wait(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let full =
            |_| Problem::new(Kind::RATE, "too many requests of the client wait").retry_after(RETRY_AFTER);
        self.waiting.try_acquire().map_err(full)
    }

    /// Whether its rate allows one more request now.
    pub(crate) fn may_call(&self, now: Instant) -> bool {
        self.pace.reserve(1, now, BURST).is_some()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::AUTHORIZATION;

    use super::*;

    fn clients() -> Clients {
        let client = |name: &str, token: &str| config::Client {
            name: name.to_owned(),
            token: Some(token.into()),
            token_file: None,
            contexts: vec!["customers".to_owned()],
            queries: Vec::new(),
        };
        let clients = vec![client("shop", "old new"), client("web", "other")];
        Clients::new(&Gateway { clients, requests_per_second: 10, ..Gateway::default() })
    }

    fn caller(token: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())]);
        clients().authenticated(&headers).map(|client| client.name.clone())
    }

    #[test]
    fn a_client_is_known_by_each_of_its_tokens() {
        assert_eq!((caller("old").as_deref(), caller("new").as_deref()), (Some("shop"), Some("shop")));
        assert_eq!((caller("other").as_deref(), caller("old new"), caller("")), (Some("web"), None, None));
    }

    #[test]
    fn a_client_sends_to_its_contexts_alone() {
        let clients = clients();
        assert!(clients.0[0].may_send_to("customers") && !clients.0[0].may_send_to("orders"));
    }

    #[test]
    fn a_seconds_worth_of_requests_may_come_at_once_and_no_more() {
        let (clients, now) = (clients(), Instant::now());
        let taken = |client: usize, now| (0..100).filter(|_| clients.0[client].may_call(now)).count();
        assert_eq!(taken(0, now), 11);
        assert_eq!(taken(0, now + BURST), 10, "a second later");
        assert_eq!(taken(1, now), 11, "each client has its own");
    }

    #[test]
    fn a_client_among_others_has_half_of_the_places_to_wait() {
        let of = |clients: usize| {
            let mut gateway = Gateway { requests_max: 10, ..Gateway::default() };
            gateway.clients = (0..clients)
                .map(|i| config::Client {
                    name: i.to_string(),
                    token: None,
                    token_file: None,
                    contexts: Vec::new(),
                    queries: Vec::new(),
                })
                .collect();
            let clients = Clients::new(&gateway);
            (clients.0[0].waiting.available_permits(), clients.0[0].versions.available_permits())
        };
        assert_eq!((of(1), of(2)), ((10, WAITING_MAX), (5, WAITING_MAX / 2)));
    }
}
