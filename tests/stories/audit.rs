//! The auditor: comparison of stored data with the outbox, and repair.

use millrace_tests::kafka::{Placed, delete_records, murmur2_partition, produce};
use millrace_tests::load::{command, customer, order, register};
use millrace_tests::outcome::Outcome;
use millrace_tests::snapshot::{elastic, elastic_with};
use millrace_tests::{Instance, Load, Process, becomes, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tokio::sync::watch;

use crate::{beside_others, instance, instance_with};

const LOAD: Load = Load { customers: 10, products: 10, orders: 60 };
/// The same and more.
const UNDER_LOAD: Load = Load { orders: 240, ..LOAD };
/// How much of it is sent during each look, one after the other.
const SLICES_A_LOOK: usize = 12;

/// A running instance that has processed a load.
async fn worked_off(
    story: &str,
    settings: &[(&str, &str)],
    variables: &[(&str, &str)],
) -> (Instance, Process) {
    let instance = instance_with(story, settings).await;
    let process = instance.start_with(&[], variables);
    instance.send(&LOAD.basics()).await;
    instance.settle().await;
    instance.send(&LOAD.slices(1)[0]).await;
    instance.settle().await;
    (instance, process)
}

async fn verify(instance: &Instance, arguments: &[&str]) -> Outcome {
    instance.millrace(&[&["verify", "--format", "json"], arguments].concat()).await
}

/// A finding: kind, name, key.
fn found(outcome: &Outcome) -> Vec<String> {
    let report = outcome.json();
    let text = |finding: &Value, field: &str| finding[field].as_str().expect("text").to_owned();
    let sign = |finding: &Value| ["what", "name", "key"].map(|field| text(finding, field)).join(" ");
    let mut found: Vec<String> = report["findings"].as_array().expect("findings").iter().map(sign).collect();
    found.sort();
    found
}

async fn execute(instance: &Instance, sql: &str) {
    let done = sqlx::query(AssertSqlSafe(sql)).execute(&instance.read).await.expect(sql);
    assert!(done.rows_affected() > 0, "{sql}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_corrupted_is_found_and_repaired_and_nothing_else_is() {
    let _turn = beside_others().await;
    let (instance, _process) = worked_off("audit_corrupt", &[], &[]).await;
    let sound = verify(&instance, &[]).await;
    assert_eq!(found(sound.expect_success()), Vec::<String>::new());
    assert_eq!(
        compared(&sound.json()),
        [
            "topics",
            "products 10 10",
            "orders 60 60",
            "customers 10 10",
            "stock_reservations",
            "sold_lines 96 96",
            "customer_history",
            "carts",
            "sales_daily",
            "revenue_daily",
            "customer_revenue_daily",
            "customer_purchases",
            "stock_movements_daily 10 10",
            "events"
        ]
    );
    let before = instance.snapshot().await;
    corrupt_rows(&instance).await;
    make_rows_unreadable(&instance).await;
    corrupt_documents(&instance).await;
    let event = lose_an_event(&instance).await;
    let wrong = [
        format!("document customers {}", customer(3)),
        format!("document events {event}"),
        format!("document orders {}", order(1)),
        format!("document orders {}", order(2)),
        format!("document orders {}", order(8)),
        format!("document orders {}", order(9)),
        format!("document orders {}", order(10)),
        "document orders stranger".to_owned(),
        "document orders stray".to_owned(),
        format!("row customers {}", customer(3)),
        format!("row orders {}", order(1)),
        format!("row orders {}", order(2)),
        format!("row orders {}", order(20)),
        format!("row orders {}", order(21)),
        format!("row orders {}", order(22)),
        format!("row orders {}", order(23)),
        "row orders stray".to_owned(),
        "row sales_daily".to_owned(),
    ];
    let told = verify(&instance, &[]).await;
    assert_eq!(
        found(told.expect_code(5)).iter().map(|sign| sign.split(" [").next().unwrap()).collect::<Vec<_>>(),
        wrong
    );
    tells_all_of_a_customer(&instance).await;
    verify(&instance, &["--repair", "--why", "edited by hand", "--who", "bo"]).await.expect_success();
    instance.settle().await;
    assert_eq!(found(verify(&instance, &[]).await.expect_success()), Vec::<String>::new());
    instance.snapshot().await.assert_same(&before);
    let repaired =
        "SELECT count(*) FROM audit WHERE who = 'bo' AND action = 'repair' AND why = 'edited by hand'";
    assert_eq!(sqlx::query_scalar::<_, i64>(repaired).fetch_one(&instance.read).await.expect("a count"), 9);
    of_one_key_only_that_is_told(&instance).await;
    what_is_new_and_a_part_of_the_rest_is_compared(&instance).await;
}

/// The look before has found everything right: what is new since is compared with a copy, and old rows in turn, here all of them.
async fn what_is_new_and_a_part_of_the_rest_is_compared(instance: &Instance) {
    verify(instance, &[]).await.expect_success();
    instance.send(&UNDER_LOAD.slices(48)[12]).await;
    instance.settle().await;
    let told = verify(instance, &["--incremental"]).await;
    let report = told.expect_success().json();
    assert_eq!(found(&told), Vec::<String>::new());
    let folded = |name: &str| {
        let compared = report["compared"].as_array().expect("what was compared");
        compared.iter().find(|one| one["name"] == name).expect("a view")["events"].as_u64().expect("a number")
    };
    assert!(folded("orders") < 60, "only what is new is folded: {report}");
    execute(instance, &format!("UPDATE orders_g1 SET total = total + 50 WHERE order_id = '{}'", order(5)))
        .await;
    execute(instance, &format!("DELETE FROM customers_g1 WHERE customer_id = '{}'", customer(7))).await;
    let wrong = [format!("row customers {}", customer(7)), format!("row orders {}", order(5))];
    for look in ["against the copy", "folded anew"] {
        let told = verify(instance, &["--incremental"]).await;
        let mut found = found(told.expect_code(5));
        found.retain(|sign| sign.starts_with("row "));
        assert_eq!(found, wrong, "{look}");
    }
    verify(instance, &["--repair", "--why", "edited by hand"]).await.expect_success();
    instance.settle().await;
    verify(instance, &["--incremental"]).await.expect_success();
}

async fn of_one_key_only_that_is_told(instance: &Instance) {
    let told = verify(instance, &["--customer", &customer(3)]).await;
    let one = &told.expect_success().json()["compared"];
    let row = |name: &str, events: i64, rows: i64, documents: Option<i64>| json!({"name": name, "events": events, "rows": rows, "documents": documents});
    let shown = [
        row("orders", 18, 6, Some(6)),
        row("customers", 14, 1, Some(1)),
        row("sold_lines", 12, 12, Some(12)),
        row("customer_history", 18, 18, None),
        row("carts", 0, 0, None),
        row("customer_revenue_daily", 6, 2, None),
        row("customer_purchases", 12, 3, None),
    ];
    assert_eq!(one, &json!(shown));
    let told = verify(instance, &["--customer", "nosuch"]).await;
    told.expect_code(4).expect_told("no view knows the customer nosuch: neither row, document nor events");
    let told = verify(instance, &["customers", "--key", "nosuch"]).await;
    told.expect_code(4).expect_told("customers has no key nosuch: neither row, document nor events");
    let index = format!("{}-customers", instance.name);
    let stranger = format!("{index}/_doc/nosuch?version=1&version_type=external&refresh=true");
    elastic(&stranger, Some(json!({"customer_id": "nosuch"}))).await;
    let told = verify(instance, &["--customer", "nosuch"]).await;
    assert_eq!(found(told.expect_code(5)), ["document customers nosuch"]);
    verify(instance, &["--customer", "nosuch", "--repair", "--why", "a stranger"]).await.expect_success();
}

/// Rows that no fold can read: an unknown word, JSON of another structure, a number that is too large, a missing time.
async fn make_rows_unreadable(instance: &Instance) {
    let changes = [
        (20, "status = 'weird'"),
        (21, "lines = '{\"product_id\": 1}'"),
        (22, "lines = jsonb_set(lines, '{0,discount_bp}', '99999999999')"),
        (23, "placed_at = 'infinity'"),
    ];
    for (number, change) in changes {
        execute(instance, &format!("UPDATE orders_g1 SET {change} WHERE order_id = '{}'", order(number)))
            .await;
    }
}

/// Views with their rows and documents.
fn compared(report: &Value) -> Vec<String> {
    let compared = report["compared"].as_array().expect("what was compared");
    let words = |one: &Value| match (one["rows"].as_i64(), one["documents"].as_i64()) {
        (Some(rows), Some(documents)) => {
            format!("{} {rows} {documents}", one["name"].as_str().expect("a name"))
        }
        _ => one["name"].as_str().expect("a name").to_owned(),
    };
    compared.iter().map(words).collect()
}

/// A changed row, a lost one, one too many, one with a wrong version, and a wrong sum.
async fn corrupt_rows(instance: &Instance) {
    execute(instance, &format!("UPDATE orders_g1 SET total = total + 50 WHERE order_id = '{}'", order(1)))
        .await;
    execute(instance, &format!("DELETE FROM orders_g1 WHERE order_id = '{}'", order(2))).await;
    let stray = "INSERT INTO orders_g1 SELECT (json_populate_record(o, '{\"order_id\": \"stray\"}')).* FROM orders_g1 AS o LIMIT 1";
    execute(instance, stray).await;
    let customers =
        "UPDATE customers_g1 SET order_count = order_count - 1, version = version + 7 WHERE customer_id";
    execute(instance, &format!("{customers} = '{}'", customer(3))).await;
    execute(
        instance,
        "UPDATE sales_daily_g1 SET revenue = revenue + 1 WHERE ctid = (SELECT min(ctid) FROM sales_daily_g1)",
    )
    .await;
}

/// A document that is lost, one whose fields are not its row's, one that is ahead of its row, one that says nothing, one
/// too many.
async fn corrupt_documents(instance: &Instance) {
    let index = format!("{}-orders", instance.name);
    elastic(&format!("{index}/_refresh"), None).await;
    elastic_with(Method::DELETE, &format!("{index}/_doc/{}?refresh=true", order(8)), None).await;
    let mut source = elastic(
        &format!("{index}/_search"),
        Some(json!({"query": {"ids": {"values": [order(9)]}}, "version": true})),
    )
    .await["hits"]["hits"][0]
        .take();
    source["_source"]["total"] = json!(1);
    let version = source["_version"].as_i64().expect("a version") + 5;
    elastic(
        &format!("{index}/_doc/{}?version={version}&version_type=external", order(9)),
        Some(source["_source"].clone()),
    )
    .await;
    elastic(&format!("{index}/_doc/{}?version=99&version_type=external", order(10)), Some(json!({}))).await;
    elastic(
        &format!("{index}/_doc/stranger?version=1&version_type=external&refresh=true"),
        Some(source["_source"].take()),
    )
    .await;
}

/// Deletes the document of an event.
async fn lose_an_event(instance: &Instance) -> String {
    let index = format!("{}-events", instance.name);
    let hits = elastic(&format!("{index}/_search"), Some(json!({"size": 1, "_source": false}))).await;
    let id = hits["hits"]["hits"][0]["_id"].as_str().expect("an event").to_owned();
    elastic_with(Method::DELETE, &format!("{index}/_doc/{id}?refresh=true"), None).await;
    id
}

async fn tells_all_of_a_customer(instance: &Instance) {
    let told = instance.millrace(&["verify", "--customer", &customer(3)]).await;
    let text = &told.expect_code(5).stdout;
    let line =
        text.lines().find(|line| line.starts_with("row") && line.contains("order_count")).expect("the field");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words,
        ["row", "customers", &customer(3), "order_count", "5", "6", "-1", "21", "/", "14"],
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_on_its_topic_is_emitted_again_as_it_was() {
    let _turn = beside_others().await;
    let instance = instance("audit_emit").await;
    let _process = instance.start();
    let city =
        json!({"customer_id": customer(1), "name": "Plato", "email": "plato@example.com", "city": "Athens"});
    instance.send(&[register(1), command("ChangeCustomerDetails", 1, city)]).await;
    instance.settle().await;
    let topic = instance.topic("evt", "customers");
    let before = instance.kafka.all(&topic);
    verify(&instance, &[]).await.expect_success();
    verify(&instance, &["--incremental"]).await.expect_success();
    delete_records(&topic, &[before[0].partition], Some(1)).await;
    let told = verify(&instance, &["--incremental"]).await;
    assert_eq!(
        found(told.expect_code(5)),
        [format!("event customers {}", customer(1))],
        "it is not as it was"
    );
    let told = verify(&instance, &[]).await;
    assert_eq!(found(told.expect_code(5)), [format!("event customers {}", customer(1))]);
    assert_eq!(told.json()["findings"][0]["fields"][0]["expected"], json!(["1"]), "{}", told.stdout);
    verify(&instance, &["--repair", "--why", "deleted by mistake"]).await.expect_success();
    let after = instance.kafka.all(&topic);
    let [Placed { raw: kept, .. }, Placed { raw: again, partition, .. }] = after.as_slice() else {
        panic!("{after:?}")
    };
    assert_eq!((kept, again), (&before[1].raw, &before[0].raw), "to the byte");
    assert_eq!(*partition, murmur2_partition(customer(1).as_bytes(), 2));
    instance.settle().await;
    assert_eq!(found(verify(&instance, &[]).await.expect_success()), Vec::<String>::new());
    instance.millrace(&["replay", "customers", "--to-earliest", "--execute"]).await.expect_success();
    another_event_in_its_place_is_found(&instance, &topic, before[1].clone()).await;
    what_cannot_be_read_in_the_outbox_is_found_and_spreads_no_further(&instance, &topic).await;
}

/// Its version is taken already, so nothing folds it: but it is not what the outbox has.
async fn another_event_in_its_place_is_found(instance: &Instance, topic: &str, right: Placed) {
    let id = right.raw.text("ce_id").expect("an id").to_owned();
    let mut forged = right.raw;
    let header = forged.headers.iter_mut().find(|(name, _)| name == b"ce_id").expect("an id");
    header.1 = Some(b"forged".to_vec());
    produce(topic, Some(right.partition), &[forged]).await;
    instance.settle().await;
    let told = verify(instance, &["--repair", "--why", "it cannot be taken out"]).await;
    assert_eq!(found(told.expect_code(5)), [format!("event customers {}", customer(1))]);
    let finding = &told.json()["findings"][0];
    assert_eq!((&finding["versions"], &finding["fields"][0]["found"]), (&json!([2, 2]), &json!("forged")));
    assert_eq!(finding["fields"][0]["expected"], json!(id));
    delete_records(topic, &[right.partition], None).await;
    verify(instance, &["--repair", "--why", "all of them again"]).await.expect_success();
    instance.settle().await;
}

/// Rows that hold what it said before are right: they are not put as the rest of the events folds.
async fn what_cannot_be_read_in_the_outbox_is_found_and_spreads_no_further(instance: &Instance, topic: &str) {
    let row = "SELECT to_jsonb(c) FROM customers AS c";
    let row = async || sqlx::query_scalar::<_, Value>(row).fetch_all(&instance.read).await.expect("rows");
    let (rows, ends) = (row().await, instance.kafka.ends(topic));
    for sql in [
        "ALTER TABLE outbox REPLICA IDENTITY FULL",
        "UPDATE outbox SET payload = '\\x00' WHERE version = 1",
        "ALTER TABLE outbox REPLICA IDENTITY DEFAULT",
    ] {
        sqlx::query(sql).execute(&instance.write).await.expect(sql);
    }
    let told = verify(instance, &["--repair", "--why", "what can be repaired"]).await;
    let found = found(told.expect_code(5));
    for sign in [
        format!("event customers {}", customer(1)),
        format!("row customers {}", customer(1)),
        format!("row customers customers/{}", customer(1)),
    ] {
        assert!(found.contains(&sign), "{sign} in {found:?}");
    }
    assert_eq!((row().await, instance.kafka.ends(topic)), (rows, ends), "nothing was made worse");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compared_under_load_is_never_found_wrong() {
    let _turn = beside_others().await;
    let contexts = r#"["carts", "catalog", "customers", "inventory", "orders"]"#;
    let settings = [("audit.interval", "1s"), ("contexts", contexts), ("audit.events_per_second", "100000")];
    let (instance, process) = worked_off("audit_load", &settings, &[]).await;
    let namespace = [("namespace", instance.name.as_str())];
    let ended =
        async || process.metrics().await.expect("figures").sum("millrace_audit_ended_seconds", &namespace);
    let began = ended().await;
    let (looked, mut looks) = watch::channel(0);
    let slices: Vec<_> = UNDER_LOAD.slices(48).into_iter().skip(12).collect();
    let load = async {
        for (sent, slice) in slices.iter().enumerate() {
            // However fast commands are sent, each look has some of its own.
            looks.wait_for(|looks| *looks >= sent / SLICES_A_LOOK).await.expect("looks");
            instance.send(slice).await;
        }
    };
    let look = async {
        for number in 1..=slices.len() / SLICES_A_LOOK {
            let told = verify(&instance, &["orders", "customers", "customer_history", "sales_daily"]).await;
            assert_eq!(found(told.expect_success()), Vec::<String>::new());
            let figures = process.metrics().await.expect("figures");
            let wrong = ["millrace_audit_findings", "millrace_audit_failures_total"]
                .map(|name| figures.sum(name, &[]));
            assert_eq!(wrong, [0.0, 0.0], "findings and failures of the auditor");
            looked.send_replace(number);
        }
    };
    tokio::join!(load, look);
    // A look that takes longer than the load was under way in it: the next begins a second after the last.
    eventually("the auditor has looked under load too", async || match ended().await {
        now if now > began => Ok(()),
        now => Err(format!("{now}, as {began} before")),
    })
    .await;
    let repaired = "SELECT count(*) FROM audit";
    assert_eq!(sqlx::query_scalar::<_, i64>(repaired).fetch_one(&instance.read).await.expect("a count"), 0);
    instance.settle().await;
    assert_eq!(found(verify(&instance, &[]).await.expect_success()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_that_is_wrong_is_found_by_sql_that_was_written_without_it() {
    let _turn = beside_others().await;
    const WRONG: [(&str, &str); 1] = [("FAILPOINTS", "fold=return")];
    let (instance, _process) = worked_off("audit_fold", &[], &WRONG).await;
    let told = instance.millrace_with(&["verify", "--format", "json"], &WRONG).await;
    let found = found(told.expect_code(5));
    assert!(
        found.iter().all(|sign| sign.starts_with("fold ")),
        "the wrong fold agrees with itself: {found:?}"
    );
    let customers = found.iter().filter(|sign| sign.starts_with("fold customers ")).count();
    let products = found.iter().filter(|sign| sign.starts_with("fold products ")).count();
    assert_eq!((customers, products), (10, 10), "counted twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_process_repairs_what_it_finds_wrong_twice() {
    let _turn = beside_others().await;
    let (instance, process) = worked_off("audit_itself", &[("audit.interval", "1s")], &[]).await;
    let namespace = [("namespace", instance.name.as_str())];
    let look = process.metrics().await.expect("figures").sum("millrace_audit_ended_seconds", &namespace);
    process.reports("millrace_audit_ended_seconds", &namespace, look + 1.0).await;
    assert_eq!(process.metrics().await.expect("figures").sum("millrace_audit_findings", &[]), 0.0);
    execute(&instance, &format!("UPDATE orders_g1 SET total = total + 50 WHERE order_id = '{}'", order(1)))
        .await;
    process.reports("millrace_audit_repairs_total", &namespace, 1.0).await;
    becomes(&instance.read, "SELECT count(*) FROM audit WHERE who = 'auditor' AND action = 'repair'", 1)
        .await;
    eventually("nothing is wrong any more", async || {
        match process.metrics().await?.sum("millrace_audit_findings", &[]) {
            0.0 => Ok(()),
            wrong => Err(wrong.to_string()),
        }
    })
    .await;
    instance.assert_both_read_models_agree().await;
    // What it cannot do is said.
    elastic_with(Method::POST, &format!("{}-orders-g1/_close", instance.name), None).await;
    process.reports("millrace_audit_failures_total", &namespace, 1.0).await;
    assert!(process.log().contains("WARN the auditor could not compare everything"));
}
