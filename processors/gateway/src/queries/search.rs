//! Searches in Elasticsearch, as JSON.

use serde_json::{Value as Json, json};

use super::cursor;
use super::parameter::Value;

/// Orders of products.
pub(crate) const PRODUCT_SORTS: &[&str] = &["relevance", "name", "price", "-price", "-rating", "-updated_at"];
/// Orders of customers.
pub(crate) const CUSTOMER_SORTS: &[&str] = &["relevance", "name", "-last_order_at"];
/// The field with the texts of a document as they are and without accents. It is for searches, and no part of the row.
const SPELT: &str = "search";
/// Values of a facet, at most.
const FACET_MAX: u32 = 50;

/// What a search was asked for.
pub(crate) struct Given<'g> {
    /// The value of a parameter.
    pub(crate) values: &'g dyn Fn(&str) -> Option<&'g Value>,
    /// The items of the page, and one more.
    pub(crate) size: i64,
    /// Where it goes on.
    pub(crate) after: Option<&'g str>,
}

impl Given<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        match (self.values)(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn integer(&self, name: &str) -> Option<i64> {
        match (self.values)(name)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    fn flag(&self, name: &str) -> Option<bool> {
        match (self.values)(name)? {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A filter by the value of a keyword.
    fn term(&self, name: &str, field: &str) -> Option<Json> {
        self.text(name).map(|text| json!({"term": {field: text}}))
    }

    /// The search: `scored` finds, `filters` leave out, and `sort` orders; ids decide between equals.
    fn search(&self, scored: Option<Json>, filters: Vec<Option<Json>>, (sort, id): (Json, &str)) -> Json {
        let filters: Vec<Json> = filters.into_iter().flatten().collect();
        let mut search = json!({
            "size": self.size, "track_total_hits": 10_000, "track_scores": false,
            "query": {"bool": {"must": scored.unwrap_or_else(|| json!({"match_all": {}})), "filter": filters}},
            "sort": [sort, {id: "asc"}],
            "_source": {"excludes": [SPELT, "products_held"]},
        });
        if let (Some(after), Some(search)) = (self.after, search.as_object_mut()) {
            search.insert("search_after".to_owned(), cursor::values(after).into());
        }
        search
    }
}

/// Products.
pub(crate) fn products(given: &Given<'_>) -> Json {
    let scored = given.text("q").map(|text| {
        words(
            text,
            &["name", SPELT],
            json!({"term": {"category.keyword": {"value": text, "case_insensitive": true}}}),
        )
    });
    let range = |name: &str, field: &str, by: &str| {
        given.integer(name).map(|number| json!({"range": {field: {by: number}}}))
    };
    let filters = vec![
        given.term("category", "category.keyword"),
        given.term("currency", "currency"),
        range("price_min", "price", "gte"),
        range("price_max", "price", "lte"),
        given.flag("available").map(|is| match is {
            true => json!({"range": {"available": {"gt": 0}}}),
            false => json!({"range": {"available": {"lte": 0}}}),
        }),
        given.flag("discontinued").map(|is| json!({"term": {"discontinued": is}})),
        // Of a product without a name only the stock is known yet.
        Some(json!({"exists": {"field": "name"}})),
    ];
    let mut search = given.search(scored, filters, (sort(given.text("sort")), "product_id"));
    if let Some(search) = search.as_object_mut().filter(|_| given.after.is_none()) {
        let facet = |field: &str| json!({"terms": {"field": field, "size": FACET_MAX}});
        search.insert(
            "aggs".to_owned(),
            json!({"category": facet("category.keyword"), "currency": facet("currency")}),
        );
    }
    search
}

/// Customers. The products that they hold may be many, so they are left out.
pub(crate) fn customers(given: &Given<'_>) -> Json {
    let scored = given.text("q").map(|text| {
        words(
            text,
            &["name", "contact_name", SPELT],
            json!({"term": {"email.keyword": {"value": text, "case_insensitive": true}}}),
        )
    });
    let filters = vec![
        given.term("country", "country.keyword"),
        given.term("city", "city.keyword"),
        given.term("tag", "tags"),
        given.integer("risk_min").map(|number| json!({"range": {"risk_score": {"gte": number}}})),
        // Others are known by their orders only.
        Some(json!({"exists": {"field": "name"}})),
    ];
    given.search(scored, filters, (sort(given.text("sort")), "customer_id"))
}

/// Every word in some spelling, or a beginning, or the whole text by another field.
fn words(text: &str, fields: &[&str], whole: Json) -> Json {
    let spelt =
        json!({"multi_match": {"query": text, "fields": fields, "operator": "and", "fuzziness": "AUTO"}});
    let begun =
        json!({"multi_match": {"query": text, "fields": fields, "operator": "and", "type": "bool_prefix"}});
    json!({"bool": {"should": [spelt, begun, whole], "minimum_should_match": 1}})
}

/// A value that is missing comes last.
fn sort(by: Option<&str>) -> Json {
    let (field, order) = match by {
        Some("name") => ("name.keyword", "asc"),
        Some("price") => ("price", "asc"),
        Some("-price") => ("price", "desc"),
        Some("-rating") => ("rating_hundredths", "desc"),
        Some("-updated_at") => ("updated_at", "desc"),
        Some("-last_order_at") => ("last_order_at", "desc"),
        _ => return json!({"_score": "desc"}),
    };
    json!({field: {"order": order, "missing": "_last"}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(of: fn(&Given<'_>) -> Json, values: &[(&str, Value)], after: Option<&str>) -> Json {
        let find = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        of(&Given { values: &find, size: 3, after })
    }

    #[test]
    fn a_text_of_the_caller_is_only_ever_a_value() {
        let text = r#""}},"script":{"source":"x"}"#;
        let found = search(products, &[("q", Value::Text(text.to_owned()))], None);
        assert_eq!(found.pointer("/query/bool/must/bool/should/0/multi_match/query"), Some(&json!(text)));
        assert_eq!(found["query"]["bool"]["filter"], json!([{"exists": {"field": "name"}}]));
    }

    #[test]
    fn every_order_ends_with_the_id_so_that_pages_do_not_overlap() {
        for (of, id, sorts) in [
            (products as fn(&Given<'_>) -> Json, "product_id", PRODUCT_SORTS),
            (customers, "customer_id", CUSTOMER_SORTS),
        ] {
            for by in sorts {
                let found = search(of, &[("sort", Value::Text((*by).to_owned()))], None);
                assert_eq!(found["sort"][1], json!({id: "asc"}), "{by}");
                assert_eq!(found["sort"][0].get("_score").is_some(), *by == "relevance", "{by}");
            }
        }
    }

    #[test]
    fn a_further_page_goes_on_behind_the_last_item_and_counts_nothing_again() {
        let cursor = cursor::behind(&[json!(1.5), json!("chai")]);
        let found = search(products, &[], Some(&cursor));
        assert_eq!((&found["search_after"], found.get("aggs")), (&json!([1.5, "chai"]), None));
        assert!(search(products, &[], None).get("aggs").is_some());
    }
}
