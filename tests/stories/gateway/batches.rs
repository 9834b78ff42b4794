//! Many commands in one request.

use millrace_tests::Instance;
use millrace_tests::load::customer;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{Gateway, SHOP, answer, registration, sent};

/// Customers of the batch, behind those of other parts of the story.
const CUSTOMERS: std::ops::Range<usize> = 100..1_600;

impl Gateway {
    pub(super) fn batch(&self, body: String) -> RequestBuilder {
        let request = self.request(Method::POST, "commands", SHOP);
        request.header("Content-Type", "application/x-ndjson").body(body)
    }
}

/// The lines of an answer.
async fn lines(request: RequestBuilder) -> Vec<Value> {
    let answer = sent(request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let text = answer.text().await.expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Each customer is registered and, by a later line, tagged; the lines between are wrong.
fn batch() -> String {
    let mut lines: Vec<String> = Vec::new();
    for i in CUSTOMERS {
        let tag = json!({"customer_id": customer(i), "tag": "vip"});
        lines.push(json!({"type": "RegisterCustomer", "data": registration(i)}).to_string());
        lines.push(json!({"type": "TagCustomer", "id": format!("tag-{i}"), "data": tag}).to_string());
    }
    let wrong = json!({"type": "TagCustomer", "data": {"customer_id": 7, "colour": "red"}});
    let refused = json!({"type": "TagCustomer", "data": {"customer_id": "nobody", "tag": "vip"}});
    let foreign = json!({"type": "PlaceOrder", "data": {}});
    let of_others = json!({"type": "TagCustomer", "source": "web", "data": {}});
    let large = json!({"type": "TagCustomer", "data": {"customer_id": "x".repeat(4_000)}});
    let others = [wrong, refused, foreign, of_others, large].map(|line| line.to_string());
    lines.splice(1..1, others.into_iter().chain(["{".to_owned(), String::new()]));
    lines.join("\n")
}

pub(super) async fn many_commands_come_in_one_request(gateway: &Gateway, instance: &Instance) {
    let request = || gateway.batch(batch()).header("Idempotency-Key", "import");
    let answered = lines(request().header("Prefer", "wait=20")).await;
    let numbers: Vec<u64> = answered.iter().filter_map(|line| line["line"].as_u64()).collect();
    let all = CUSTOMERS.len() as u64 * 2 + 7;
    let expected: Vec<u64> = (1..=all).filter(|number| *number != 8).collect();
    assert_eq!(numbers, expected, "an outcome for each line, in their order, without the blank one");
    let statuses: Vec<u64> = answered.iter().filter_map(|line| line["status"].as_u64()).collect();
    assert_eq!(statuses[..7], [200, 422, 409, 403, 422, 413, 400], "{:#?}", &answered[..7]);
    assert!(statuses[7..].iter().all(|status| *status == 200), "every other one is completed");
    let paths: Vec<&Value> = answered[1]["problem"]["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| &error["path"])
        .collect();
    assert_eq!(paths, ["data.colour", "data.customer_id", "data.tag"], "{}", answered[1]);
    assert_eq!(answered[4]["problem"]["errors"][0]["path"], "source", "{}", answered[4]);
    let first = &answered[0];
    assert_eq!((&first["id"], &first["location"]), (&json!("import-1"), &json!("/v1/receipts/import-1")));
    assert_eq!(gateway.receipt(SHOP, "import-1").await, (200, first["receipt"].clone()));
    a_batch_that_comes_again_has_no_further_effect(gateway, instance, request()).await;
}

async fn a_batch_that_comes_again_has_no_further_effect(
    gateway: &Gateway,
    instance: &Instance,
    again: RequestBuilder,
) {
    let answered = lines(again).await;
    assert_eq!(
        (&answered[0]["status"], answered[0].get("receipt")),
        (&json!(202), None),
        "the caller did not wait"
    );
    let last = format!("tag-{}", CUSTOMERS.end - 1);
    let (status, receipt) = gateway.receipt(SHOP, &last).await;
    assert_eq!((status, &receipt["status"]), (200, &json!("completed")), "{receipt}");
    // A further batch of the same keys is decided behind the one that came again.
    let end: Vec<String> = CUSTOMERS.map(|i| {
        json!({"type": "TagCustomer", "id": format!("new-{i}"), "data": {"customer_id": customer(i), "tag": "new"}}).to_string()
    }).collect();
    let ended = lines(gateway.batch(end.join("\n")).header("Prefer", "wait=20")).await;
    assert!(ended.iter().all(|line| line["status"] == 200), "{:?}", ended.last());
    let ids: Vec<String> = CUSTOMERS.map(customer).collect();
    let events = "SELECT count(*) FROM outbox WHERE aggregateid = ANY($1) AND version IS NOT NULL";
    let events: i64 =
        sqlx::query_scalar(events).bind(&ids).fetch_one(&instance.write).await.expect("a count");
    assert_eq!(events, CUSTOMERS.len() as i64 * 3, "registered and tagged twice");
}

/// Nothing of it is executed.
pub(super) async fn a_dry_run_of_a_batch_is_refused(gateway: &Gateway) {
    let line = json!({"type": "RegisterCustomer", "id": "dry", "data": registration(60)}).to_string();
    let request = gateway.request(Method::POST, "commands?dry_run=true", SHOP);
    let (status, problem) = answer(request.header("Content-Type", "application/x-ndjson").body(line)).await;
    assert_eq!((status, &problem["errors"][0]["path"]), (400, &json!("dry_run")), "{problem}");
    assert_eq!(gateway.receipt(SHOP, "dry").await.0, 404);
}

/// While Kafka is away.
pub(super) async fn a_batch_of_which_nothing_is_taken_may_come_again(gateway: &Gateway) {
    let line = json!({"type": "RegisterCustomer", "id": "1", "data": registration(1)}).to_string();
    let refused = sent(gateway.batch(format!("{{}}\n{line}"))).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"5".parse().unwrap()));
}
