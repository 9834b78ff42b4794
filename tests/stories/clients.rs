//! Settings of Kafka's clients: those that contradict a guarantee are refused, all others work.

use millrace_tests::load::register;
use millrace_tests::{Instance, Process, eventually};

use crate::{beside_others, instance_with};

const CUSTOMERS: (&str, &str) = ("contexts", r#"["customers"]"#);
const PROPERTIES: &str = "MILLRACE_KAFKA__PROPERTIES";
const DECIDED: &str = "SELECT count(*) FROM command WHERE status = 'completed'";

#[tokio::test(flavor = "multi_thread")]
async fn clients_wait_longer_than_they_may_be_silent_and_work_under_either_protocol_of_groups() {
    let _turn = beside_others().await;
    let instance = instance_with("clients", &[CUSTOMERS]).await;
    what_contradicts_a_guarantee_is_refused(&instance).await;
    settings_tell_where_they_come_from(&instance).await;
    let mut process = instance.start();
    works_off(&instance, 0).await;
    process.stops().await;
    claims_may_wait(&instance).await;
    // KIP-848: the coordinator assigns partitions.
    let by_the_coordinator = [(PROPERTIES, r#"{"group.protocol" = "consumer"}"#)];
    let mut first = instance.start_with(&[], &by_the_coordinator);
    works_off(&instance, 20).await;
    let second = instance.start_with(&[], &by_the_coordinator);
    second.reports("millrace_partitions_assigned", &[("group", &instance.group("commands"))], 1.0).await;
    works_off(&instance, 30).await;
    first.stops().await;
    works_off(&instance, 40).await;
}

async fn what_contradicts_a_guarantee_is_refused(instance: &Instance) {
    for (properties, told) in [
        (r#"{"group.instance.id" = "a"}"#, "`group.instance.id` cannot be set: every role"),
        (r#"{"isolation.level" = "read_uncommitted"}"#, "`isolation.level` cannot be set"),
        (r#"{"fetch.wait.max" = 10}"#, "knows no property `fetch.wait.max`"),
        (r#"{"max.poll.interval.ms" = 2000}"#, "max.poll.interval.ms"),
    ] {
        let run = instance.millrace_with(&["run"], &[(PROPERTIES, properties)]).await;
        run.expect_code(2).expect_told(told);
    }
}

/// The program's output about settings: values in force and their origin, a former name, invalid settings.
async fn settings_tell_where_they_come_from(instance: &Instance) {
    let shown = instance.millrace(&["config", "show", "--changed", "kafka", "--format", "json"]).await;
    shown.expect_success().expect_told("\"place\": \"--set kafka.session_timeout\"");
    let old = instance.millrace_with(&["config", "show", "audit"], &[("MILLRACE_AUDIT_EVERY_S", "60")]).await;
    old.expect_success().expect_told("1m").expect_told("MILLRACE_AUDIT__INTERVAL (audit.interval = \"1m\")");
    instance.millrace(&["config", "check"]).await.expect_success();
    for (variable, value, told) in [
        ("MILLRACE_KAFKA__BROKER", "k:1", "did you mean `kafka.brokers`?"),
        ("MILLRACE_EFFECTS__CALL_TIMEOUT", "20", "`20` has no unit"),
        ("MILLRACE_HTTP__WEBHOOK_LISTEN", "127.0.0.1:1", "set payment.url"),
        ("MILLRACE_KAFKA__PROPERTIES", "{\"no.such.property\" = 1}", "knows no property"),
    ] {
        let check = instance.millrace_with(&["config", "check"], &[(variable, value)]).await;
        check.expect_code(2).expect_told(told);
    }
}

/// Another session holds the groups' offsets for longer than a client that is not polled stays in its group.
async fn claims_may_wait(instance: &Instance) {
    let mut holding = instance.write.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM consumer_offset FOR UPDATE").execute(&mut *holding).await.expect("locked rows");
    let mut process = instance
        .start_with(&[], &[(PROPERTIES, r#"{"max.poll.interval.ms" = 6000, "fetch.wait.max.ms" = 50}"#)]);
    tried_in_vain(&process, 3).await;
    holding.commit().await.expect("free rows");
    works_off(instance, 10).await;
    let log = process.log();
    assert!(!log.contains("to join it again"), "it is still the same member: {log}");
    process.stops().await;
}

/// Each attempt waits for a lock for as long as a transaction may last.
async fn tried_in_vain(process: &Process, times: usize) {
    eventually("claims wait", async || {
        match process.log().matches("partitions are not claimed yet").count() {
            tried if tried >= times => Ok(()),
            tried => Err(tried.to_string()),
        }
    })
    .await;
}

/// Commands are decided, and their events folded.
async fn works_off(instance: &Instance, from: usize) {
    let before = instance.count(DECIDED).await.expect("a count");
    instance.send(&(from..from + 10).map(register).collect::<Vec<_>>()).await;
    instance.decided(before + 10).await;
    instance.settle().await;
}
