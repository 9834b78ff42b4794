//! Queries over HTTP: the gateway is a reader, sees the SQL views and the indices, and nothing else.

use millrace_testkit::free_port;
use millrace_tests::{Instance, eventually, stack};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{Gateway, NOWHERE, SHOP, WEB, answer, dry_runs, sent};
use crate::{beside_others, instance_with};

const CONTEXTS: &str = r#"["accounts", "campaigns", "carts", "catalog", "customers", "inventory", "orders"]"#;
const CLIENTS: &str = r#"[
    {name = "shop", token = "token-of-the-shop-0123456789abcdef",
     contexts = ["accounts", "campaigns", "carts", "catalog", "customers", "inventory", "orders"],
     queries = ["products", "carts", "orders", "customers", "accounts", "campaigns", "analytics", "overview"]},
    {name = "web", token = "token-of-the-web-0123456789abcdefg"}]"#;
/// Where the gateway reads.
const READER: &str = "MILLRACE_GATEWAY__READER_URL";
/// The id in every path that is asked for whether it is there or not.
const SOME: &str = "some";

impl Gateway {
    fn query(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path, SHOP)
    }

    async fn found(&self, path: &str) -> Value {
        let (status, body) = answer(self.query(path)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// What the views have once they have a version of a stream.
    async fn found_since(&self, path: &str, least: &str) -> Value {
        let (status, body) =
            answer(self.query(path).header("Min-Version", least).header("Prefer", "wait=20")).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Sends commands in this order, each when the one before is completed.
    async fn completes(&self, commands: &[(&str, Value)]) {
        for (number, (name, data)) in commands.iter().enumerate() {
            let (status, receipt) = self.awaited(&format!("{name}-{number}"), name, data).await;
            assert_eq!((status, &receipt["status"]), (200, &json!("completed")), "{name} {receipt}");
        }
    }
}

/// In the process of all roles, so that this works too.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_views_show_is_asked_for_over_http() {
    let _turn = beside_others().await;
    let receipts = format!("127.0.0.1:{}", free_port().expect("a free port"));
    let instance = shop("queries", &receipts).await;
    let mut gateway =
        Gateway::start_as(&instance, &[], &[(READER, stack().address("READER_DATABASE_URL"))]).await;
    gateway.completes(&trade()).await;
    a_writer_reads_what_it_has_written(&gateway).await;
    an_answer_that_has_not_changed_is_not_sent_again(&gateway).await;
    a_version_that_does_not_come_is_told(&gateway).await;
    a_cart_has_the_current_price_and_stock(&gateway).await;
    orders_come_page_by_page_the_newest_first(&gateway).await;
    a_statement_has_the_entries_of_a_half_open_range(&gateway).await;
    customers_and_products_are_searched(&gateway).await;
    rules_are_previewed_and_wrong_ones_named_by_place(&gateway).await;
    dry_runs::a_missing_reference_is_told_at_once(&gateway).await;
    everything_wrong_with_a_request_is_named_at_once(&gateway).await;
    every_query_of_the_document_is_answered(&gateway).await;
    nobody_queries_what_the_registration_does_not_name(&gateway).await;
    let order = [("query", "/v1/orders/{order_id}")];
    gateway.process.reports("millrace_query_seconds_count", &order, 1.0).await;
    gateway.process.stops().await;
}

async fn shop(story: &str, receipts: &str) -> Instance {
    let settings = [
        ("contexts", CONTEXTS),
        ("gateway.clients", CLIENTS),
        ("gateway.receipts_listen", receipts),
        ("gateway.receipts_token", "token-between-commands-and-gateway"),
        ("gateway.cors_origins", r#"["https://shop.example.com"]"#),
    ];
    instance_with(story, &settings).await
}

fn trade() -> Vec<(&'static str, Value)> {
    let order = |id: &str, day: &str| {
        let line = json!({"product_id": "chai", "quantity": 1, "unit_price": 1_800, "discount_bp": 0});
        (
            "PlaceOrder",
            json!({
                "order_id": id, "customer_id": "ann", "currency": "EUR", "placed_at": format!("2026-01-{day}T10:00:00Z"),
                "lines": [line], "total": 1_800,
            }),
        )
    };
    let deposit = |id: &str, at: &str| {
        (
            "DepositMoney",
            json!({
                "account_id": "DE01", "transaction_id": id, "amount": 100, "currency": "EUR", "text": id, "booked_at": at,
            }),
        )
    };
    vec![
        (
            "RegisterCustomer",
            json!({
                "customer_id": "ann", "name": "Ann Lee", "contact_name": "Ann", "email": "ann@example.org", "city": "Berlin",
                "country": "Germany",
            }),
        ),
        (
            "AddProduct",
            json!({"product_id": "chai", "name": "Chai tea", "category": "Teas", "price": 1_800, "currency": "EUR"}),
        ),
        ("ReceiveStock", json!({"product_id": "chai", "quantity": 40})),
        ("CreateCart", json!({"cart_id": "cart-1", "customer_id": "ann", "currency": "EUR"})),
        ("AddToCart", json!({"cart_id": "cart-1", "product_id": "chai", "quantity": 3})),
        ("ChangePrice", json!({"product_id": "chai", "price": 1_950})),
        order("o1", "01"),
        order("o2", "02"),
        order("o3", "03"),
        (
            "OpenAccount",
            json!({
                "account_id": "DE01", "customer_id": "ann", "kind": "current", "currency": "EUR", "initial_balance": 0, "overdraft": 0,
                "opened_at": "2026-01-01T00:00:00Z",
            }),
        ),
        deposit("first", "2026-01-31T23:59:59.999999Z"),
        deposit("second", "2026-02-01T00:00:00Z"),
        deposit("third", "2026-03-01T00:00:00Z"),
    ]
}

async fn a_writer_reads_what_it_has_written(gateway: &Gateway) {
    let chai = gateway.found_since("products/chai", "catalog/chai:2").await;
    assert_eq!((&chai["version"], &chai["item"]["price"]), (&json!(2), &json!(1_950)), "{chai}");
    assert!(chai["as_of"].is_string() && chai["item"]["updated_at"].is_string(), "{chai}");
    let receipt = gateway.awaited("tag", "TagCustomer", &json!({"customer_id": "ann", "tag": "vip"})).await.1;
    let least = format!("customers/ann:{}", receipt["versions"]["ann"]);
    let ann = gateway.found_since("customers/ann", &least).await;
    assert_eq!(ann["item"]["tags"], json!(["vip"]), "{ann}");
}

async fn an_answer_that_has_not_changed_is_not_sent_again(gateway: &Gateway) {
    let first = sent(gateway.query("products/chai")).await;
    let header = |answer: &Response, name: &str| answer.headers()[name].to_str().expect("text").to_owned();
    let tag = header(&first, "etag");
    assert_eq!(header(&first, "cache-control"), "private, no-cache");
    let again = sent(gateway.query("products/chai").header("If-None-Match", &tag)).await;
    assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, tag.clone()));
    gateway.completes(&[("RenameProduct", json!({"product_id": "chai", "name": "Chai"}))]).await;
    gateway.found_since("products/chai", "catalog/chai:3").await;
    let changed = sent(gateway.query("products/chai").header("If-None-Match", &tag)).await;
    assert_eq!(changed.status(), 200);
}

async fn a_version_that_does_not_come_is_told(gateway: &Gateway) {
    let asked =
        gateway.query("products/chai").header("Min-Version", "catalog/chai:99").header("Prefer", "wait=1");
    let (status, problem) = answer(asked).await;
    assert_eq!((status, &problem["version"]), (412, &json!(3)), "{problem}");
}

async fn a_cart_has_the_current_price_and_stock(gateway: &Gateway) {
    gateway.found_since("products/chai", "inventory/chai:1").await;
    let cart = gateway.found_since("carts/cart-1", "carts/cart-1:2").await;
    let line = &cart["item"]["lines"][0];
    assert_eq!((&line["unit_price"], &line["current_price"]), (&json!(1_800), &json!(1_950)), "{cart}");
    assert_eq!((&line["available"], &line["discontinued"]), (&json!(40), &json!(false)), "{cart}");
}

async fn orders_come_page_by_page_the_newest_first(gateway: &Gateway) {
    gateway.found_since("orders/o3", "orders/o3:1").await;
    let ids = |page: &Value| -> Vec<String> {
        page["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|one| one["order_id"].as_str().expect("id").to_owned())
            .collect()
    };
    let first = gateway.found("customers/ann/orders?limit=2&status=placed").await;
    assert_eq!(ids(&first), ["o3", "o2"]);
    let next = first["next"].as_str().expect("a further page");
    let last = gateway.found(&format!("customers/ann/orders?limit=2&status=placed&after={next}")).await;
    assert_eq!((ids(&last), &last["next"]), (vec!["o1".to_owned()], &Value::Null));
}

async fn a_statement_has_the_entries_of_a_half_open_range(gateway: &Gateway) {
    gateway.found_since("accounts/DE01/statement", "accounts/DE01:4").await;
    let texts = async |range: &str| -> Vec<Value> {
        let page = gateway.found(&format!("accounts/DE01/statement?{range}")).await;
        page["items"].as_array().expect("items").iter().map(|entry| entry["text"].clone()).collect()
    };
    assert_eq!(texts("from=2026-02-01T00:00:00Z&until=2026-03-01T00:00:00Z").await, ["second"]);
    assert_eq!(texts("until=2026-02-01T00:00:00Z").await, ["first"]);
    assert_eq!(texts("").await, ["third", "second", "first"]);
    let transactions = gateway.found("customers/ann/transactions?limit=1&kind=deposit").await;
    assert_eq!(transactions["items"][0]["text"], "third", "{transactions}");
}

async fn customers_and_products_are_searched(gateway: &Gateway) {
    let finds = async |path: &str, id: &str, expected: &str| {
        eventually(path, async || {
            let (status, found) = answer(gateway.query(path)).await;
            let is_found = status == 200 && found["items"][0][id] == expected;
            if is_found { Ok(found) } else { Err(format!("{status} {found}")) }
        })
        .await
    };
    finds("customers?q=ANN@example.org&country=Germany", "customer_id", "ann").await;
    finds("customers?q=le", "customer_id", "ann").await;
    let products = finds("products?q=chau&sort=price&price_max=1950", "product_id", "chai").await;
    assert_eq!(products["facets"]["category"], json!([{"value": "Teas", "count": 1}]), "{products}");
    assert_eq!((&products["total"]["value"], &products["next"]), (&json!(1), &Value::Null), "{products}");
    assert_eq!(gateway.found("products?q=coffee").await["items"], json!([]));
    let (status, problem) = answer(gateway.query("products?after=5b315d")).await;
    assert_eq!(
        (status, &problem["errors"][0]["path"]),
        (400, &json!("after")),
        "a cursor of another list: {problem}"
    );
}

async fn rules_are_previewed_and_wrong_ones_named_by_place(gateway: &Gateway) {
    let preview =
        async |body: Value| answer(gateway.request(Method::POST, "segments/preview", SHOP).json(&body)).await;
    let is = |is: &str| json!({"rules": {"all": [{"fact": "country", "is": is, "value": "Germany"}]}});
    let (status, found) = preview(is("=")).await;
    assert_eq!(
        (status, &found["audience"], &found["items"][0]["customer_id"]),
        (200, &json!(1), &json!("ann")),
        "{found}"
    );
    let (status, problem) = preview(is("like")).await;
    assert_eq!((status, &problem["errors"][0]["path"]), (422, &json!("rules.all[0].is")), "{problem}");
    let rules = is("=")["rules"].to_string();
    let define = ("DefineSegment", json!({"segment_id": "de", "name": "Germany", "rules": rules}));
    gateway.completes(&[define]).await;
    let defined = gateway.found_since("segments/de/preview?channel=email", "campaigns/de:1").await;
    assert_eq!(defined["audience"], 1, "{defined}");
}

async fn everything_wrong_with_a_request_is_named_at_once(gateway: &Gateway) {
    let asked = gateway
        .query("customers/ann/orders?limit=0&colour=red&from=now&status=lost")
        .header("Min-Version", "x");
    let (status, problem) = answer(asked).await;
    assert_eq!((status, &problem["type"]), (400, &json!("/problems/parameters-invalid")), "{problem}");
    let errors = problem["errors"].as_array().expect("a list");
    let mut paths: Vec<&str> = errors.iter().filter_map(|error| error["path"].as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["Min-Version", "colour", "from", "limit", "status"], "{problem}");
}

/// Every statement runs on the SQL views as they are, with and without its parameters.
async fn every_query_of_the_document_is_answered(gateway: &Gateway) {
    let document = gateway.found("openapi.json").await;
    let paths = document["paths"].as_object().expect("paths");
    let queries = paths.iter().filter(|(path, of)| of.get("get").is_some() && !path.contains("receipts"));
    let mut asked = 0;
    for (path, of) in queries {
        let named: Vec<&str> = path
            .trim_start_matches("/v1/")
            .split('/')
            .map(|step| if step.starts_with('{') { SOME } else { step })
            .collect();
        let path = named.join("/");
        for query in [String::new(), all_parameters(&of["get"])] {
            let (status, body) = answer(gateway.query(&format!("{path}?{query}"))).await;
            let is_answered = status == 200 || body["type"] == "/problems/resource-unknown";
            assert!(is_answered, "{path}?{query}: {status} {body}");
            asked += 1;
        }
    }
    assert!(asked > 40, "{asked}");
}

/// A value for each parameter of the query string.
fn all_parameters(operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    let query = parameters.iter().filter(|one| one["in"] == "query" && one["name"] != "after");
    let texts: Vec<String> =
        query.map(|one| format!("{}={}", one["name"].as_str().expect("a name"), value(one))).collect();
    texts.join("&")
}

fn value(parameter: &Value) -> String {
    let schema = &parameter["schema"];
    let (until, format) = (parameter["name"] == "until", schema["format"].as_str());
    match (schema["enum"][0].as_str(), schema["type"].as_str(), format) {
        (Some(first), ..) => first.to_owned(),
        (_, _, Some("date-time")) => {
            if until { "2027-01-01T00:00:00Z" } else { "2026-01-01T00:00:00Z" }.to_owned()
        }
        (_, _, Some("date")) => if until { "2027-01-01" } else { "2026-01-01" }.to_owned(),
        (_, Some("integer"), _) => "1".to_owned(),
        (_, Some("boolean"), _) => "true".to_owned(),
        _ => "EUR".to_owned(),
    }
}

async fn nobody_queries_what_the_registration_does_not_name(gateway: &Gateway) {
    let document = gateway.found("openapi.json").await;
    let paths = document["paths"].as_object().expect("paths");
    let queries = paths.iter().filter(|(path, of)| {
        of.get("get").is_some() && !path.contains("receipts") && !path.ends_with(".json")
    });
    let mut refused = 0;
    for (path, _) in queries {
        let path = path.trim_start_matches("/v1/").replace(['{', '}'], "");
        let status = |token: &'static str| sent(gateway.request(Method::GET, &path, token));
        assert_eq!(status(WEB).await.status(), 403, "{path}");
        assert_eq!(status("guessed-token-0123456789abcdefghijk").await.status(), 401, "{path}");
        refused += 1;
    }
    assert!(refused > 20, "{refused}");
    let preview = gateway.request(Method::POST, "segments/preview", WEB).json(&json!({"rules": {}}));
    assert_eq!(sent(preview).await.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_elasticsearch_the_views_answer_and_without_the_read_side_nothing_does() {
    let _turn = beside_others().await;
    let instance = shop("queries_alone", "127.0.0.1:1").await;
    let reader = (READER, stack().address("READER_DATABASE_URL"));
    let nowhere = format!("http://{NOWHERE}");
    let mut gateway = Gateway::start(&instance, &[reader, ("ELASTICSEARCH_URL", &nowhere)]).await;
    let refused = async |gateway: &Gateway, path: &str| {
        let refused = sent(gateway.query(path)).await;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (503, &"5".parse().unwrap()),
            "{path}"
        );
        refused.json::<Value>().await.expect("JSON")["type"].as_str().expect("a type").to_owned()
    };
    assert_eq!(gateway.found("customers/ann/orders").await["items"], json!([]));
    assert_eq!(answer(gateway.query("products/chai")).await.0, 404);
    assert_eq!(refused(&gateway, "products?q=chai").await, "/problems/searches-unavailable");
    the_gateway_is_a_reader(&instance, &gateway).await;
    pages_of_known_origins_may_call(&gateway).await;
    gateway.process.stops().await;
    let away = format!("postgres://reader@{NOWHERE}/none");
    let mut gateway = Gateway::start(&instance, &[(READER, &away)]).await;
    assert_eq!(refused(&gateway, "products/chai").await, "/problems/queries-unavailable");
    assert_eq!(gateway.found("products?q=chai").await["items"], json!([]), "searches need no Postgres");
    gateway.process.stops().await;
}

/// Its sessions are those of the role of readers and change nothing.
async fn the_gateway_is_a_reader(instance: &Instance, gateway: &Gateway) {
    gateway.found("customers/ann/accounts").await;
    let session = "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE application_name = 'millrace ' || $1 || ' gateway'";
    let roles: Vec<String> =
        sqlx::query_scalar(session).bind(&instance.name).fetch_all(&instance.read).await.expect("sessions");
    assert_eq!(roles, ["millrace_reader"]);
}

async fn pages_of_known_origins_may_call(gateway: &Gateway) {
    let preflight = async |origin: &str| {
        let asked = gateway.request(Method::OPTIONS, "products/chai", SHOP).header("Origin", origin);
        let asked = asked
            .header("Access-Control-Request-Method", "GET")
            .header("Access-Control-Request-Headers", "authorization");
        sent(asked)
            .await
            .headers()
            .get("access-control-allow-origin")
            .map(|origin| origin.to_str().expect("text").to_owned())
    };
    assert_eq!(preflight("https://shop.example.com").await.as_deref(), Some("https://shop.example.com"));
    assert_eq!(preflight("https://evil.example.com").await, None);
}
