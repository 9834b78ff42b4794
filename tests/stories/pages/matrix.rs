//! Five clients with schemas, codecs, transactions and partitioners of their own: each value of one with each value of another.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use millrace_schemas::json::encode_json;
use millrace_schemas::{definition, frame};
use millrace_tests::kafka::{murmur2_partition, register_schema};
use millrace_tests::{Instance, stack};
use serde_json::{Value, json};

use super::producers::{self, Client};
use crate::{beside_others, instance_with};

const PARTITIONS: u32 = 3;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const TYPE: &str = "RegisterCustomer";

/// The clients, each with the codecs that it has: kafkajs brings gzip only, and takes others from packages of their own.
const CLIENTS: [(Client, &[&str]); 5] = [
    (Client::Python, &CODECS),
    (Client::Java, &CODECS),
    (Client::Go, &CODECS),
    (Client::Node, &["none", "gzip"]),
    (Client::Kcat, &CODECS),
];

/// A schema of the type with its subject and id.
struct Schema {
    subject: &'static str,
    avsc: Value,
    id: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_every_client_are_decided_whatever_schema_codec_and_partitioner_they_have() {
    let _turn = beside_others().await;
    let partitions = PARTITIONS.to_string();
    let settings = [("contexts", r#"["customers"]"#), ("topics.partitions", &partitions)];
    let instance = instance_with("matrix", &settings).await;
    let _process = instance.start();
    let (schemas, mut sent) = (schemas().await, Vec::new());
    for (client, _) in CLIENTS {
        let shapes = shapes().into_iter().filter(|shape| shape.client == client);
        let rows: Vec<Value> =
            shapes.enumerate().map(|(i, shape)| row(&instance, &shape, i, &schemas)).collect();
        match produce(&instance, client, &rows) {
            true => sent.extend(rows),
            false => eprintln!("not run, it is not here: {client:?}"),
        }
    }
    instance.decided(i64::try_from(sent.len()).expect("a few")).await;
    for row in &sent {
        is_completed(&instance, row).await;
    }
}

/// As registered by `setup`; by a producer that does not write all fields; by one with a field that Millrace does not know.
async fn schemas() -> [Schema; 3] {
    let contract = definition(TYPE).expect("the contract");
    let registered: Value = serde_json::from_str(contract.avsc).expect("a schema");
    let (mut older, mut newer) = (registered.clone(), registered.clone());
    let added = json!({"name": "loyalty", "type": ["null", "string"], "default": null});
    older["fields"].as_array_mut().expect("fields").retain(|field| field["name"] != "phone");
    newer["fields"].as_array_mut().expect("fields").push(added);
    let mut schemas = Vec::new();
    for (subject, avsc) in [
        (contract.full_name, registered),
        ("stories.OlderRegisterCustomer", older),
        (contract.full_name, newer),
    ] {
        schemas.push(Schema { subject, id: register_schema(subject, &avsc).await, avsc });
    }
    schemas.try_into().unwrap_or_else(|_| panic!("three schemas"))
}

/// How a record is sent.
#[derive(Debug)]
struct Shape {
    client: Client,
    schema: usize,
    codec: &'static str,
    transactional: bool,
    murmur2: bool,
}

impl Shape {
    fn values(&self) -> [String; 5] {
        let Self { client, schema, codec, transactional, murmur2 } = self;
        [
            format!("{client:?}"),
            format!("schema {schema}"),
            (*codec).to_owned(),
            format!("transactional {transactional}"),
            format!("murmur2 {murmur2}"),
        ]
    }
}

/// Each of the five with each before it.
fn pairs<T: Clone>(of: &[T; 5]) -> impl Iterator<Item = [T; 2]> {
    (0..5).flat_map(move |i| (0..i).map(move |j| [of[j].clone(), of[i].clone()]))
}

/// Six records of each client.
fn shapes() -> Vec<Shape> {
    let of_client = |(place, (client, codecs)): (usize, (Client, &[&'static str]))| {
        let codecs = codecs.to_vec();
        (0..6).map(move |i| Shape {
            client,
            // What encodes no Avro has no schema of its own.
            schema: if client == Client::Kcat { 0 } else { (place + i) % 3 },
            codec: codecs[i % codecs.len()],
            transactional: (place + i).is_multiple_of(2),
            murmur2: (place + i) % 4 < 2,
        })
    };
    CLIENTS.into_iter().enumerate().flat_map(of_client).collect()
}

#[test]
fn every_two_values_of_the_matrix_meet_in_a_record_except_where_a_client_cannot() {
    let shapes: Vec<[String; 5]> = shapes().iter().map(Shape::values).collect();
    let met: BTreeSet<[String; 2]> = shapes.iter().flat_map(pairs).collect();
    let factors = [0, 1, 2, 3, 4].map(|i| shapes.iter().map(|values| values[i].clone()).collect::<Vec<_>>());
    let all = pairs(&factors).flat_map(|[a, b]| {
        a.into_iter().flat_map(move |a| b.clone().into_iter().map(move |b| [a.clone(), b]))
    });
    let missing: BTreeSet<[String; 2]> = all.filter(|pair| !met.contains(pair)).collect();
    let cannot =
        [["Kcat", "schema 1"], ["Kcat", "schema 2"], ["Node", "lz4"], ["Node", "snappy"], ["Node", "zstd"]];
    assert_eq!(missing, cannot.map(|pair| pair.map(str::to_owned)).into());
}

fn row(instance: &Instance, shape: &Shape, i: usize, schemas: &[Schema; 3]) -> Value {
    let id = format!("{}-{:?}-{i}", instance.name, shape.client);
    let schema = &schemas[shape.schema];
    json!({
        "id": id, "key": id, "topic": instance.topic("cmd", "customers"),
        "subject": schema.subject, "schema": schema.avsc, "schema_id": schema.id,
        "value": {"customer_id": id, "name": "Émile", "email": "emile@example.org"},
        "compression": shape.codec, "transactional": shape.transactional, "murmur2": shape.murmur2,
    })
}

/// Sends records with a client; false when the client is not on this machine.
fn produce(instance: &Instance, client: Client, rows: &[Value]) -> bool {
    if client == Client::Kcat && producers::has_kcat() {
        rows.iter().for_each(|row| kcat(instance, row));
        return true;
    }
    let Some(mut program) = producers::client(instance, client) else { return false };
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    feed(&mut program, lines.as_bytes());
    true
}

/// Sends a record with kcat, encoded for it.
fn kcat(instance: &Instance, row: &Value) {
    let text = |field: &str| row[field].as_str().expect("a text");
    let body = encode_json(definition(TYPE).expect("the contract"), &row["value"]).expect("fields that fit");
    let file = instance.folder().join(format!("{}.avro", text("id")));
    let schema = row["schema_id"].as_u64().and_then(|id| id.try_into().ok()).expect("an id");
    std::fs::write(&file, frame(schema, &body)).expect("a record");
    let mut kcat = Command::new("kcat");
    kcat.args(["-P", "-b", stack().kafka_brokers(), "-t", text("topic"), "-k", text("key")]);
    kcat.args(["-H", &format!("ce_id={}", text("id")), "-H", "ce_source=matrix"]);
    kcat.args(["-X", &format!("compression.codec={}", text("compression"))]);
    if row["murmur2"] == true {
        kcat.args(["-X", "partitioner=murmur2_random"]);
    }
    if row["transactional"] == true {
        kcat.args(["-X", &format!("transactional.id={}", text("id"))]);
    }
    kcat.arg(file);
    feed(&mut kcat, b"");
}

fn feed(program: &mut Command, input: &[u8]) {
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = program.spawn().expect("a client");
    running.stdin.take().expect("its input").write_all(input).expect("lines");
    let output = running.wait_with_output().expect("its end");
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The command is completed and, with the partitioner of Java's clients, was in the partition of its key.
async fn is_completed(instance: &Instance, row: &Value) {
    let (status, partition): (String, i32) =
        sqlx::query_as("SELECT status, partition FROM command WHERE id = $1 AND source = 'matrix'")
            .bind(row["id"].as_str())
            .fetch_one(&instance.write)
            .await
            .unwrap_or_else(|error| panic!("{row}: {error}"));
    assert_eq!(status, "completed", "{row}");
    let key = row["key"].as_str().expect("a key");
    assert!(row["murmur2"] == false || partition == murmur2_partition(key.as_bytes(), PARTITIONS), "{row}");
}
