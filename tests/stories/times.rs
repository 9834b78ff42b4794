//! Times that others tell: stamps that no database can hold, schemas with other units, and copies that claim to be due in
//! years. None of them stops a partition, and none is taken for another time.

use chrono::{DateTime, Utc};
use millrace_schemas::json::{encode_json, key_of};
use millrace_schemas::{definition, frame};
use millrace_tests::kafka::{self, register_schema};
use millrace_tests::load::{customer, place, product, register};
use millrace_tests::{Instance, Raw, becomes};
use serde_json::{Value, json};

use crate::{beside_others, instance_with};

/// Long before the first day of Postgres's calendar, 4714 BC; the one that no calendar has; and seconds, microseconds and
/// nanoseconds of today taken for milliseconds.
const STAMPS: [i64; 4] =
    [-250_000_000_000_000, -8_000_000_000_000_000_000, 1_790_000_000, -1_790_000_000_000_000];
/// A time that every unit can tell exactly.
const ASSESSED_AT: &str = "2024-02-03T00:00:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_time_a_record_tells_it_is_answered_and_its_neighbours_go_on() {
    let _turn = beside_others().await;
    // With a limit, retention would remove records of 1970 before they are read, and the broker refuses them.
    let instance = instance_with("times", &[("topics.command_retention", "forever")]).await;
    let (commands, events) = (instance.topic("cmd", "customers"), instance.topic("evt", "customers"));
    for (number, stamp) in STAMPS.into_iter().enumerate() {
        let garbage = Raw::value("?").key(format!("garbage-{number}"));
        let data = json!({"customer_id": format!("stamped-{number}"), "name": "Good", "phone": "12345"});
        let good = Raw::command(&format!("stamped-{number}"), "RegisterCustomer", &data).await;
        kafka::produce_stamped(&commands, stamp, &[garbage, good]).await;
        let data = json!({"customer_id": format!("told-{number}"), "name": "Good"});
        let event = Raw::of("CustomerRegistered", &data).await;
        let event = event.header("ce_id", format!("told-{number}")).header("ce_sequence", "1");
        kafka::produce_stamped(&events, stamp, &[event]).await;
    }
    let beyond = [("long-ago", i64::MIN), ("year-12000", 316_000_000_000_000_000), ("never", i64::MAX)];
    for (customer, at) in beyond {
        let data = json!({"customer_id": customer, "score": 7, "reason": "orders", "assessed_at": at});
        let event = Raw::of("CustomerRiskAssessed", &data).await;
        kafka::produce(&events, None, &[event.header("ce_id", customer).header("ce_sequence", "1")]).await;
    }
    copies_are_due_in_years(&instance).await;
    let units = units(&instance).await;
    let unreadable = unreadable_times(&instance).await;
    let process = instance.start();
    instance.send(&[register(0), place(1, &customer(1), &product(1))]).await;

    let stamped = "SELECT count(*) FROM command WHERE id LIKE 'stamped-%' AND status = 'completed' AND produced_at IS NULL";
    let believed =
        "SELECT count(*) FROM command WHERE id = 'stamped-2' AND produced_at = '1970-01-21T17:13:20Z'";
    becomes(&instance.write, believed, 1).await;
    becomes(&instance.write, stamped, STAMPS.len() as i64 - 1).await;
    let tried = "SELECT count(*) FROM command WHERE id = 'PlaceOrder-1' AND status = 'dead' AND code = 'reference-not-found'";
    becomes(&instance.write, tried, 1).await;
    instance.settle().await;

    let garbage = "SELECT count(*) FROM dead_letter WHERE code = 'undecodable' AND convert_from(key, 'UTF8') LIKE 'garbage-%'";
    assert_eq!(instance.count(garbage).await, Ok(STAMPS.len() as i64));
    let letters = instance.kafka.all(&format!("{commands}.{}.dlq", instance.group("commands")));
    let copies = letters.iter().filter(|letter| letter.raw.value.as_deref() == Some(&b"?"[..]));
    assert_eq!(copies.count(), STAMPS.len(), "each was copied once");
    let rows = "SELECT count(*) FROM customers WHERE customer_id LIKE 'told-%'";
    let rows: i64 = sqlx::query_scalar(rows).fetch_one(&instance.read).await.expect("rows");
    assert_eq!(rows, STAMPS.len() as i64, "events with such stamps are folded");
    for view in ["customers", "events"] {
        let refused = "SELECT count(*) FROM dead_letter WHERE grp = $1 AND code = 'time-invalid'";
        let refused = sqlx::query_scalar(refused).bind(instance.group(view)).fetch_one(&instance.read).await;
        assert_eq!(refused.ok(), Some(beyond.len() as i64), "no time takes the place of theirs in {view}");
    }
    for unit in units {
        unit.is_honoured_or_refused(&instance).await;
    }
    for id in unreadable {
        assert_eq!(receipt(&instance, &id).await, ("dead".to_owned(), "time-invalid".to_owned()), "{id}");
    }
    let shown = instance.millrace(&["receipt", "stamped-0"]).await;
    assert!(shown.expect_success().stdout.contains("completed"), "{}", shown.stdout);
    drop(process);
}

/// Forged copies on the retry topics, in every partition.
async fn copies_are_due_in_years(instance: &Instance) {
    let topic = format!("{}.{}.retry.1", instance.topic("cmd", "orders"), instance.group("commands"));
    let copy = Raw::value("?")
        .key("forged")
        .header("x-error-code", "reference-not-found")
        .header("x-attempts", "1")
        .header("x-source-topic", instance.topic("cmd", "orders"))
        .header("x-source-partition", "0")
        .header("x-source-offset", "-1")
        .header("x-source-timestamp", i64::MIN.to_string())
        .header("x-due-at", "2100-01-01T00:00:00.000Z");
    for partition in instance.kafka.ends(&topic).into_keys() {
        kafka::produce(&topic, Some(partition), std::slice::from_ref(&copy)).await;
    }
}

/// A command whose writer has its time in another unit.
struct Unit {
    name: &'static str,
    /// Whether it tells an instant exactly.
    honoured: bool,
}

impl Unit {
    fn id(&self) -> String {
        format!("unit {}", self.name)
    }

    async fn is_honoured_or_refused(&self, instance: &Instance) {
        let (status, code) = receipt(instance, &self.id()).await;
        if !self.honoured {
            assert_eq!((status.as_str(), code.as_str()), ("dead", "undecodable"), "{}", self.name);
            let message = "SELECT message FROM command WHERE id = $1";
            let message: String =
                sqlx::query_scalar(message).bind(self.id()).fetch_one(&instance.write).await.expect("why");
            for part in ["assessed_at", self.name, "timestamp-micros"] {
                assert!(message.contains(part), "{message}");
            }
            return;
        }
        assert_eq!(status, "completed", "{}: {code}", self.name);
        let at = "SELECT risk_assessed_at FROM customers WHERE customer_id = $1";
        let at: DateTime<Utc> =
            sqlx::query_scalar(at).bind(self.id()).fetch_one(&instance.read).await.expect("a customer");
        assert_eq!(at.to_rfc3339(), "2024-02-03T00:00:00+00:00", "{}", self.name);
    }
}

/// Each customer is registered, and assessed by a writer with another unit.
async fn units(instance: &Instance) -> Vec<Unit> {
    let micros = ASSESSED_AT.parse::<DateTime<Utc>>().expect("a time").timestamp_micros();
    let kinds = [
        ("timestamp-micros", "long", micros, true),
        ("timestamp-millis", "long", micros / 1_000, true),
        ("timestamp-nanos", "long", micros * 1_000, true),
        ("local-timestamp-micros", "long", micros, false),
        ("date", "int", micros / 86_400_000_000, false),
        ("long", "long", micros, false),
    ];
    let (topic, mut units) = (instance.topic("cmd", "customers"), Vec::new());
    for (name, base, number, honoured) in kinds {
        let unit = Unit { name, honoured };
        let data = json!({"customer_id": unit.id(), "name": "Good", "phone": "12345"});
        let register = Raw::command(&format!("registered {name}"), "RegisterCustomer", &data).await;
        let data = json!({"customer_id": unit.id(), "score": 7, "reason": "orders", "assessed_at": number});
        let assess = written_as(name, base, &data).await;
        let assess = assess.header("ce_id", unit.id()).header("ce_source", "stories");
        kafka::produce(&topic, None, &[register, assess]).await;
        units.push(unit);
    }
    units
}

/// A risk assessment in the bytes of a writer who calls its time something else.
async fn written_as(name: &str, base: &str, data: &Value) -> Raw {
    let known = definition("AssessCustomerRisk").expect("a command");
    let mut schema: Value = serde_json::from_str(known.avsc).expect("a schema");
    schema["fields"][3]["type"] =
        if name == base { json!(base) } else { json!({"type": base, "logicalType": name}) };
    let id = register_schema(&format!("stories.AssessCustomerRisk.{name}"), &schema).await;
    let body = encode_json(known, data).expect("fields that fit");
    Raw::value(frame(id, &body)).key(key_of(known, data).expect("a key"))
}

/// Commands whose `ce_time` says nothing.
async fn unreadable_times(instance: &Instance) -> Vec<String> {
    let times: [&[u8]; 4] = [b"yesterday", b"2024-01-01T00:00:00", b"0000-01-01T00:00:00Z", &[0xff]];
    let mut ids = Vec::new();
    for (number, time) in times.into_iter().enumerate() {
        let id = format!("time-{number}");
        let data = json!({"customer_id": customer(100 + number), "name": "Good", "phone": "12345"});
        let command = Raw::command(&id, "RegisterCustomer", &data).await.header("ce_time", time);
        kafka::produce(&instance.topic("cmd", "customers"), None, &[command]).await;
        ids.push(id);
    }
    ids
}

/// What became of a command: status and code.
async fn receipt(instance: &Instance, id: &str) -> (String, String) {
    let receipt = "SELECT status, coalesce(code, '') FROM command WHERE id = $1";
    sqlx::query_as(receipt).bind(id).fetch_one(&instance.write).await.expect("a receipt")
}
