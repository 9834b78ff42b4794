//! The meaning of Elasticsearch's answer to a `_bulk` for each of its documents.
//!
//! Only an error of the document itself is a refusal for good. Any other error (the index is blocked, closed, deleted, forbidden or
//! busy) is an outage: the documents are sent again until it is over.

use serde::Deserialize;
use serde_json::Value;

use super::{Document, Refusal};
use crate::error::{Dependency, WorkError};
use crate::failpoints::{broken, mechanism};

/// The error types of Elasticsearch 8 and 9, of versions before 8.8 and of OpenSearch for a document that does not fit the mapping.
/// Causes are, among others, an immense term, a number that is too large, and too many nested objects.
const OF_THE_DOCUMENT: [&str; 3] =
    ["document_parsing_exception", "mapper_parsing_exception", "strict_dynamic_mapping_exception"];
/// The error type of a request that is refused because of some of its documents, such as one with an invalid version.
const OF_SOME_DOCUMENT: &str = "action_request_validation_exception";
/// Characters of a reason that are kept, at most: reasons quote names of fields, which may have thousands of characters.
const REASON_CHARACTERS_MAX: usize = 1_000;

/// The fields of an answer that are read.
pub(super) const FIELDS: [&str; 7] = [
    "errors",
    "error.type",
    "error.reason",
    "items.*.status",
    "items.*.error.type",
    "items.*.error.reason",
    "items.*.error.caused_by.reason",
];

/// The answer to an accepted request.
#[derive(Deserialize)]
pub(super) struct Answer {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: Verdict,
}

#[derive(Deserialize)]
struct Verdict {
    status: u16,
    #[serde(default)]
    error: Value,
}

/// The verdict on one document.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// It is in the index, or a newer copy is.
    None,
    Document,
    /// An error of the index or the cluster: send all documents again.
    Index,
    /// The error type does not show whether the document or the index is at fault: `illegal_argument_exception` is an error of
    /// documents and of an alias without a write index, and later releases may have other types. If the index has accepted another
    /// document of the request, the document is at fault; if it has accepted none, all are sent again.
    Unclear,
}

impl Verdict {
    fn fault(&self) -> Fault {
        let of_the_document = OF_THE_DOCUMENT.contains(&text(&self.error, "/type"));
        match self.status {
            200..=299 | 409 => Fault::None,
            400 if of_the_document => Fault::Document,
            400..=499 if broken(mechanism::ERROR_TYPE) => Fault::Document,
            400 => Fault::Unclear,
            _ => Fault::Index,
        }
    }
}

/// The documents that are refused for good.
///
/// # Errors
/// [`WorkError::Outage`] when a document could not be stored for another reason, or when the answer does not cover all documents.
pub(super) fn refused(documents: &[&Document], answer: &Answer) -> Result<Vec<Refusal>, WorkError> {
    let Answer { errors, items } = answer;
    if items.len() != documents.len() {
        return Err(outage(format!("_bulk answered for {} of {} documents", items.len(), documents.len())));
    }
    if !errors {
        return Ok(Vec::new());
    }
    let takes_some = items.iter().any(|item| item.index.fault() == Fault::None);
    let mut refusals = Vec::new();
    for (document, Item { index }) in documents.iter().zip(items) {
        match index.fault() {
            Fault::None => {}
            Fault::Unclear if takes_some => refusals.push(Refusal::of(document, reason(&index.error))),
            Fault::Document => refusals.push(Refusal::of(document, reason(&index.error))),
            Fault::Index | Fault::Unclear => return Err(outage(takes_none(index.status, &index.error))),
        }
    }
    Ok(refusals)
}

/// The reason when a whole request is refused because of some of its documents; `None` for any other answer.
pub(super) fn of_some_document(status: u16, body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = body.get("error").unwrap_or(&Value::Null);
    match status {
        // From Elasticsearch, or from a proxy with a lower limit.
        413 => Some("413: it is larger than Elasticsearch, or a proxy before it, takes at once".to_owned()),
        400 if text(error, "/type") == OF_SOME_DOCUMENT => Some(reason(error)),
        _ => None,
    }
}

/// The error for an answer that is not Elasticsearch's, such as a proxy's.
pub(super) fn no_answer(status: u16, body: &[u8]) -> WorkError {
    let json = serde_json::from_slice::<Value>(body).ok();
    let error = json.as_ref().and_then(|body| body.get("error")).filter(|error| error.is_object());
    match error {
        Some(error) => outage(takes_none(status, error)),
        None => {
            let text = String::from_utf8_lossy(body.get(..REASON_CHARACTERS_MAX).unwrap_or(body));
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            outage(format!("_bulk answered {status}, and not as Elasticsearch does: {text}"))
        }
    }
}

fn outage(reason: String) -> WorkError {
    WorkError::outage(Dependency::Elasticsearch, reason)
}

fn takes_none(status: u16, error: &Value) -> String {
    format!("it takes no documents now ({status} {})", reason(error))
}

/// The type, the reason and its cause.
fn reason(error: &Value) -> String {
    let parts = ["/type", "/reason", "/caused_by/reason"].map(|part| text(error, part));
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(": ").chars().take(REASON_CHARACTERS_MAX).collect()
}

fn text<'v>(error: &'v Value, part: &str) -> &'v str {
    error.pointer(part).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(id: &str) -> Document {
        Document { id: id.to_owned(), version: 1, stream: None, body: "{}".to_owned() }
    }

    fn answer(items: &[(u16, &str)]) -> Answer {
        let error = |type_: &str| json!({"type": type_, "reason": "why", "caused_by": {"reason": "x"}});
        let item =
            |(status, type_): &(u16, &str)| json!({"index": {"status": status, "error": error(type_)}});
        let items: Vec<Value> = items.iter().map(item).collect();
        serde_json::from_value(json!({"errors": true, "items": items})).unwrap()
    }

    /// The refused ids; `None` when everything must be sent again.
    fn judged(items: &[(u16, &str)]) -> Option<Vec<String>> {
        let documents: Vec<Document> = (0..items.len()).map(|place| document(&place.to_string())).collect();
        let refused = refused(&documents.iter().collect::<Vec<_>>(), &answer(items)).ok()?;
        Some(refused.into_iter().map(|refusal| refusal.id).collect())
    }

    /// Answers of Elasticsearch 8.19; those about security, circuit breakers and shards are from its documentation.
    #[test]
    fn only_what_is_wrong_with_a_document_is_refused() {
        for type_ in OF_THE_DOCUMENT {
            assert_eq!(judged(&[(400, type_)]), Some(vec!["0".to_owned()]), "{type_}");
        }
        for (status, type_) in [
            (400, "index_closed_exception"),
            (400, "invalid_index_name_exception"),
            (400, "illegal_argument_exception"),
            (400, "something_new_exception"),
            (403, "cluster_block_exception"),
            (403, "security_exception"),
            (404, "index_not_found_exception"),
            (429, "cluster_block_exception"),
            (429, "circuit_breaking_exception"),
            (429, "es_rejected_execution_exception"),
            (503, "unavailable_shards_exception"),
            (500, "document_parsing_exception"),
        ] {
            assert_eq!(judged(&[(status, type_)]), None, "{type_}");
            assert_eq!(judged(&[(status, type_), (status, type_)]), None, "{type_}");
        }
    }

    #[test]
    fn an_unknown_reason_is_the_documents_where_the_index_takes_others() {
        let unknown = (400, "illegal_argument_exception");
        assert_eq!(judged(&[(201, ""), unknown, (409, "")]), Some(vec!["1".to_owned()]));
        assert_eq!(
            judged(&[(201, ""), (403, "cluster_block_exception")]),
            None,
            "the index is being blocked"
        );
    }

    #[test]
    fn a_refusal_says_why_in_a_bounded_text() {
        let long = "x".repeat(60_000);
        let refused = refused(&[&document("a")], &answer(&[(400, OF_THE_DOCUMENT[0])])).unwrap();
        assert_eq!(refused[0].reason, "document_parsing_exception: why: x");
        assert_eq!(reason(&json!({"type": long})).len(), REASON_CHARACTERS_MAX);
    }

    #[test]
    fn an_answer_that_is_not_about_every_document_is_none() {
        let two = [document("a"), document("b")];
        for answer in
            [json!({"errors": false}), json!({"errors": false, "items": [{"index": {"status": 201}}]})]
        {
            assert!(refused(&two.each_ref(), &serde_json::from_value(answer).unwrap()).is_err());
        }
    }

    #[test]
    fn a_request_is_cut_for_its_size_or_for_what_elasticsearch_says_of_some_document() {
        let error = |type_: &str| json!({"error": {"type": type_, "reason": "why"}}).to_string();
        assert!(of_some_document(413, b"<html>too large</html>").is_some());
        assert!(of_some_document(400, error(OF_SOME_DOCUMENT).as_bytes()).is_some());
        assert!(of_some_document(400, error("x_content_parse_exception").as_bytes()).is_none());
        assert!(
            of_some_document(400, b"<html>The plain HTTP request was sent to HTTPS port</html>").is_none()
        );
        assert!(of_some_document(403, error("security_exception").as_bytes()).is_none());
    }

    #[test]
    fn what_is_no_answer_is_reported_as_it_came() {
        let page = no_answer(200, b"<html>\n  <title>Log in</title></html>").to_string();
        assert!(
            page.ends_with("200, and not as Elasticsearch does: <html> <title>Log in</title></html>"),
            "{page}"
        );
        let blocked = no_answer(403, json!({"error": {"type": "a", "reason": "b"}}).to_string().as_bytes());
        assert!(blocked.to_string().ends_with("(403 a: b)"), "{blocked}");
    }
}
