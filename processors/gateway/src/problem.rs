//! Refusals as `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).

mod meaning;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use meaning::Meaning;

/// Where the pages of problems are, which are their types.
pub(crate) const TYPES: &str = "/problems/";

/// A kind of problem: status, type and title. The table of docs/http.md explains each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind(u16, &'static str, &'static str);

impl Kind {
    pub(crate) const BODY: Self = Self(400, "body-unreadable", "The body is not a JSON object");
    pub(crate) const KEY: Self = Self(400, "idempotency-key-invalid", "The idempotency key cannot be used");
    pub(crate) const PARAMETERS: Self = Self(400, "parameters-invalid", "Parameters do not fit the query");
    pub(crate) const UNAUTHENTICATED: Self = Self(401, "unauthenticated", "The token is missing or unknown");
    pub(crate) const FORBIDDEN: Self = Self(403, "forbidden", "The client may not do this");
    pub(crate) const UNKNOWN_PATH: Self = Self(404, "path-unknown", "There is nothing here");
    pub(crate) const UNKNOWN_COMMAND: Self = Self(404, "command-unknown", "There is no such command");
    pub(crate) const UNKNOWN_RECEIPT: Self = Self(404, "receipt-unknown", "The client has no such command");
    pub(crate) const UNKNOWN_RESOURCE: Self = Self(404, "resource-unknown", "The read side does not have it");
    pub(crate) const METHOD: Self = Self(405, "method-not-allowed", "The method is not allowed here");
    pub(crate) const SLOW: Self = Self(408, "body-timeout", "The body did not come in time");
    pub(crate) const REJECTED: Self = Self(409, "rejected", "The command was rejected");
    pub(crate) const VERSION: Self = Self(412, "version-not-reached", "The read side is behind this version");
    pub(crate) const TOO_LARGE: Self = Self(413, "body-too-large", "The body is too large");
    pub(crate) const MEDIA_TYPE: Self = Self(415, "media-type", "The body is of another media type");
    pub(crate) const FIELDS: Self = Self(422, "fields-invalid", "Fields do not fit the command's schema");
    pub(crate) const KEY_REUSED: Self =
        Self(422, "idempotency-key-reused", "The idempotency key belongs to another command");
    pub(crate) const DEAD: Self = Self(422, "dead", "The command could not be decided");
    pub(crate) const REFERENCE: Self =
        Self(422, "reference-not-found", "The command refers to what does not exist yet");
    pub(crate) const RULES: Self = Self(422, "rules-invalid", "Rules of a segment cannot be read");
    pub(crate) const RATE: Self = Self(429, "rate-exceeded", "The client sends too many requests");
    pub(crate) const PANIC: Self = Self(500, "internal", "An error of this process");
    pub(crate) const FULL: Self = Self(503, "too-many-requests-in-flight", "The gateway is busy");
    pub(crate) const KAFKA: Self = Self(503, "commands-unavailable", "Commands cannot be taken now");
    pub(crate) const QUERIES: Self = Self(503, "queries-unavailable", "The read side does not answer now");
    pub(crate) const SEARCHES: Self = Self(503, "searches-unavailable", "Searches cannot be answered now");
    pub(crate) const SLOW_QUERY: Self = Self(503, "query-too-slow", "The query took too long");
    pub(crate) const RECEIPTS: Self = Self(503, "receipts-unavailable", "Receipts cannot be read now");
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 28] = [
        Self::BODY,
        Self::KEY,
        Self::PARAMETERS,
        Self::UNAUTHENTICATED,
        Self::FORBIDDEN,
        Self::UNKNOWN_PATH,
        Self::UNKNOWN_COMMAND,
        Self::UNKNOWN_RECEIPT,
        Self::UNKNOWN_RESOURCE,
        Self::METHOD,
        Self::SLOW,
        Self::REJECTED,
        Self::VERSION,
        Self::TOO_LARGE,
        Self::MEDIA_TYPE,
        Self::FIELDS,
        Self::KEY_REUSED,
        Self::DEAD,
        Self::REFERENCE,
        Self::RULES,
        Self::RATE,
        Self::PANIC,
        Self::FULL,
        Self::KAFKA,
        Self::QUERIES,
        Self::SEARCHES,
        Self::SLOW_QUERY,
        Self::RECEIPTS,
    ];

    /// Those that any request of a client may get.
    pub(crate) const OF_EVERY_REQUEST: [Self; 4] =
        [Self::UNAUTHENTICATED, Self::RATE, Self::PANIC, Self::FULL];

    /// The status of the answer.
    pub(crate) const fn status(self) -> u16 {
        self.0
    }

    /// The type of the problem: the address of its page.
    pub(crate) fn type_(self) -> String {
        format!("{TYPES}{}", self.1)
    }
}

/// A field, and what is wrong with it.
#[derive(Debug, Serialize)]
pub(crate) struct FieldError {
    /// Such as `lines[2].quantity`; empty for the whole body.
    pub(crate) path: String,
    pub(crate) message: String,
}

/// A refusal.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    /// Further members.
    more: Vec<(&'static str, Value)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of a kind, with a text for people.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), more: Vec::new(), headers: Vec::new() }
    }

    /// The client has shown no token that is known.
    pub(crate) fn unauthenticated() -> Self {
        let problem = Self::new(Kind::UNAUTHENTICATED, "send the client's token: Authorization: Bearer …");
        problem.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"millrace\""))
    }

    /// The same with a member.
    pub(crate) fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        self.more.push((name, json!(value)));
        self
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same for a caller that may try again after some seconds.
    pub(crate) fn retry_after(self, seconds: u16) -> Self {
        self.header(RETRY_AFTER, seconds.into())
    }
}

impl Problem {
    /// The same without a member.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.more.retain(|(known, _)| *known != name);
        self
    }

    /// Its members.
    pub(crate) fn body(&self) -> Value {
        let Kind(status, _, title) = self.kind;
        let mut body = json!({
            "type": self.kind.type_(), "title": title, "status": status, "detail": self.detail,
        });
        if let Value::Object(members) = &mut body {
            members.extend(self.more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.body().to_string()).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().extend(self.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_has_the_members_of_the_standard_and_its_own() {
        let problem = Problem::new(Kind::REJECTED, "why").with("code", "name-invalid").retry_after(3);
        let response = problem.into_response();
        assert_eq!(response.status(), 409);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[RETRY_AFTER], "3");
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let expected = json!({
            "type": "/problems/rejected", "title": "The command was rejected", "status": 409,
            "detail": "why", "code": "name-invalid",
        });
        assert_eq!(body, expected);
    }
}
