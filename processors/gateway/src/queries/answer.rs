//! Answers as clients see them.

use axum::Json as Body;
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::Answer;

/// Bytes of the hash in an entity tag.
const TAG_BYTES: usize = 12;

impl Answer {
    /// The one item that the path names; `None` when there is none.
    pub(crate) fn one(mut self, headers: &HeaderMap) -> Option<Response> {
        let item = self.items.pop()?;
        Some(self.shown(vec![("item", item)], headers))
    }

    /// The list.
    pub(crate) fn list(mut self, headers: &HeaderMap) -> Response {
        let (items, next) = (std::mem::take(&mut self.items), self.next.take());
        self.shown(vec![("items", items.into()), ("next", json!(next))], headers)
    }

    /// The members, or nothing when the caller has them. A change of anything but the time of the answer is another entity.
    fn shown(self, members: Vec<(&'static str, Json)>, headers: &HeaderMap) -> Response {
        let version = self.version.map(|version| ("version", json!(version)));
        let members = version.into_iter().chain(members).chain(self.more);
        let mut body: Map<String, Json> = members.map(|(name, value)| (name.to_owned(), value)).collect();
        let tag = tag(self.version, &body);
        let kept = [
            (CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
            (VARY, HeaderValue::from_static("Authorization")),
        ];
        let tagged = HeaderValue::from_str(&tag).ok().map(|tag| (ETAG, tag));
        let mut response = if has(headers, &tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            body.insert("as_of".to_owned(), json!(self.as_of));
            Body(body).into_response()
        };
        response.headers_mut().extend(kept.into_iter().chain(tagged));
        response
    }
}

/// The version, and a hash of all that is shown: what is joined to a row has versions of its own. Weak, since the same answer may be
/// compressed or not.
fn tag(version: Option<i64>, body: &Map<String, Json>) -> String {
    let hash = Sha256::digest(serde_json::to_vec(body).unwrap_or_default());
    let hash = hex::encode(hash.get(..TAG_BYTES).unwrap_or_default());
    version.map_or_else(|| format!("W/\"{hash}\""), |version| format!("W/\"{version}-{hash}\""))
}

/// Whether the caller has what is tagged so (`If-None-Match`, compared weakly).
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = values.flat_map(|value| value.split(',')).map(opaque);
    known.any(|known| known == "*" || known == opaque(tag))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn answer(price: i64, as_of: DateTime<Utc>) -> Answer {
        let items = vec![json!({"product_id": "chai", "price": price})];
        Answer { as_of, version: Some(3), items, next: None, more: Vec::new() }
    }

    fn with(tag: &HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(IF_NONE_MATCH, tag.clone())])
    }

    #[test]
    fn who_has_an_answer_is_told_so_until_something_in_it_changes() {
        let first = answer(1, DateTime::UNIX_EPOCH).one(&HeaderMap::new()).unwrap();
        let tag = &first.headers()[ETAG];
        assert!(tag.to_str().unwrap().starts_with("W/\"3-"));
        let again = answer(1, Utc::now()).one(&with(tag)).unwrap();
        assert_eq!((again.status(), &again.headers()[ETAG]), (StatusCode::NOT_MODIFIED, tag));
        assert_eq!(again.headers()[CACHE_CONTROL], "private, no-cache");
        assert_eq!(answer(2, Utc::now()).one(&with(tag)).unwrap().status(), StatusCode::OK);
        assert_eq!(
            answer(1, Utc::now()).list(&with(tag)).status(),
            StatusCode::OK,
            "a list is another entity"
        );
    }

    #[test]
    fn tags_are_compared_weakly_and_in_lists() {
        for (known, is) in
            [("*", true), ("W/\"a\", \"b\"", true), ("\"b\",W/\"c\"", false), ("a", false), ("", false)]
        {
            assert_eq!(has(&with(&HeaderValue::from_static(known)), "\"a\""), is, "{known}");
        }
    }

    #[test]
    fn there_is_no_answer_without_an_item() {
        let none = Answer { items: Vec::new(), ..answer(1, Utc::now()) };
        assert!(none.one(&HeaderMap::new()).is_none());
    }
}
