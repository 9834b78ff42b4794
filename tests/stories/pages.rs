//! Everything in docs/ runs as printed: examples of commands, programs of producers, queries of readers.

use std::path::Path;
use std::process::{Command, Output};

use millrace_schemas::{CONTEXTS, definition, examples};
use millrace_tests::instance::pool;
use millrace_tests::{Instance, stack};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::{WORKSHOP, beside_others, instance_with};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
/// Examples say nothing of what is the case on the day of the story.
const ABOUT_TODAY: &str = "now()";
/// Columns of the SQL views without a comment.
const SILENT: &str = "
    SELECT c.relname || '.' || a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'v' AND a.attnum > 0
      AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL) ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pages_print_runs_as_it_is_printed() {
    let _turn = beside_others().await;
    let all = format!("{CONTEXTS:?}");
    // A payment may be decided long before the subscription that it is for.
    let patient = ("retries.delays", "[400ms, 1s, 5s, 20s]");
    let instance = instance_with("pages", &[("contexts", &all), ("topics.partitions", "1"), patient]).await;
    let _process = instance.start();
    every_example_of_a_command_is_completed(&instance).await;
    every_program_of_a_producer_runs(&instance).await;
    what_send_cannot_send_is_named(&instance).await;
    a_namespace_that_is_none_is_named(&instance);
    instance.settle().await;
    every_query_of_a_reader_finds_rows(&instance).await;
    let silent: Vec<String> = sqlx::query_scalar(SILENT).fetch_all(&instance.read).await.expect("comments");
    assert_eq!(silent, [""; 0], "write down what they mean in views/columns.txt");
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

async fn every_program_of_a_producer_runs(instance: &Instance) {
    std::os::unix::fs::symlink(WORKSHOP.binary, instance.folder().join("millrace")).expect("a link");
    for (language, program) in blocks(&Path::new(DOCS).join("producing.md")) {
        let Some(mut command) = command(instance, &language, &program) else {
            eprintln!(
                "not run, its client is not here: {language}: {}",
                program.lines().next().unwrap_or_default()
            );
            continue;
        };
        let Output { status, stdout, stderr } = command.output().expect("an interpreter");
        let [told, talk] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(status.success(), "{program}\n{told}\n{talk}");
        if program.contains("subscribe") {
            assert!(told.starts_with("millrace.customers.CustomerRegistered"), "{told}");
        }
        if program.contains("ce_id") && !program.contains("subscribe") {
            let id = program.split('"').find(|text| text.starts_with("signup-")).expect("an id");
            the_command_is_completed(instance, id).await;
        }
    }
}

async fn the_command_is_completed(instance: &Instance, id: &str) {
    millrace_tests::eventually("its receipt", async || {
        let receipt = instance.millrace(&["receipt", id]).await;
        if receipt.stdout.contains("completed") { Ok(()) } else { Err(receipt.stdout + &receipt.stderr) }
    })
    .await;
}

/// Runs a program; `None` when what it needs is not on this machine.
fn command(instance: &Instance, language: &str, program: &str) -> Option<Command> {
    let variable = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    let mut command = match language {
        "sh" if program.contains("kcat") && !is_there("kcat", &["-V"]) => return None,
        "sh" => with_arguments("sh", &["-ec", program]),
        "python" => {
            let python = variable("STORY_PYTHON", "python3");
            if !is_there(&python, &["-c", "import fastavro, confluent_kafka.schema_registry.avro"]) {
                return None;
            }
            with_arguments(&python, &["-c", program])
        }
        "java" => {
            let (jars, file) = (variable("STORY_JARS", ""), instance.folder().join("SendCommand.java"));
            std::fs::write(&file, program).expect("a program");
            if jars.is_empty() {
                return None;
            }
            with_arguments("java", &["-cp", &jars, "SendCommand.java"])
        }
        other => panic!("who runs {other}?"),
    };
    let path = format!("{}:{}", instance.folder().display(), variable("PATH", ""));
    command.current_dir(instance.folder()).envs(stack().variables()).env("PATH", path);
    command.env("MILLRACE_NAMESPACE", &instance.name).env("MILLRACE_TOPICS__PARTITIONS", "1");
    Some(command)
}

fn with_arguments(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn is_there(program: &str, arguments: &[&str]) -> bool {
    with_arguments(program, arguments).output().is_ok_and(|output| output.status.success())
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
    let mut status = command(instance, "sh", "millrace status").expect("a shell");
    let Output { status, stderr, .. } =
        status.env("MILLRACE_NAMESPACE", "nosuch").output().expect("a status");
    let told = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(4), "{told}");
    assert!(told.contains("the namespace `nosuch` is not set up") && told.contains(&instance.name), "{told}");
}

async fn every_query_of_a_reader_finds_rows(instance: &Instance) {
    let readers = pool("READER_DATABASE_URL", "public");
    let pages = CONTEXTS.iter().map(|context| format!("contexts/{context}.md"));
    for page in pages.chain(["freshness.md".to_owned()]) {
        for (language, query) in blocks(&Path::new(DOCS).join(&page)) {
            if language != "sql" {
                continue;
            }
            let here = query.replace("millrace.", &format!("\"{}\".", instance.name));
            let rows = sqlx::query(AssertSqlSafe(here)).fetch_all(&readers).await;
            let rows = rows.unwrap_or_else(|error| panic!("{page}: {query}\n{error}"));
            assert!(!rows.is_empty() || query.contains(ABOUT_TODAY), "{page}: no rows: {query}");
        }
    }
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
