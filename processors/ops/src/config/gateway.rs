//! HTTP for machine clients.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::{at_least, positive};
use super::secret::{Hidden, from_file};
use super::units::Human;
use crate::address::Address;
use crate::failure::Failure;

/// Characters of a token, at least; a shorter one could be guessed.
const TOKEN_MIN: usize = 32;
/// The most that `requests_max` may be: each has a connection and a body in memory.
const REQUESTS_MAX: usize = 10_000;
/// Characters of a client's name, at most.
const NAME_MAX: usize = 64;

/// Commands, receipts and queries over HTTP: the role `gateway`, and the receipts that the role `commands` answers it with.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Gateway {
    /// Where the gateway serves: `host:port`. Off by default. Put it behind a proxy that terminates TLS.
    pub listen: Option<SocketAddr>,
    /// The programs that may call it: each with `name` (the `ce_source` of its commands), `token_file` or `token`, and `contexts`
    /// (those to which it may send commands). Other callers are refused.
    pub clients: Vec<Client>,
    /// The size of a request's body, at most. Kafka takes records up to 1 MiB.
    #[serde_as(as = "Human")]
    pub body_max: ByteSize,
    /// The size of the body of a batch of commands, at most; each of its lines has `gateway.body_max`. A client sends one batch at a
    /// time, and a process takes four.
    #[serde_as(as = "Human")]
    pub batch_max: ByteSize,
    /// Concurrent requests of all clients in each process, at most; further ones are answered with 503.
    pub requests_max: usize,
    /// Requests per second of each client in each process, at most; further ones are answered with 429. A second's worth may come
    /// at once.
    pub requests_per_second: u32,
    /// How long a request may wait for its outcome (`Prefer: wait`), at most.
    #[serde_as(as = "Human")]
    pub wait_max: Duration,
    /// Where the role `commands` answers the gateway's questions about receipts: `host:port`. Off by default. Keep it inside the
    /// instance's network: it is not encrypted.
    pub receipts_listen: Option<SocketAddr>,
    /// The URL of that address for the gateway, when it is not `http://` and `gateway.receipts_listen`.
    pub receipts_url: Option<Address>,
    /// The bearer token between the two.
    #[serde_as(as = "Option<Hidden>")]
    pub receipts_token: Option<SecretString>,
    /// A file with that token.
    pub receipts_token_file: Option<PathBuf>,
    /// The URL of the read side's database for queries, with the role `postgres.reader_role`, which sees the SQL views only. Without it
    /// the gateway answers no queries.
    pub reader_url: Option<Address>,
    /// A file with the password of that role.
    pub reader_password_file: Option<PathBuf>,
    /// Connections of a process to that database, at most.
    pub reader_connections_max: u32,
    /// Concurrent queries of all clients in each process, at most; further ones are answered with 503.
    pub queries_max: usize,
    /// A query that takes longer is given up.
    #[serde_as(as = "Human")]
    pub query_timeout: Duration,
    /// Origins whose pages may call the gateway from a browser (CORS), such as `https://shop.example.com`. None by default.
    pub cors_origins: Vec<String>,
}

/// A program that may call the gateway.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its name, which is the source of its commands.
    pub name: String,
    /// Its bearer token. During a rotation: both tokens, separated by white space.
    #[serde(default)]
    #[serde_as(as = "Option<Hidden>")]
    pub token: Option<SecretString>,
    /// A file with its token, or with several, one per line; read at the start of the process.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// The contexts to which it may send commands.
    #[serde(default)]
    pub contexts: Vec<String>,
    /// What it may query.
    #[serde(default)]
    pub queries: Vec<Subject>,
}

/// What a client may query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// Products with price and stock.
    Products,
    /// Carts.
    Carts,
    /// Orders of every customer.
    Orders,
    /// Customers and all that is known of them.
    Customers,
    /// Accounts and their entries.
    Accounts,
    /// Campaigns, and the audiences of segments.
    Campaigns,
    /// Sums over all customers by period.
    Analytics,
    /// A customer with their orders, payments, accounts, subscriptions and carts in one document.
    Overview,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Products,
        Self::Carts,
        Self::Orders,
        Self::Customers,
        Self::Accounts,
        Self::Campaigns,
        Self::Analytics,
        Self::Overview,
    ];

    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Products => "products",
            Self::Carts => "carts",
            Self::Orders => "orders",
            Self::Customers => "customers",
            Self::Accounts => "accounts",
            Self::Campaigns => "campaigns",
            Self::Analytics => "analytics",
            Self::Overview => "overview",
        }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: None,
            clients: Vec::new(),
            body_max: ByteSize::kib(256),
            batch_max: ByteSize::mib(4),
            requests_max: 256,
            requests_per_second: 100,
            wait_max: Duration::from_secs(20),
            receipts_listen: None,
            receipts_url: None,
            receipts_token: None,
            receipts_token_file: None,
            reader_url: None,
            reader_password_file: None,
            reader_connections_max: 8,
            queries_max: 64,
            query_timeout: Duration::from_secs(5),
            cors_origins: Vec::new(),
        }
    }
}

impl Client {
    /// Its tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        let tokens = self.token.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
        tokens.split_whitespace()
    }

    fn with_token(mut self) -> Result<Self, Failure> {
        let name = format!("gateway.clients: `{}`: token_file", self.name);
        self.token = from_file(&name, self.token_file.as_deref(), self.token)?;
        Ok(self)
    }

    fn problems(&self) -> Vec<String> {
        let named = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        let is_named = (1..=NAME_MAX).contains(&self.name.len()) && self.name.chars().all(named);
        let known = |context: &&String| !millrace_schemas::CONTEXTS.contains(&context.as_str());
        let problems = [
            (!is_named).then(|| {
                format!("a name has 1 to {NAME_MAX} letters, digits, full stops, hyphens and underscores")
            }),
            self.tokens().next().is_none().then(|| "it has no token: set token_file".to_owned()),
            self.tokens()
                .any(|token| token.len() < TOKEN_MIN)
                .then(|| format!("a token has {TOKEN_MIN} characters or more: `openssl rand -hex 32`")),
            self.contexts.iter().find(known).map(|unknown| format!("there is no context `{unknown}`")),
        ];
        let of_it = |problem| format!("gateway.clients: `{}`: {problem}", self.name);
        problems.into_iter().flatten().map(of_it).collect()
    }
}

impl Gateway {
    /// Where the gateway finds receipts; `None` when it is not configured.
    pub fn receipts_url(&self) -> Option<String> {
        let listened = || self.receipts_listen.map(|address| format!("http://{address}/"));
        self.receipts_url.as_ref().map(|url| url.reveal().to_owned()).or_else(listened)
    }

    pub(super) fn with_secrets(mut self) -> Result<Self, Failure> {
        let file = self.receipts_token_file.as_deref();
        self.receipts_token = from_file("gateway.receipts_token_file", file, self.receipts_token)?;
        if let (Some(url), Some(file)) = (&self.reader_url, &self.reader_password_file) {
            let refuse = |problem| Failure::usage(format!("gateway.reader_password_file: {problem}"));
            self.reader_url = Some(url.clone().with_password_file(file).map_err(refuse)?);
        }
        self.clients = self.clients.into_iter().map(Client::with_token).collect::<Result<_, _>>()?;
        Ok(self)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.clients.iter().flat_map(Client::problems).collect();
        let others = [
            positive("gateway.body_max", self.body_max.as_u64()),
            positive("gateway.batch_max", self.batch_max.as_u64()),
            (!(1..=REQUESTS_MAX).contains(&self.requests_max)).then(|| {
                format!("gateway.requests_max must be 1 to {REQUESTS_MAX}, not {}", self.requests_max)
            }),
            positive("gateway.requests_per_second", self.requests_per_second),
            at_least("gateway.wait_max", self.wait_max, Duration::from_secs(1)),
            positive("gateway.reader_connections_max", self.reader_connections_max),
            (!(1..=REQUESTS_MAX).contains(&self.queries_max)).then(|| {
                format!("gateway.queries_max must be 1 to {REQUESTS_MAX}, not {}", self.queries_max)
            }),
            at_least("gateway.query_timeout", self.query_timeout, Duration::from_millis(100)),
            self.no_database(),
            self.no_origin(),
            self.repeated(),
            self.open(),
            self.without_receipts(),
            self.without_token(),
        ];
        problems.extend(others.into_iter().flatten());
        problems
    }

    fn no_database(&self) -> Option<String> {
        let scheme = self.reader_url.as_ref()?.url().scheme();
        let known = ["postgres", "postgresql"].contains(&scheme);
        (!known).then(|| format!("gateway.reader_url must begin with postgres://, not {scheme}://"))
    }

    /// An origin is compared with what browsers send: scheme, host and port without a path.
    fn no_origin(&self) -> Option<String> {
        let is_origin = |text: &&String| {
            let url = reqwest::Url::parse(text).ok();
            url.is_some_and(|url| url.has_host() && url.origin().ascii_serialization() == **text)
        };
        let other = self.cors_origins.iter().find(|text| !is_origin(text))?;
        Some(format!("gateway.cors_origins: `{other}` is not an origin, such as https://shop.example.com"))
    }

    /// Two clients with one name, or with one token.
    fn repeated(&self) -> Option<String> {
        let mut names = BTreeSet::new();
        if let Some(again) = self.clients.iter().find(|client| !names.insert(&client.name)) {
            return Some(format!("gateway.clients: two have the name `{}`", again.name));
        }
        let mut known = BTreeSet::new();
        let again = self.clients.iter().find(|client| client.tokens().any(|token| !known.insert(token)));
        again.map(|again| format!("gateway.clients: `{}` has a token that is there already", again.name))
    }

    fn open(&self) -> Option<String> {
        let address = self.listen.filter(|address| !address.ip().is_loopback() && self.clients.is_empty())?;
        Some(format!(
            "gateway.listen: {address} is not on loopback and gateway.clients is empty: name clients with tokens, or listen on \
             127.0.0.1"
        ))
    }

    fn without_receipts(&self) -> Option<String> {
        let none = self.listen.is_some() && self.receipts_url().is_none();
        none.then(|| {
            "gateway.listen: the gateway needs receipts: set gateway.receipts_listen for the role `commands`, and where it runs \
             elsewhere gateway.receipts_url"
                .to_owned()
        })
    }

    fn without_token(&self) -> Option<String> {
        let token = self.receipts_token.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
        (self.receipts_url().is_some() && token.len() < TOKEN_MIN).then(|| {
            format!(
                "gateway.receipts_token: receipts need a token of {TOKEN_MIN} characters or more, the same for `commands` and \
                 `gateway`: set gateway.receipts_token_file; `openssl rand -hex 32` makes one"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str, token: &str) -> Client {
        let token = (!token.is_empty()).then(|| token.into());
        let contexts = vec!["customers".to_owned()];
        Client { name: name.to_owned(), token, token_file: None, contexts, queries: Vec::new() }
    }

    fn gateway(clients: Vec<Client>) -> Gateway {
        Gateway {
            listen: Some(([127, 0, 0, 1], 8080).into()),
            receipts_listen: Some(([127, 0, 0, 1], 8081).into()),
            receipts_token: Some("r".repeat(TOKEN_MIN).into()),
            clients,
            ..Gateway::default()
        }
    }

    fn problem(gateway: &Gateway) -> String {
        gateway.problems().join("\n")
    }

    #[test]
    fn an_address_that_others_reach_needs_clients() {
        let everywhere = Some(([0, 0, 0, 0], 8080).into());
        assert_eq!(problem(&gateway(Vec::new())), "");
        let open = Gateway { listen: everywhere, ..gateway(Vec::new()) };
        assert!(
            problem(&open).contains("gateway.listen: 0.0.0.0:8080 is not on loopback"),
            "{}",
            problem(&open)
        );
        let closed = Gateway { listen: everywhere, ..gateway(vec![client("shop", &"t".repeat(TOKEN_MIN))]) };
        assert_eq!(problem(&closed), "");
    }

    #[test]
    fn receipts_need_an_address_and_a_token() {
        let nowhere = Gateway { receipts_listen: None, ..gateway(Vec::new()) };
        assert!(problem(&nowhere).contains("gateway.receipts_listen"), "{}", problem(&nowhere));
        let open = Gateway { receipts_token: Some("short".into()), ..gateway(Vec::new()) };
        assert!(problem(&open).contains("gateway.receipts_token_file"), "{}", problem(&open));
        assert_eq!(problem(&Gateway::default()), "", "without a gateway nothing is needed");
    }

    #[test]
    fn clients_are_named_once_and_have_tokens_that_cannot_be_guessed() {
        let long = "t".repeat(TOKEN_MIN);
        let of = |clients: &[(&str, &str)]| {
            problem(&gateway(clients.iter().map(|(name, token)| client(name, token)).collect()))
        };
        assert_eq!(
            of(&[("shop", &format!("{long}\n{}", "u".repeat(TOKEN_MIN))), ("web-1", &"v".repeat(40))]),
            ""
        );
        for (clients, expected) in [
            (&[("shop", "")][..], "it has no token"),
            (&[("shop", "short")], "32 characters or more"),
            (&[("/millrace", &long)], "a name has 1 to 64"),
            (&[("shop", &long), ("shop", &"v".repeat(40))], "two have the name `shop`"),
            (&[("shop", &long), ("web", &long)], "`web` has a token that is there already"),
        ] {
            let problem = of(clients);
            assert!(problem.contains(expected) && !problem.contains(&long), "{problem}");
        }
        let elsewhere = Client { contexts: vec!["weather".to_owned()], ..client("shop", &long) };
        assert!(problem(&gateway(vec![elsewhere])).contains("there is no context `weather`"));
    }

    #[test]
    fn what_may_be_queried_is_named_as_it_is_read() {
        for subject in Subject::ALL {
            let named: Subject = serde_json::from_value(subject.as_str().into()).unwrap();
            assert_eq!(named, subject);
        }
        assert!(serde_json::from_value::<Subject>("everything".into()).is_err());
    }

    #[test]
    fn readers_need_a_database_and_origins_have_no_path() {
        let elsewhere = Gateway { reader_url: Some("http://db/".parse().unwrap()), ..gateway(Vec::new()) };
        assert!(problem(&elsewhere).contains("gateway.reader_url must begin with postgres://"));
        let origins =
            |origin: &str| problem(&Gateway { cors_origins: vec![origin.to_owned()], ..gateway(Vec::new()) });
        assert_eq!(
            (origins("https://shop.example.com"), origins("http://localhost:3000")),
            Default::default()
        );
        for other in ["*", "https://shop.example.com/", "shop.example.com", "null"] {
            assert!(origins(other).contains("is not an origin"), "{other}");
        }
    }
}
