//! Every command has its outcome on Kafka: a producer needs neither HTTP nor a database.

use std::collections::BTreeSet;

use millrace_schemas::CommandOutcome;
use millrace_tests::answers::Answer;
use millrace_tests::kafka::{Raw, produce};
use millrace_tests::load::{
    add_product, command, command_with_id, customer, order, place, product, register,
};
use millrace_tests::{Instance, Load, becomes};
use serde_json::json;

use crate::{beside_others, instance, instance_with};

const DEAD: &str = "SELECT count(*) FROM dead_letter WHERE status = 'dead'";

/// The outcomes of a command, in their order.
fn outcomes(instance: &Instance, context: &str, id: &str) -> Vec<CommandOutcome> {
    let answers = instance.answers(context).into_iter().map(|answer| answer.outcome);
    answers.filter(|outcome| outcome.command_id == id).collect()
}

fn said(outcome: &CommandOutcome) -> (&str, Option<&str>, i32) {
    (&outcome.status, outcome.code.as_deref(), outcome.life)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_is_told_of_each_way_in_which_a_command_may_end() {
    let _turn = beside_others().await;
    let instance = instance("outcomes").await;
    let mut process = instance.start();
    instance.send(&[register(1), add_product(1)]).await;
    instance.settle().await;
    completed_with_the_versions_that_it_has_written(&instance).await;
    completed_without_an_event(&instance).await;
    rejected(&instance).await;
    a_duplicate_has_none(&instance).await;
    dead_and_then_completed(&instance).await;
    dead_twice_and_then_sent_again(&instance).await;
    without_an_identity_that_can_be_read(&instance).await;
    instance.settle().await;
    instance.assert_each_command_has_its_outcome().await;
    instance.assert_topics_carry_the_outbox(false).await;
    instance.millrace(&["verify"]).await.expect_success();
    process.stops().await;
    none_where_none_are_asked_for(&instance).await;
}

async fn completed_with_the_versions_that_it_has_written(instance: &Instance) {
    let [outcome] = &outcomes(instance, "customers", "RegisterCustomer-1")[..] else { panic!("one outcome") };
    assert_eq!(said(outcome), ("completed", None, 1));
    assert_eq!((&outcome.stream, &*outcome.command_source), (&customer(1), "stories"));
    assert_eq!(outcome.command_type, "millrace.customers.RegisterCustomer");
    let versions: Vec<(&str, i64)> = outcome.versions.iter().map(|one| (&*one.stream, one.version)).collect();
    assert_eq!(versions, [(&*customer(1), 1)]);
    let commands = instance.kafka.all(&outcome.topic);
    let at_its_place =
        commands.iter().find(|one| (one.partition, one.offset) == (outcome.partition, outcome.offset));
    assert_eq!(at_its_place.expect("the command").raw.text("ce_id"), Some("RegisterCustomer-1"));
}

async fn completed_without_an_event(instance: &Instance) {
    let tag =
        |id: &str| command_with_id(id, "TagCustomer", 1, json!({"customer_id": customer(1), "tag": "vip"}));
    instance.send(&[tag("tagged"), tag("tagged already")]).await;
    instance.settle().await;
    let [outcome] = &outcomes(instance, "customers", "tagged already")[..] else { panic!("one outcome") };
    assert_eq!((said(outcome), outcome.versions.len()), (("completed", None, 1), 0));
}

/// Beside the rejection, which other producers still wait for.
async fn rejected(instance: &Instance) {
    instance.send(&[command("ConfirmOrder", 7, json!({"order_id": "nobodys"}))]).await;
    instance.settle().await;
    let [outcome] = &outcomes(instance, "orders", "ConfirmOrder-7")[..] else { panic!("one outcome") };
    assert_eq!((said(outcome), &*outcome.stream), (("rejected", Some("order-unknown"), 1), "nobodys"));
    assert!(outcome.message.as_ref().is_some_and(|message| message.contains("nobodys")), "{outcome:?}");
    let rejections = instance.kafka.all(&instance.topic("rej", "orders"));
    assert_eq!(rejections.len(), 1);
    assert_eq!(rejections[0].raw.text("causation-id"), Some("ConfirmOrder-7"));
}

async fn a_duplicate_has_none(instance: &Instance) {
    instance.send(&[register(1), register(1)]).await;
    instance.settle().await;
    assert_eq!(outcomes(instance, "customers", "RegisterCustomer-1").len(), 1);
}

/// An order before its customer, which an operator redrives.
async fn dead_and_then_completed(instance: &Instance) {
    instance.send(&[place(2, &customer(2), &product(1))]).await;
    becomes(&instance.write, DEAD, 1).await;
    instance.settle().await;
    let [dead] = &outcomes(instance, "orders", "PlaceOrder-2")[..] else { panic!("one outcome") };
    assert_eq!((said(dead), &dead.stream), (("dead", Some("reference-not-found"), 1), &order(2)));
    instance.send(&[register(2)]).await;
    instance.settle().await;
    redrive(instance).await;
    instance.settle().await;
    let [first, second] = &outcomes(instance, "orders", "PlaceOrder-2")[..] else { panic!("two outcomes") };
    assert_eq!((first, said(second)), (dead, ("completed", None, 2)));
    assert_eq!(second.versions.len(), 1, "{second:?}");
    let ids: BTreeSet<String> = instance.answers("orders").into_iter().map(|answer| answer.id).collect();
    assert_eq!(ids.len(), 3, "each has an id of its own: {ids:?}");
}

/// Its producer sends it again, once its customer is there.
async fn dead_twice_and_then_sent_again(instance: &Instance) {
    let late = place(3, &customer(3), &product(1));
    instance.send(std::slice::from_ref(&late)).await;
    becomes(&instance.write, DEAD, 1).await;
    redrive(instance).await;
    becomes(&instance.write, DEAD, 1).await;
    instance.send(&[register(3)]).await;
    instance.settle().await;
    instance.send(&[late]).await;
    instance.settle().await;
    let all = outcomes(instance, "orders", "PlaceOrder-3");
    let dead = Some("reference-not-found");
    let expected = [("dead", dead, 1), ("dead", dead, 2), ("completed", None, 3)];
    assert_eq!(all.iter().map(said).collect::<Vec<_>>(), expected);
}

async fn redrive(instance: &Instance) {
    let redrive = ["dlq", "redrive", "--code", "reference-not-found", "--why", "tried again"];
    instance.millrace(&redrive).await.expect_success();
}

/// A UUID as bytes; and a record that is nothing at all, with and without an identity.
async fn without_an_identity_that_can_be_read(instance: &Instance) {
    let (topic, tag) = (instance.topic("cmd", "customers"), json!({"customer_id": customer(1), "tag": "x"}));
    let raw = Raw::of("TagCustomer", &tag).await.header("ce_id", [0xa7; 16]).header("ce_source", "stories");
    let anonymous = Raw::value("?").key("the key");
    let known = Raw::value("?").key("the key").header("ce_id", "known").header("ce_source", "stories");
    let before = instance.answers("customers");
    produce(&topic, Some(0), &[raw, anonymous, known]).await;
    instance.settle().await;
    let mut new = instance.answers("customers");
    new.retain(|answer| !before.contains(answer));
    new.sort_by_key(|answer| answer.outcome.offset);
    let placed = |answer: &Answer| answer.outcome.command_source == format!("kafka:{topic}");
    assert_eq!(new.iter().map(placed).collect::<Vec<_>>(), [true, true, false], "{new:?}");
    let codes: Vec<_> = new.iter().map(|answer| answer.outcome.code.as_deref().unwrap_or_default()).collect();
    assert_eq!(codes, ["identity-invalid", "undecodable", "undecodable"]);
    for Answer { key, outcome, .. } in &new[..2] {
        let place = format!("0-{}-", outcome.offset);
        assert!(key.starts_with(&place) && outcome.command_id == *key, "{outcome:?}");
    }
    assert_eq!((&*new[2].key, &*new[2].outcome.command_id), ("the key", "known"));
}

async fn none_where_none_are_asked_for(instance: &Instance) {
    let _process = instance.start_with(&[], &[("MILLRACE_TOPICS__OUTCOMES", "false")]);
    instance.send(&[register(8)]).await;
    instance.settle().await;
    assert_eq!(instance.count("SELECT count(*) FROM command WHERE id = 'RegisterCustomer-8'").await, Ok(1));
    assert_eq!(outcomes(instance, "customers", "RegisterCustomer-8"), []);
}

const LOAD: Load = Load { customers: 20, products: 10, orders: 100 };
/// Small batches, so that failpoints are passed often; a short session, so that the next process soon gets the partitions.
const SETTINGS: [(&str, &str); 4] = [
    ("processing.commands_batch_max", "10"),
    ("kafka.session_timeout", "3s"),
    ("kafka.heartbeat_interval", "500ms"),
    ("postgres.transaction_timeout", "2s"),
];

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_are_killed_in_mid_load_leave_one_outcome_of_each_command() {
    let _turn = beside_others().await;
    let instance = instance_with("outcomes_killed", &SETTINGS).await;
    let commands: Vec<String> = LOAD.basics().into_iter().chain(LOAD.slices(1).concat()).collect();
    instance.send(&commands).await;
    for moment in ["before-commit=9*off->return", "after-commit=6*off->return"] {
        let mut process = instance.start_doomed(moment);
        process.killed_by_failpoint(&moment[..moment.find('=').expect("a moment")]).await;
    }
    let before = instance.count("SELECT count(*) FROM command").await.expect("receipts");
    let mut process = instance.start();
    instance.decided(before + 40).await;
    process.kill();
    let _process = instance.start();
    instance.settle().await;
    let outcomes = instance.assert_each_command_has_its_outcome().await;
    let letters = instance.count("SELECT count(*) FROM dead_letter").await.expect("dead letters");
    assert_eq!(outcomes, commands.len(), "{letters} letters");
    instance.assert_topics_carry_the_outbox(false).await;
}
