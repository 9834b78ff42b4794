//! Where a list goes on: the sort values of its last item, as one opaque text.

use serde_json::Value as Json;

/// Characters of a cursor, at most; a request's headers have room for it.
pub(crate) const CURSOR_MAX: usize = 14_000;

/// The cursor behind an item with these sort values.
pub(crate) fn behind(values: &[Json]) -> String {
    hex::encode(Json::from(values).to_string())
}

/// Whether a text may be a cursor.
pub(crate) fn is_one(text: &str) -> bool {
    text.len() <= CURSOR_MAX && !values(text).is_empty()
}

/// What is wrong with a text that is none.
pub(crate) fn none() -> String {
    "is not a cursor of this list: send `next` of the page before, and the same other parameters".to_owned()
}

/// The sort values in a cursor; none when it is not one.
pub(crate) fn values(cursor: &str) -> Vec<Json> {
    let bytes = hex::decode(cursor).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let sorted_by = [json!("2026-01-01T00:00:00.000001+00:00"), json!(7), json!(1.5)];
        let cursor = behind(&sorted_by);
        assert!(is_one(&cursor));
        assert_eq!(values(&cursor), sorted_by);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let others =
            ["".to_owned(), "zz".to_owned(), hex::encode("{}"), hex::encode("[]"), "00".repeat(CURSOR_MAX)];
        for other in others {
            assert!(!is_one(&other), "{other}");
        }
    }
}
