//! Everything in docs/ runs as printed: examples of commands, programs of producers, queries of readers.

mod hour;
mod matrix;
mod producers;
mod readers;

use std::path::Path;
use std::process::{Command, Output};

use millrace_schemas::{CONTEXTS, definition, examples};
use millrace_tests::Instance;
use serde_json::{Value, json};

use crate::{beside_others, instance_with};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pages_print_runs_as_it_is_printed() {
    let _turn = beside_others().await;
    let all = format!("{CONTEXTS:?}");
    // A payment may be decided long before the subscription that it is for.
    let patient = ("retries.delays", "[400ms, 1s, 5s, 20s]");
    let instance = instance_with("pages", &[("contexts", &all), ("topics.partitions", "1"), patient]).await;
    let process = instance.start();
    every_example_of_a_command_is_completed(&instance).await;
    readers::a_customer_with_an_accent(&instance).await;
    producers::every_program_of_a_producer_runs(&instance).await;
    what_send_cannot_send_is_named(&instance).await;
    a_namespace_that_is_none_is_named(&instance);
    instance.settle().await;
    hour::there_is_little_to_read(&instance, &process);
    hour::every_action_works(&instance);
    readers::every_query_finds_something(&instance).await;
    readers::every_column_has_a_comment(&instance).await;
}

/// What others refer to is sent first: partitions of several topics are read in any order.
async fn every_example_of_a_command_is_completed(instance: &Instance) {
    let is_first = |line: &&str| {
        let command: Value = serde_json::from_str(line).expect("JSON");
        let context = command["type"].as_str().and_then(definition).expect("a command").context;
        ["customers", "catalog"].contains(&context)
    };
    let (first, rest): (Vec<&str>, Vec<&str>) = examples().partition(is_first);
    for lines in [first, rest] {
        let lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
        instance.send_and_wait(&lines).await.expect_success();
    }
}

/// Kafka that is away is named within seconds; of a file the lines that are no commands, and who was rejected.
async fn what_send_cannot_send_is_named(instance: &Instance) {
    let misspelt = json!({"type": "TagCustmer", "data": {}}).to_string();
    let unknown =
        json!({"id": "nobody", "type": "TagCustomer", "data": {"customer_id": "nobody", "tag": "x"}});
    let tag = json!({"type": "TagCustomer", "data": {"customer_id": "ALFKI", "tag": "new"}}).to_string();
    let file = instance.written(&[misspelt, unknown.to_string(), tag]);
    let checked = instance.millrace(&["schema", "check", &file]).await;
    checked.expect_code(1).expect_told("good 2, refused 1");
    let began = std::time::Instant::now();
    let nowhere = [("KAFKA_BROKERS", "127.0.0.1:1")];
    instance
        .millrace_with(&["send", &file], &nowhere)
        .await
        .expect_code(3)
        .expect_told("Kafka at 127.0.0.1:1");
    assert!(began.elapsed().as_secs() < 6, "{:?}", began.elapsed());
    let sent = instance.millrace(&["send", "--wait", &file]).await;
    sent.expect_code(1)
        .expect_told("line 1: type: there is no command `TagCustmer`: did you mean `TagCustomer`?");
    sent.expect_told("line 2: nobody rejected: customer-unknown: ")
        .expect_told("line 3: TagCustomer has the id ");
    sent.expect_told("1 command is rejected");
}

fn a_namespace_that_is_none_is_named(instance: &Instance) {
    let mut status = producers::command(instance, "sh", "millrace status").expect("a shell");
    let Output { status, stderr, .. } =
        status.env("MILLRACE_NAMESPACE", "nosuch").output().expect("a status");
    let told = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(4), "{told}");
    assert!(told.contains("the namespace `nosuch` is not set up") && told.contains(&instance.name), "{told}");
}

fn with_arguments(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The blocks of code of a page: language and text.
fn blocks(page: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let (mut blocks, mut open) = (Vec::new(), None::<(String, String)>);
    for line in text.lines() {
        match (line.trim().strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some((language, code))) => open = Some((language, format!("{code}{line}\n"))),
            (None, None) => {}
        }
    }
    blocks
}
