//! The dashboards that are shipped: every object fits its schema, the others and the mappings, and Elasticsearch answers every panel.

use std::collections::BTreeSet;

use chrono::Utc;
use millrace_tests::kibana::{
    Fields, Formula, OPERATIONS, Panel, SavedObject, find, shipped, unfit, used_fields,
};
use millrace_tests::load::{Load, add_product, command, customer, order, place, product};
use millrace_tests::snapshot::{elastic, elastic_with};
use millrace_tests::{Instance, eventually, views};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{beside_others, instance_with};

/// Kibana raises older objects to its own format and refuses newer ones; 8.19 is a minor version of 8.
const FORMATS: [(&str, [&str; 2]); 4] = [
    ("index-pattern", ["8.8.0", "8.0.0"]),
    ("search", ["8.8.0", "8.0.0"]),
    ("lens", ["8.8.0", "8.9.0"]),
    ("dashboard", ["8.8.0", "8.9.0"]),
];

const SMALL: Load = Load { customers: 4, products: 6, orders: 20 };

#[test]
fn every_object_has_an_id_of_its_own_and_a_format_that_kibana_8_19_can_raise() {
    let objects = shipped("millrace");
    let ids: BTreeSet<_> = objects.iter().map(|object| (object.kind(), object.id())).collect();
    assert_eq!(ids.len(), objects.len(), "ids are unique");
    for object in &objects {
        assert!(
            FORMATS.contains(&(object.kind(), object.format())),
            "{}: {:?}",
            object.id(),
            object.format()
        );
    }
}

#[test]
fn every_object_is_as_the_schema_of_saved_objects_says() {
    assert_eq!(unfit(&shipped("millrace")), [""; 0]);
}

#[test]
fn references_are_in_the_file_and_every_one_is_used() {
    let objects = shipped("millrace");
    for object in &objects {
        for link in object.links() {
            find(&objects, &link.kind, &link.id);
        }
        let names: BTreeSet<String> = object.links().into_iter().map(|link| link.name).collect();
        assert_eq!(names, object.names_used().into_iter().collect(), "{}", object.id());
    }
}

#[test]
fn every_field_is_in_the_strict_mapping_with_a_type_that_will_do() {
    let objects = shipped("millrace");
    for object in objects.iter().filter(|object| object.kind() != "dashboard") {
        let view = view_of(&objects, object);
        let fields = Fields::of(&view);
        for (field, kinds) in used_fields(object) {
            let kind = fields.kind(&field);
            assert!(kind.is_some_and(|kind| kinds.contains(&kind)), "{}: {field} is {kind:?}", object.id());
        }
    }
}

#[test]
fn every_published_view_has_a_data_view_that_formats_fields_of_its_mapping() {
    let objects = shipped("millrace");
    let views = views::of(millrace_schemas::CONTEXTS);
    for view in views.iter().filter(|view| view.index) {
        let data_view = find(&objects, "index-pattern", &format!("millrace-{}", view.name));
        let fields = Fields::of(view.name);
        for named in ["fieldFormatMap", "fieldAttrs"] {
            let named = data_view.attribute(named).as_str().expect("JSON as text");
            let named: Value = serde_json::from_str(named).expect("JSON");
            for field in named.as_object().expect("fields").keys() {
                assert_eq!(fields.kind(field), Some("long"), "{}: {field}", view.name);
            }
        }
    }
}

/// The published view that an object is about.
fn view_of(objects: &[SavedObject], object: &SavedObject) -> String {
    let data_view = match object.links().as_slice() {
        [] => object,
        [link] => find(objects, &link.kind, &link.id),
        more => panic!("{} has {} references", object.id(), more.len()),
    };
    let pattern = data_view.attribute("title").as_str().expect("a pattern");
    let view = pattern.strip_prefix("millrace-").unwrap_or_else(|| panic!("{pattern} is no alias"));
    let views = views::of(millrace_schemas::CONTEXTS);
    let published = views.iter().any(|known| known.name == view && known.index);
    assert!(published || view == OPERATIONS, "{view} is not published");
    view.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn elasticsearch_answers_every_panel_of_the_dashboards() {
    let _turn = beside_others().await;
    let contexts =
        r#"["accounts", "campaigns", "carts", "catalog", "customers", "inventory", "orders", "payments"]"#;
    let observed =
        [("metrics.interval", "1s"), ("metrics.documents_interval", "1s"), ("audit.interval", "1h")];
    let settings = [&[("contexts", contexts)], &observed[..]].concat();
    let instance = instance_with("kibana", &settings).await;
    let mut process = instance.start();
    some_of_everything_happens(&instance).await;
    // What the auditor found is asked for once a minute, and first when a process starts.
    process.stops().await;
    instance.millrace(&["verify", "--incremental"]).await.expect_success();
    let _process = instance.start();
    let objects = shipped(&instance.name);
    every_pattern_is_an_alias(&objects).await;
    let dashboards: Vec<&SavedObject> =
        objects.iter().filter(|object| object.kind() == "dashboard").collect();
    assert_eq!(dashboards.len(), 2);
    let mut shown = Vec::new();
    for dashboard in dashboards {
        let panels = Panel::all(&objects, dashboard);
        assert_eq!(panels.len(), dashboard.panels().len(), "one search for each panel");
        for panel in &panels {
            eventually(&panel.title, async || answers(panel).await).await;
        }
        shown.extend(panels);
    }
    stock_turns_over_as_in_sql(&instance, &objects, &shown).await;
}

/// Orders that are open, shipped and cancelled; payments that were captured, declined and refunded; a product without
/// stock; a dead letter.
async fn some_of_everything_happens(instance: &Instance) {
    instance.send(&SMALL.basics()).await;
    instance.send(&[add_product(SMALL.products)]).await;
    instance.settle().await;
    instance.send(&SMALL.slices(1).concat()).await;
    instance.settle().await;
    instance.send_and_wait(&shipped_now()).await.expect_success();
    let open = SMALL.orders;
    instance.send(&[place(open, &customer(0), &product(0))]).await;
    instance.settle().await;
    instance.send_and_wait(&payments(instance).await).await.expect_success();
    instance.send(&[place(open + 1, "nobody", &product(0))]).await;
    instance.settle().await;
}

/// Half of the stock of a product leaves, and a third of another's. Commands without a time happen when they are sent.
fn shipped_now() -> Vec<String> {
    let of = |(number, quantity): (usize, i64)| {
        let (reservation_id, product_id) = (format!("now-{number}"), product(number));
        let lines = json!([{"product_id": product_id, "quantity": quantity}]);
        let reserve = json!({"reservation_id": reservation_id, "lines": lines});
        let ship = json!({"reservation_id": reservation_id, "product_ids": [product_id]});
        [("ReserveStock", reserve), ("ShipStock", ship)].map(|(name, data)| {
            json!({"id": format!("{name}-now-{number}"), "source": "stories", "type": name, "data": data})
                .to_string()
        })
    };
    [(0, 500_000), (1, 333_333)].into_iter().flat_map(of).collect()
}

/// What the panel computes is what the SQL view says.
async fn stock_turns_over_as_in_sql(instance: &Instance, objects: &[SavedObject], panels: &[Panel]) {
    let lens = find(objects, "lens", &format!("{}-stock-turnover", instance.name));
    let panel = panels.iter().find(|panel| Some(panel.title.as_str()) == lens.attribute("title").as_str());
    let panel = panel.expect("a panel");
    let answer = elastic(&format!("{}/_search", panel.index), Some(panel.body.clone())).await;
    let columns = &lens.attribute("state")["datasourceStates"]["formBased"]["layers"]["data"]["columns"];
    let now = Utc::now().timestamp_millis() as f64;
    let sql = "SELECT product_id, days, turnover::float8 FROM stock_turnover WHERE turnover IS NOT NULL";
    let sql: Vec<(String, i32, f64)> = sqlx::query_as(sql).fetch_all(&instance.read).await.expect("turnover");
    assert!(sql.iter().filter(|(.., turnover)| *turnover > 0.0).count() >= 6, "two products: {sql:?}");
    for (product_id, days, turnover) in sql {
        let buckets = answer["aggregations"]["product"]["buckets"].as_array().expect("buckets");
        let bucket = buckets.iter().find(|bucket| bucket["key"] == product_id.as_str()).expect("a product");
        let column = format!("turnover_{days}");
        let shown = Formula::of(&columns[&column]).value(&column, bucket, now);
        assert!((shown - turnover).abs() <= 0.00005, "{product_id}, {days} days: {shown} and {turnover}");
    }
}

async fn payments(instance: &Instance) -> Vec<String> {
    let orders = "SELECT order_id, customer_id, total, currency FROM orders ORDER BY order_id LIMIT 3";
    let orders: Vec<(String, String, i64, String)> =
        sqlx::query_as(orders).fetch_all(&instance.read).await.expect("orders");
    let requested = orders.iter().enumerate().map(|(i, (order_id, customer_id, amount, currency))| {
        let data =
            json!({"order_id": order_id, "customer_id": customer_id, "amount": amount, "currency": currency});
        command("RequestPayment", i, data)
    });
    let captured = (0..2).map(|i| {
        let data = json!({"order_id": order(i), "amount": orders[i].2, "provider_reference": "p"});
        command("CapturePayment", i, data)
    });
    let others = [
        (
            "DeclinePayment",
            2,
            json!({"order_id": order(2), "code": "card-expired", "reason": "it has expired"}),
        ),
        ("RefundPayment", 1, json!({"order_id": order(1), "refund_id": "r", "amount": 1, "reason": "late"})),
        ("CompleteRefund", 1, json!({"order_id": order(1), "refund_id": "r", "provider_reference": "p"})),
    ];
    let others = others.map(|(name, i, data)| command(name, i, data));
    requested.chain(captured).chain(others).collect()
}

async fn every_pattern_is_an_alias(objects: &[SavedObject]) {
    for object in objects.iter().filter(|object| object.kind() == "index-pattern") {
        let pattern = object.attribute("title").as_str().expect("a pattern");
        elastic(&format!("{pattern}/_refresh"), None).await;
        let aliases = elastic_with(Method::GET, &format!("{pattern}/_alias"), None).await;
        let indices: Vec<&String> = aliases.as_object().expect("indices").keys().collect();
        assert!(
            matches!(&indices[..], [index] if index.starts_with(&format!("{pattern}-g"))),
            "{pattern} leads to {indices:?}"
        );
    }
}

/// The figures of the namespace come when a round is over; everything else is there.
async fn answers(panel: &Panel) -> Result<(), String> {
    elastic(&format!("{}/_refresh", panel.index), None).await;
    let answer: Value = elastic(&format!("{}/_search", panel.index), Some(panel.body.clone())).await;
    let (title, body) = (&panel.title, &panel.body);
    assert_eq!(answer["_shards"]["failed"], 0, "{title}: {answer}");
    assert_eq!(answer["timed_out"], false, "{title}: {answer}");
    if panel.found(&answer) > 0 {
        return Ok(());
    }
    Err(format!("{title} shows nothing: {body} is answered by {answer}"))
}
