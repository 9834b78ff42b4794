//! The output of operators' commands while records wait, things are missing, or components do not answer.

use millrace_tests::Instance;
use millrace_tests::becomes;
use millrace_tests::load::{add_product, command_with_id, customer, order, place, product, register};
use millrace_tests::snapshot::elastic_with;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::{beside_others, instance_with};

/// A delay so long that the retry does not come within a story.
const SETTINGS: [(&str, &str); 2] =
    [("contexts", r#"["catalog", "customers", "orders"]"#), ("retries.delays", "[10m]")];

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_missing_or_cannot_be_asked_is_told_and_never_taken_for_nothing() {
    let _turn = beside_others().await;
    let instance = instance_with("answers", &SETTINGS).await;
    let mut process = instance.start();
    instance.send(&[add_product(1)]).await;
    instance.settle().await;
    instance.send(&[place(1, &customer(1), &product(1)), confirm(1, "1")]).await;
    becomes(&instance.write, "SELECT count(*) FROM parked", 2).await;
    the_receipts_say_what_they_wait_for(&instance).await;
    the_list_of_commands_has_them(&instance).await;
    the_list_of_retries_says_why_and_when(&instance).await;
    who_waits_for_an_outcome_hears_of_it(&instance).await;
    filters_that_name_nothing_are_refused(&instance).await;
    instance.millrace(&["status"]).await.expect_success().expect_told("keys whose record is tried again");
    what_will_hurt_is_told_with_what_to_do(&instance).await;
    what_is_missing_is_told(&instance).await;
    what_cannot_be_asked_is_unknown(&instance).await;
    process.stops().await;
    instance.send(&[register(5)]).await;
    let status = instance.millrace(&["status"]).await;
    status.expect_code(7).expect_told("no process works on");
    let first = status.stdout.lines().next().expect("a first line");
    assert!(first.contains("NOT WELL") && first.contains(&instance.group("commands")), "{first}");
    whatever_time_a_hand_has_written_is_shown(&instance).await;
}

/// In every column of every table that has times.
async fn whatever_time_a_hand_has_written_is_shown(instance: &Instance) {
    let letter =
        "INSERT INTO dead_letter (grp, generation, topic, partition, \"offset\", code, message, attempts)
                  VALUES ('g', 1, 't', 0, 0, 'by-hand', 'x', 1)";
    for sql in [letter, "ALTER TABLE outbox REPLICA IDENTITY FULL"] {
        sqlx::query(sql).execute(&instance.write).await.expect(sql);
    }
    let stream = format!("catalog/{}", product(1));
    let reading: [&[&str]; 10] = [
        &["retries", "list"],
        &["audit", "list"],
        &["receipt", "AddProduct-1"],
        &["receipt", "PlaceOrder-1"],
        &["commands"],
        &["commands", "--status", "retrying"],
        &["dlq", "list"],
        &["stream", "show", &stream],
        &["saga", "list"],
        &["replay", "orders", "--status"],
    ];
    for time in ["infinity", "-infinity", "4713-01-01 BC", "294276-12-31"] {
        every_time_is(&instance.write, time).await;
        every_time_is(&instance.read, time).await;
        for arguments in reading {
            instance.millrace(arguments).await.expect_success();
            instance.millrace(&[arguments, &["--format", "json"]].concat()).await.expect_success();
        }
        instance.millrace(&["status"]).await.expect_code(7).expect_told("no process works on");
    }
}

async fn every_time_is(pool: &PgPool, time: &str) {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
         JOIN information_schema.tables USING (table_schema, table_name)
         WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'
           AND data_type = 'timestamp with time zone'",
    )
    .fetch_all(pool)
    .await
    .expect("columns");
    for (table, column) in columns {
        let set = format!("UPDATE \"{table}\" SET \"{column}\" = '{time}'");
        sqlx::query(AssertSqlSafe(set)).execute(pool).await.expect("a time that Postgres has");
    }
}

fn confirm(i: usize, id: &str) -> String {
    command_with_id(&format!("ConfirmOrder-{id}"), "ConfirmOrder", i, json!({"order_id": order(i)}))
}

async fn receipt(instance: &Instance, id: &str) -> Value {
    instance.millrace(&["receipt", id, "--format", "json"]).await.expect_success().json()[0].clone()
}

async fn the_receipts_say_what_they_wait_for(instance: &Instance) {
    let blocking = receipt(instance, "PlaceOrder-1").await;
    assert_eq!(
        (&blocking["status"], &blocking["code"]),
        (&json!("retrying"), &json!("reference-not-found")),
        "{blocking}"
    );
    assert_eq!((&blocking["attempts"], &blocking["attempts_max"]), (&json!(1), &json!(2)), "{blocking}");
    assert!(blocking["next_try_at"].is_string() && blocking["received_at"].is_string(), "{blocking}");
    assert_eq!(blocking["stream"], json!(order(1)));
    let behind = receipt(instance, "ConfirmOrder-1").await;
    assert_eq!(
        (&behind["status"], &behind["behind"]),
        (&json!("waiting"), &json!("PlaceOrder-1")),
        "{behind}"
    );
    let text = instance.millrace(&["receipt", "PlaceOrder-1"]).await;
    text.expect_success().expect_told("1 of 2").expect_told("reference-not-found: ").expect_told("next try");
    instance.millrace(&["receipt", "ConfirmOrder-1"]).await.expect_told("behind");
}

async fn the_list_of_commands_has_them(instance: &Instance) {
    let list = ["commands", "--status", "retrying", "--format", "json"];
    let listed = instance.millrace(&list).await.expect_success().json();
    let ids: Vec<&str> =
        listed.as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids.len(), 2, "{listed}");
    assert!(ids.contains(&"PlaceOrder-1") && ids.contains(&"ConfirmOrder-1"), "{listed}");
    let stream = format!("orders/{}", order(1));
    let of_stream = [&list[..], &["--stream", &stream, "--limit", "1"]].concat();
    assert_eq!(instance.millrace(&of_stream).await.json().as_array().map(Vec::len), Some(1));
}

async fn the_list_of_retries_says_why_and_when(instance: &Instance) {
    let listed = instance.millrace(&["retries", "list", "--format", "json"]).await.expect_success().json();
    let [one] = listed.as_array().expect("a list").as_slice() else { panic!("one key: {listed}") };
    assert_eq!(
        (&one["key"], &one["status"], &one["records"]),
        (&json!(order(1)), &json!("retrying"), &json!(2))
    );
    assert_eq!((&one["code"], &one["attempts"]), (&json!("reference-not-found"), &json!(1)), "{one}");
    assert!(one["next_try_at"].is_string() && one["id"] == "PlaceOrder-1", "{one}");
    let text = instance.millrace(&["retries", "list", "--group", "commands"]).await;
    text.expect_success().expect_told("reference-not-found: ").expect_told(" in ");
    let dead = instance.millrace(&["retries", "list", "--status", "dead", "--format", "json"]).await;
    assert_eq!(dead.expect_success().json(), json!([]));
}

/// The command waits behind the others, so it has no outcome.
async fn who_waits_for_an_outcome_hears_of_it(instance: &Instance) {
    let file = instance.written(&[confirm(1, "2")]);
    let sent = instance.millrace(&["send", &file, "--wait", "--timeout", "2s"]).await;
    sent.expect_code(1).expect_told("1 command is being retried");
    assert!(!sent.stderr.contains("is `millrace run` running"), "{}", sent.stderr);
}

async fn filters_that_name_nothing_are_refused(instance: &Instance) {
    let misspelt_stream = format!("order/{}", order(1));
    let cases: [(&[&str], i32, &str); 17] = [
        (&["retries", "list", "--group", "comands"], 2, "did you mean `commands`"),
        (&["audit", "list", "--action", "redrve"], 4, "no action `redrve` was ever done"),
        (&["status", "--set", "logging.filter=warnn"], 2, "did you mean `warn`"),
        (&["dlq", "list", "--group", "comands"], 2, "did you mean `commands`"),
        (&["dlq", "list", "--topic", "nosuch"], 2, "there is no topic `nosuch`"),
        (&["dlq", "list", "--code", "nosuch"], 4, "no dead letter has the code `nosuch`"),
        (&["dlq", "list", "--key", "nosuch"], 4, "no dead letter has the key `nosuch`"),
        (&["dlq", "list", "--status", "nosuch"], 2, "nosuch"),
        (&["dlq", "redrive", "--group", "nosuch", "--why", "x"], 2, "there is no group `nosuch`"),
        (&["dlq", "discard", "--code", "nosuch", "--why", "x"], 4, "no dead letter has the code `nosuch`"),
        (&["saga", "list", "--saga", "fulfillment"], 2, "did you mean `fulfilment`"),
        (&["saga", "list", "--standing", "paid"], 2, "did you mean `paying`"),
        (&["commands", "--stream", &misspelt_stream], 2, "did you mean `orders`"),
        (&["commands", "--stream", "nosuch"], 4, "there is no stream `nosuch`"),
        (&["commands", "--status", "nosuch"], 2, "nosuch"),
        (&["stream", "show", "--context", "order", "x"], 2, "there is no context `order`"),
        (&["receipt", "AddProduct-1", "--source", "nosuch"], 4, "known of `stories`"),
    ];
    for (arguments, code, told) in cases {
        instance.millrace(arguments).await.expect_code(code).expect_told(told);
    }
    let known = format!("catalog/{}", product(1));
    for arguments in [&["dlq", "list", "--group", "orders"][..], &["commands", "--stream", &known]] {
        instance.millrace(arguments).await.expect_success();
    }
}

/// The contexts that are not set up have neither topics nor indices.
async fn what_will_hurt_is_told_with_what_to_do(instance: &Instance) {
    let all = instance.millrace(&["doctor", "--all"]).await;
    for told in [
        "nothing is wrong",
        "Kafka 4.3, metadata.version 30",
        "Debezium 3.",
        "records of up to 8388608",
        "it takes schemas",
    ] {
        all.expect_success().expect_told(told);
    }
    let index = format!("{}-orders-g1", instance.name);
    let block = |on: Value| json!({"index.blocks.write": on});
    elastic_with(Method::PUT, &format!("{index}/_settings"), Some(block(json!(true)))).await;
    for (pool, sql) in [
        (&instance.write, "ALTER TABLE consumer_offset SET (autovacuum_enabled = off)"),
        (&instance.read, "DROP VIEW order_lines"),
    ] {
        sqlx::query(sql).execute(pool).await.expect(sql);
    }
    let found = instance.millrace(&["doctor"]).await;
    found
        .expect_code(1)
        .expect_told("takes no documents: index.blocks.write")
        .expect_told("ALTER TABLE consumer_offset RESET (autovacuum_enabled)")
        .expect_told("not as this build sets it up");
    elastic_with(Method::PUT, &format!("{index}/_settings"), Some(block(Value::Null))).await;
    let again = "ALTER TABLE consumer_offset RESET (autovacuum_enabled)";
    sqlx::query(again).execute(&instance.write).await.expect(again);
    instance.millrace(&["setup"]).await.expect_success();
    instance.millrace(&["doctor"]).await.expect_success();
    let away = ["doctor", "--set", "elasticsearch.url=http://127.0.0.1:1"];
    instance.millrace(&away).await.expect_code(1).expect_told("nothing else of it was checked");
}

async fn what_is_missing_is_told(instance: &Instance) {
    let all = r#"contexts=["catalog", "customers", "orders", "payments"]"#;
    let status = instance.millrace(&["status", "--set", all]).await;
    let first = status.expect_code(6).stdout.lines().next().expect("a first line");
    for part in ["NOT WELL", "topics are missing", "indices are missing", "millrace setup"] {
        assert!(first.contains(part), "{part}: {first}");
    }
}

async fn what_cannot_be_asked_is_unknown(instance: &Instance) {
    let nowhere = [("WRITE_DATABASE_URL", "postgres://millrace@127.0.0.1:1/millrace")];
    let status = instance.millrace_with(&["status"], &nowhere).await;
    let text = &status.expect_code(3).stdout;
    assert!(
        text.lines()
            .next()
            .is_some_and(|first| first.contains("NOT WELL") && first.contains("cannot be reached")),
        "{text}"
    );
    let section =
        |name: &str| text.split_once(name).map(|(_, rest)| rest.split("\n\n").next().unwrap_or_default());
    for name in ["\nGROUPS", "\nUNDER WAY", "\nOUTBOX TO KAFKA", "\nDEAD LETTERS AND BLOCKED KEYS"] {
        assert!(
            section(name).is_some_and(|section| section.contains("unknown (the write database")),
            "{name}: {text}"
        );
    }
}
