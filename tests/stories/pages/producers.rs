//! Programs of producers: what docs/producing.md prints, in each language whose client is on this machine.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use millrace_tests::{Instance, eventually, stack};

use super::{DOCS, blocks, with_arguments};
use crate::WORKSHOP;

pub(super) async fn every_program_of_a_producer_runs(instance: &Instance) {
    the_program_has_the_instances_settings(instance);
    for (language, program) in blocks(&Path::new(DOCS).join("producing.md")) {
        let Some(mut command) = command(instance, &language, &program) else {
            let first = program.lines().next().unwrap_or_default();
            eprintln!("not run, its client is not here: {language}: {first}");
            continue;
        };
        let Output { status, stdout, stderr } = command.output().expect("an interpreter");
        let [told, talk] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(status.success(), "{program}\n{told}\n{talk}");
        if program.contains("subscribe") {
            assert!(told.starts_with("completed"), "{told}");
        } else if program.contains("ce_id") {
            let id = program.split(['"', '\'']).find(|text| text.starts_with("signup-")).expect("an id");
            the_command_is_completed(instance, id).await;
        }
    }
}

/// `millrace`, as it would be with the instance's settings in a file.
fn the_program_has_the_instances_settings(instance: &Instance) {
    let settings: String = instance.settings().iter().map(|setting| format!(" --set '{setting}'")).collect();
    let file = instance.folder().join("millrace");
    std::fs::write(&file, format!("#!/bin/sh\nexec '{}'{settings} \"$@\"\n", WORKSHOP.binary))
        .expect("a file");
    std::fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("a program");
}

async fn the_command_is_completed(instance: &Instance, id: &str) {
    eventually("its receipt", async || {
        let receipt = instance.millrace(&["receipt", id]).await;
        if receipt.stdout.contains("completed") { Ok(()) } else { Err(receipt.stdout + &receipt.stderr) }
    })
    .await;
}

/// A client of Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    Python,
    Java,
    Node,
    Go,
    Kcat,
}

/// The program that produces what its input says, with this client; `None` when there is none on this machine.
pub(super) fn client(instance: &Instance, client: Client) -> Option<Command> {
    let (language, program) = match client {
        Client::Python => ("python", include_str!("clients/producer.py")),
        Client::Java => ("java", include_str!("clients/Producer.java")),
        Client::Node => ("js", include_str!("clients/producer.js")),
        Client::Go => ("go", include_str!("clients/producer.go")),
        Client::Kcat => return None,
    };
    command(instance, language, program)
}

pub(super) fn has_kcat() -> bool {
    is_there("kcat", &["-V"])
}

/// Runs a program; `None` when what it needs is not on this machine.
pub(super) fn command(instance: &Instance, language: &str, program: &str) -> Option<Command> {
    let mut command = match language {
        "sh" if program.contains("kcat") && !has_kcat() => return None,
        "sh" => with_arguments("sh", &["-ec", program]),
        "python" => python(program)?,
        "java" => java(instance, program)?,
        "js" => node(program)?,
        "go" => go(instance, program)?,
        other => panic!("who runs {other}?"),
    };
    let path = std::env::var("PATH").unwrap_or_default();
    command.current_dir(instance.folder()).envs(stack().variables());
    command.env("PATH", format!("{}:{path}", instance.folder().display()));
    command.env("MILLRACE_NAMESPACE", &instance.name);
    Some(command)
}

fn python(program: &str) -> Option<Command> {
    let python = std::env::var("STORY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let clients = "import fastavro, confluent_kafka.schema_registry.avro";
    is_there(&python, &["-c", clients]).then(|| with_arguments(&python, &["-c", program]))
}

/// `STORY_JARS` is a class path.
fn java(instance: &Instance, program: &str) -> Option<Command> {
    let jars = std::env::var("STORY_JARS").ok()?;
    let class = program.split("public class ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let file = format!("{}.java", class.expect("a class"));
    std::fs::write(instance.folder().join(&file), program).expect("a program");
    Some(with_arguments("java", &["-cp", &jars, &file]))
}

/// `STORY_NODE` is a folder of modules.
fn node(program: &str) -> Option<Command> {
    let modules = std::env::var("STORY_NODE").ok()?;
    let mut node = with_arguments("node", &["-e", program]);
    node.env("NODE_PATH", modules);
    Some(node)
}

/// `STORY_GO` is the folder of a module that requires the clients.
fn go(instance: &Instance, program: &str) -> Option<Command> {
    let module = std::env::var("STORY_GO").ok()?;
    for file in ["go.mod", "go.sum"] {
        std::fs::copy(Path::new(&module).join(file), instance.folder().join(file)).expect(file);
    }
    std::fs::write(instance.folder().join("main.go"), program).expect("a program");
    Some(with_arguments("go", &["run", "main.go"]))
}

fn is_there(program: &str, arguments: &[&str]) -> bool {
    with_arguments(program, arguments).output().is_ok_and(|output| output.status.success())
}
