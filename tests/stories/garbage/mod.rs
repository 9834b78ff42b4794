//! Invalid records: they become dead letters with their bytes unchanged, while the valid records around them are applied.

mod kinds;
mod refused;
mod sizes;

use millrace_tests::{Instance, Load, Raw, Snapshot, kafka};

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance};
use kinds::Garbage;

/// What the good records must have led to. Receipts differ: garbage has some too.
const COMPARED: [&str; 6] = [
    "written outbox",
    "written stream",
    "folded",
    "postgres",
    "elasticsearch orders",
    "elasticsearch customers",
];

#[tokio::test(flavor = "multi_thread")]
async fn garbage_among_commands_becomes_dead_letters_and_the_neighbours_commit() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance("garbage_commands").await;
    let process = instance.start();
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    drop(process);
    // All of it lies there before anything is read, so that garbage and good records share batches.
    let slices = Load::STANDARD.slices(2);
    instance.send(&slices[0]).await;
    for context in &instance.contexts {
        let topic = instance.topic("cmd", context);
        kafka::produce(&topic, None, &raws(&kinds::commands(context, &topic).await)).await;
    }
    instance.send(&slices[1]).await;
    receipt_finds_a_command_behind_all_of_it(&instance).await;
    let _process = instance.start();
    instance.settle().await;
    the_neighbours_are_as_expected(&instance, expected).await;
    verify_reads_topics_that_hold_some(&instance).await;
    dlq_shows_names_that_are_no_text(&instance).await;
    for context in &instance.contexts {
        let topic = instance.topic("cmd", context);
        are_dead_letters(&instance, &topic, "commands", &kinds::commands(context, &topic).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_among_events_becomes_dead_letters_of_every_group_and_the_neighbours_are_folded() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance("garbage_events").await;
    let mut only_commands = instance.start_with(&["commands"], &[]);
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle_commands().await;
    for context in &instance.contexts {
        kafka::produce(&instance.topic("evt", context), None, &raws(&kinds::events(context).await)).await;
    }
    instance.send(&Load::STANDARD.slices(1).concat()).await;
    instance.settle_commands().await;
    only_commands.stops().await;
    let _process = instance.start();
    instance.settle().await;
    the_neighbours_are_as_expected(&instance, expected).await;
    for view in instance.views() {
        for context in view.contexts {
            let all = kinds::events(context).await;
            let refused: Vec<Garbage> =
                all.into_iter().filter(|garbage| view.table || !garbage.only_tables).collect();
            are_dead_letters(&instance, &instance.topic("evt", context), view.name, &refused).await;
        }
    }
}

/// It reads what waits to be decided.
async fn receipt_finds_a_command_behind_all_of_it(instance: &Instance) {
    let last = Load::STANDARD.orders - 1;
    let receipt = instance.millrace(&["receipt", &format!("PlaceOrder-{last}"), "--format", "json"]).await;
    assert_eq!(receipt.expect_success().json()[0]["status"], "pending");
}

async fn verify_reads_topics_that_hold_some(instance: &Instance) {
    for kind in ["evt", "rej", "out"] {
        let garbage = kinds::events("orders").await;
        kafka::produce(&instance.topic(kind, "orders"), None, &raws(&garbage[..1])).await;
    }
    instance.millrace(&["verify"]).await.expect_success();
}

async fn dlq_shows_names_that_are_no_text(instance: &Instance) {
    let listed = instance.millrace(&["dlq", "list", "--group", "commands", "--format", "json"]).await;
    let id = listed.expect_success().json()[0]["id"].as_str().expect("an id").to_owned();
    let shown = instance.millrace(&["dlq", "show", &id, "--format", "json"]).await.expect_success().json();
    let headers = shown["headers"].as_array().expect("headers");
    assert!(headers.iter().any(|header| header["name"] == "0xfffe" && header["value"] == "1"), "{shown}");
}

fn raws(garbage: &[Garbage]) -> Vec<Raw> {
    garbage.iter().map(|garbage| garbage.raw.clone()).collect()
}

async fn the_neighbours_are_as_expected(instance: &Instance, expected: &Snapshot) {
    instance.snapshot().await.only(&COMPARED).assert_same(&expected.only(&COMPARED));
}

async fn are_dead_letters(instance: &Instance, topic: &str, role: &str, all: &[Garbage]) {
    let group = instance.group(role);
    let letters = instance.kafka.all(&format!("{topic}.{group}.dlq"));
    for garbage in all {
        let letter =
            letters.iter().map(|letter| &letter.raw).find(|raw| raw.text("garbage") == Some(garbage.what));
        let letter = letter.unwrap_or_else(|| panic!("{} is not on {topic}.{group}.dlq", garbage.what));
        says_what_and_why(letter, topic, garbage);
        is_in_the_ledger_once(instance, role, letter, garbage).await;
    }
}

/// Bytes and headers untouched, the reasons behind them.
fn says_what_and_why(letter: &Raw, topic: &str, garbage: &Garbage) {
    let what = garbage.what;
    assert_eq!((&letter.key, &letter.value), (&garbage.raw.key, &garbage.raw.value), "{what}: bytes");
    let (kept, added) = letter.headers.split_at(garbage.raw.headers.len());
    assert_eq!(kept, garbage.raw.headers, "{what}: headers");
    assert!(added.iter().all(|(name, _)| name.starts_with(b"x-")), "{what}: {added:?}");
    assert_eq!(letter.text("x-error-code"), Some(garbage.code), "{what} in {topic}");
    assert_eq!(letter.text("x-source-topic"), Some(topic), "{what}");
}

async fn is_in_the_ledger_once(instance: &Instance, role: &str, letter: &Raw, garbage: &Garbage) {
    let pool = if role == "commands" { &instance.write } else { &instance.read };
    let ledger =
        "SELECT code FROM dead_letter WHERE topic = $1 AND partition = $2 AND \"offset\" = $3 AND grp = $4";
    let codes =
        at_its_place(ledger, letter).bind(instance.group(role)).fetch_all(pool).await.expect("the ledger");
    assert_eq!(codes, [garbage.code], "{} in the ledger of {role}", garbage.what);
    if role == "commands" {
        let receipts = "SELECT status || ' ' || code FROM command
                        WHERE topic = $1 AND partition = $2 AND \"offset\" = $3 AND coalesce(id = $4, true)";
        let told_by_its_place = ["identity-invalid", "source-forged"].contains(&garbage.code);
        let identity = if told_by_its_place { None } else { letter.text("ce_id") };
        let receipts = at_its_place(receipts, letter).bind(identity).fetch_all(pool).await.expect("receipts");
        assert_eq!(receipts, [format!("dead {}", garbage.code)], "the receipt of {}", garbage.what);
    }
}

type Texts<'q> = sqlx::query::QueryScalar<'q, sqlx::Postgres, String, sqlx::postgres::PgArguments>;

/// A query about the record that a dead letter was.
fn at_its_place<'q>(sql: &'static str, letter: &Raw) -> Texts<'q> {
    let place = |name: &str| letter.text(name).and_then(|text| text.parse::<i64>().ok()).expect("a number");
    let partition = i32::try_from(place("x-source-partition")).expect("a partition");
    sqlx::query_scalar(sql)
        .bind(letter.text("x-source-topic").map(str::to_owned))
        .bind(partition)
        .bind(place("x-source-offset"))
}
