//! Panics: the record becomes a dead letter or the task is restarted, the panic is shown, and nothing else is affected.

use millrace_tests::load::register;
use millrace_tests::{Instance, Process, Raw, becomes, eventually, kafka};
use serde_json::{Value, json};

use crate::{beside_others, instance_with};

/// A fold panics at a record with the header `poison`, whatever takes one out of the client's buffer at `torn`, a member of
/// a group when it receives one with `deadly`.
const POISON: &str = "poison-fold=return(poison);poison-detach=return(torn);poison-member=return(deadly)";

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_its_record_or_its_group_and_nothing_beside_it() {
    let _turn = beside_others().await;
    let settings = [("contexts", r#"["customers"]"#), ("retries.delays", "[100ms]")];
    let instance = instance_with("panics", &settings).await;
    let poisoned = commands_of_which_one_is_poisoned(&instance).await;
    let mut process = instance.start_doomed(POISON);
    the_neighbours_are_decided_and_it_is_a_dead_letter(&instance, &process, &poisoned).await;
    a_poisoned_event_is_a_dead_letter_of_every_view(&instance).await;
    a_torn_event_is_a_dead_letter_that_keeps_its_place(&instance).await;
    views_whose_members_panic_are_shown_and_begin_again(&instance, &process).await;
    instance.send_and_wait(&[register(1)]).await.expect_success();
    process.stops().await;
    let mended = instance.start();
    instance.settle().await;
    eventually("it is ready", async || match mended.asked("readyz").await? {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(instance.documents("customers").await.len(), 3, "of every command but the dead ones");
}

/// On one partition, so that they share a batch. One of them has more headers than the client reads.
async fn commands_of_which_one_is_poisoned(instance: &Instance) -> Raw {
    let mut commands = Vec::new();
    for id in ["before", "poisoned", "crowded", "after"] {
        let customer = json!({"customer_id": id, "name": "Ann", "email": "ann@example.com"});
        commands.push(Raw::command(id, "RegisterCustomer", &customer).await);
    }
    commands[1] = commands[1].clone().header("poison", "1").header([0xff], [0xff]);
    commands[2].headers.resize(100_001, (Vec::new(), None));
    kafka::produce(&instance.topic("cmd", "customers"), Some(0), &commands).await;
    commands[1].clone()
}

async fn the_neighbours_are_decided_and_it_is_a_dead_letter(
    instance: &Instance,
    process: &Process,
    poisoned: &Raw,
) {
    let dead = "SELECT count(*) FROM dead_letter WHERE (code, attempts) IN (('panicked', 2), ('headers-unreadable', 1))";
    becomes(&instance.write, dead, 2).await;
    becomes(&instance.write, "SELECT count(*) FROM command WHERE status = 'completed'", 2).await;
    let topic = format!("{}.{}.dlq", instance.topic("cmd", "customers"), instance.group("commands"));
    let letters = instance.kafka.all(&topic);
    let letter = letters.iter().find(|letter| letter.raw.text("x-error-code") == Some("panicked"));
    let letter = &letter.expect("its letter").raw;
    assert_eq!((&letter.key, &letter.value), (&poisoned.key, &poisoned.value));
    assert_eq!(letter.headers[..poisoned.headers.len()], poisoned.headers);
    assert!(
        letter.text("x-error").is_some_and(|why| why.contains("failpoints.rs")),
        "it says where: {letter:?}"
    );
    // With its whole batch, in halves, alone, and when it was tried again.
    process.reports("millrace_panics_total", &[("task", "fold")], 3.0).await;
}

async fn a_poisoned_event_is_a_dead_letter_of_every_view(instance: &Instance) {
    let event = Raw::of("CustomerRegistered", &json!({"customer_id": "e", "name": "Eve"})).await;
    let event = event.header("ce_id", "e").header("ce_sequence", "1").header("poison", "1");
    kafka::produce(&instance.topic("evt", "customers"), None, &[event]).await;
    let dead = "SELECT count(DISTINCT grp) FROM dead_letter WHERE code = 'panicked'";
    becomes(&instance.read, dead, views(instance)).await;
}

async fn a_torn_event_is_a_dead_letter_that_keeps_its_place(instance: &Instance) {
    let topic = instance.topic("evt", "customers");
    kafka::produce(&topic, Some(0), &[Raw::value("x").key("k").header("torn", "1")]).await;
    let dead = "SELECT count(*) FROM dead_letter WHERE code = 'panicked' AND attempts = 1 AND key IS NULL";
    becomes(&instance.read, dead, views(instance)).await;
    for view in instance.views() {
        let letters = instance.kafka.all(&format!("{topic}.{}.dlq", instance.group(view.name)));
        let letter = letters.iter().find(|letter| letter.raw.text("x-not-copied").is_some());
        let letter = &letter.expect("its letter").raw;
        assert!(letter.text("x-not-copied").is_some_and(|why| why.contains("failpoints.rs")), "{letter:?}");
        assert_eq!((&letter.key, &letter.value), (&None, &None));
    }
}

async fn views_whose_members_panic_are_shown_and_begin_again(instance: &Instance, process: &Process) {
    kafka::produce(&instance.topic("evt", "customers"), Some(0), &[Raw::value("x").header("deadly", "1")])
        .await;
    // Each more than once: its member has joined again and met the record again.
    process.reports("millrace_panics_total", &[("task", "member")], 2.0 * views(instance) as f64).await;
    let (status, told) = process.asked("readyz").await.expect("an answer");
    assert_eq!(status, 503, "{told}");
    for view in instance.views() {
        assert!(told.contains(&instance.group(view.name)) && told.contains("failpoints.rs"), "{told}");
    }
    eventually("the members begin again, and the process is alive", async || {
        let (status, told) = process.probed("livez").await?;
        assert_eq!((status, &told["alive"]), (200, &json!(true)), "{told}");
        let mut again = told["why"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let shown = again.any(|why| why.contains(" begins again: ") && why.contains("failpoints.rs"));
        if shown { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
}

fn views(instance: &Instance) -> i64 {
    i64::try_from(instance.views().len()).expect("few views")
}
