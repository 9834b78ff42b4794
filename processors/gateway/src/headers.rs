//! Headers of a request for a command.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use crate::problem::{Kind, Problem};

/// The header with the command's id.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Bytes of an id, at most.
const KEY_BYTES_MAX: usize = 512;

/// The id of the command.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let missing = "send Idempotency-Key: a text of 1 to 512 bytes, one for each command";
    given_key(headers)?.ok_or_else(|| Problem::new(Kind::KEY, missing))
}

/// The idempotency key, if there is one. A key in quotes, as the draft of the header has it, is the text inside.
pub(crate) fn given_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let refuse = |detail| Problem::new(Kind::KEY, detail);
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(refuse("Idempotency-Key is there more than once"));
    }
    let key = key.to_str().map_err(|_| refuse("Idempotency-Key is not visible ASCII"))?;
    let inside = key.starts_with('"').then(|| serde_json::from_str(key).ok()).flatten();
    let key: String = inside.unwrap_or_else(|| key.to_owned());
    match key.len() {
        1..=KEY_BYTES_MAX => Ok(Some(key)),
        _ => Err(refuse("Idempotency-Key has 1 to 512 bytes")),
    }
}

/// The W3C trace context of the request.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<String> {
    headers.get("traceparent")?.to_str().ok().map(str::to_owned)
}

/// How long the caller wants to wait for the outcome: `Prefer: wait=5` (RFC 7240), in seconds; anything else is ignored.
pub(crate) fn wait(headers: &HeaderMap, most: Duration) -> Option<Duration> {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let seconds = preferences.flat_map(|value| value.split([',', ';'])).find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        value.trim().parse().ok().filter(|seconds| is_wait && *seconds > 0)
    });
    seconds.map(|seconds: u32| Duration::from_secs(seconds.into()).min(most))
}

/// The media type of a command.
pub(crate) const JSON: &str = "application/json";
/// The media type of a batch: JSON, one value on each line.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// Refuses a body that is not declared as this, such as that of a form.
pub(crate) fn expect(media_type: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case(media_type) {
        return Ok(());
    }
    Err(Problem::new(Kind::MEDIA_TYPE, format!("send Content-Type: {media_type}")))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in of.iter().map(header) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn a_key_is_required_once_and_may_be_in_quotes() {
        let key = |of: &[_]| idempotency_key(&headers(of)).ok();
        assert_eq!(key(&[("idempotency-key", "a-1")]).as_deref(), Some("a-1"));
        assert_eq!(key(&[("idempotency-key", "\"a-1\"")]).as_deref(), Some("a-1"));
        assert_eq!(key(&[("idempotency-key", "\"a-1")]).as_deref(), Some("\"a-1"));
        assert_eq!(key(&[]), None);
        assert_eq!(key(&[("idempotency-key", "a"), ("idempotency-key", "a")]), None);
    }

    #[test]
    fn a_key_has_a_length_whatever_it_is_for() {
        let is_taken = |key: &str| {
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static(IDEMPOTENCY_KEY),
                HeaderValue::from_str(key).unwrap(),
            )]);
            given_key(&headers).is_ok()
        };
        assert!(is_taken("k") && is_taken(&"k".repeat(KEY_BYTES_MAX)));
        assert!(!is_taken("") && !is_taken("\"\"") && !is_taken(&"k".repeat(KEY_BYTES_MAX + 1)));
    }

    #[test]
    fn a_wait_is_in_seconds_and_bounded() {
        let most = Duration::from_secs(20);
        let wait =
            |value: &'static str| wait(&headers(&[("prefer", value)]), most).map(|wait| wait.as_secs());
        assert_eq!(
            (wait("wait=5"), wait("respond-async, Wait = 7"), wait("wait=900")),
            (Some(5), Some(7), Some(20))
        );
        for ignored in ["wait", "wait=", "wait=soon", "wait=-1", "wait=0", "wait=1.5", "await=5"] {
            assert_eq!(wait(ignored), None, "{ignored}");
        }
    }

    #[test]
    fn only_json_is_taken() {
        let is_taken = |value| expect(JSON, &headers(&[("content-type", value)])).is_ok();
        assert!(is_taken("application/json") && is_taken("Application/JSON; charset=utf-8"));
        assert!(!is_taken("text/plain") && !is_taken("application/x-www-form-urlencoded"));
        assert!(expect(JSON, &HeaderMap::new()).is_err());
    }
}
