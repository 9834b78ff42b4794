//! Tests of sources, their precedence and their errors.

use std::time::Duration;

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use secrecy::ExposeSecret as _;

use super::names::names;
use super::renamed::RENAMED;
use super::*;

/// The configuration from these variables, this file and these flags.
fn loaded(environment: &[(&str, &str)], toml: &str, set: &[&str]) -> Result<Loaded, Failure> {
    let name = format!("millrace-{}-{:?}.toml", std::process::id(), std::thread::current().id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, toml).unwrap();
    let set = set.iter().map(ToString::to_string).collect();
    let flags = Global { config: Some(file.clone()), set, ..Global::default() };
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let loaded = Loaded::from(&flags, &environment);
    std::fs::remove_file(file).unwrap();
    loaded
}

fn load(environment: &[(&str, &str)], toml: &str, set: &[&str]) -> Result<Config, Failure> {
    loaded(environment, toml, set).map(|loaded| loaded.config)
}

fn refusal(environment: &[(&str, &str)], toml: &str, set: &[&str]) -> String {
    loaded(environment, toml, set).err().unwrap().to_string()
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let toml = "[topics]\npartitions = 5\nreplication_factor = 3\n[http]\nlisten = '0.0.0.0:80'";
    let environment = [("MILLRACE_TOPICS__PARTITIONS", "6"), ("MILLRACE_TOPICS__REPLICATION_FACTOR", "2")];
    let config = load(&environment, toml, &["topics.partitions=7"]).unwrap();
    assert_eq!((config.topics.partitions, config.topics.replication_factor), (7, 2));
    assert_eq!((config.http.listen.port(), config.namespace.to_string().as_str()), (80, "millrace"));
}

#[test]
fn an_old_name_is_as_strong_as_its_source() {
    let config = load(&[("MILLRACE_PARTITIONS", "6")], "[topics]\npartitions = 5", &[]).unwrap();
    assert_eq!(config.topics.partitions, 6);
    let config = load(&[("MILLRACE_TOPICS__PARTITIONS", "6")], "", &["partitions=7"]).unwrap();
    assert_eq!(config.topics.partitions, 7);
    let both = [("KAFKA_BROKERS", "k:1"), ("MILLRACE_KAFKA_BROKERS", "k:2")];
    assert_eq!(load(&both, "", &[]).unwrap().kafka.brokers, "k:2");
}

#[test]
fn well_known_variables_need_no_prefix_and_others_prefixed_like_ours_are_ignored() {
    let environment = [
        ("MILLRACE_CONNECT__DATABASE_PASSWORD", "007"),
        ("KAFKA_BROKERS", "k:1"),
        ("CONNECT_URL", "http://c:1"),
        ("MILLRACE_CONNECT__URL", "http://c:2"),
        ("WRITE_DATABASE_URL", "postgres://u:hunter2@db/w"),
        ("MILLRACE_STACK_DIR", "/x"),
        ("TOPICS__PARTITIONS", "9"),
    ];
    let config = load(&environment, "", &[]).unwrap();
    assert_eq!((config.kafka.brokers.as_str(), config.topics.partitions), ("k:1", 4));
    assert_eq!(config.connect.url.reveal(), "http://c:2/");
    assert_eq!(config.postgres.write.url.reveal(), "postgres://u:hunter2@db/w");
    assert_eq!(config.connect.database_password.unwrap().expose_secret(), "007");
}

#[test]
fn secrets_stay_out_of_what_is_shown() {
    let toml = "[connect]\ndatabase_password = 271828\n[kafka.properties]\n'sasl.password' = 314159";
    let config = load(&[("READ_DATABASE_URL", "postgres://u:hunter2@db/r")], toml, &[]).unwrap();
    assert_eq!(config.kafka.revealed().get("sasl.password").map(String::as_str), Some("314159"));
    let shown = format!("{config:?}");
    assert!(!["314159", "271828", "hunter2"].iter().any(|secret| shown.contains(secret)), "{shown}");
}

#[test]
fn lists_and_entries_are_read_from_every_source() {
    let toml = "[sagas.timers]\nfulfilment.deadline = '5m'\n'fulfilment.other' = '1s'\n[retries.groups]\norders = ['1s']";
    let environment = [
        ("MILLRACE_SAGAS__TIMERS", r#"{"renewal.grace" = "1d"}"#),
        ("MILLRACE_RETRIES__GROUPS__CUSTOMERS", "[2s, 3s]"),
    ];
    let config = load(&environment, toml, &["retries.delays=[500ms]", "contexts=[orders]"]).unwrap();
    assert_eq!(config.sagas.timers.len(), 3);
    assert_eq!(config.sagas.timers["fulfilment.deadline"], Duration::from_secs(300));
    assert_eq!(config.retries.of("customers"), [2, 3].map(Duration::from_secs));
    assert_eq!(config.retries.of("orders"), [Duration::from_secs(1)]);
    assert_eq!(config.retries.of("commands"), [Duration::from_millis(500)]);
    assert_eq!(config.contexts, ["orders"]);
}

#[test]
fn refusals_name_the_setting_and_where_it_was_set() {
    let environment = [("MILLRACE_TOPICS__PARTITIONS", "many")];
    let message = refusal(&environment, "", &[]);
    assert!(message.contains("topics.partitions (environment MILLRACE_TOPICS__PARTITIONS): "), "{message}");
    let message = refusal(&[], "[kafka]\nsession_timeout = 30", &[]);
    assert!(message.contains(".toml:2): `30` has no unit: write 500ms, 90s"), "{message}");
    let message = refusal(&[], "", &["processing.buffer=40000000"]);
    assert!(message.contains("(flag --set processing.buffer): `40000000` has no unit"), "{message}");
    let message = refusal(&[], "", &["namespace=A"]);
    assert!(message.contains("namespace (flag --set namespace): `A` is not"), "{message}");
    let message = refusal(&[], "", &["kafka.properties=hunter2"]);
    assert!(message.contains("kafka.properties (flag --set kafka.properties): "), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    assert!(refusal(&[], "a = 1\nb = 'hunter2", &[]).contains(".toml:2: "), "{message}");
}

#[test]
fn a_name_that_no_setting_has_is_refused_with_its_place_and_the_nearest() {
    let message = refusal(&[], "[kafka]\nsession_timeout = '6s'\nbroker = 'k:1'", &[]);
    assert!(
        message.contains("there is no setting `kafka.broker`: did you mean `kafka.brokers`?"),
        "{message}"
    );
    assert!(message.ends_with(".toml:3)"), "{message}");
    let message = refusal(&[("MILLRACE_KAFKA__BROKER", "k:1")], "", &[]);
    assert!(
        message.ends_with("did you mean `kafka.brokers`? (environment MILLRACE_KAFKA__BROKER)"),
        "{message}"
    );
    let message = refusal(&[], "", &["topics.partition=3"]);
    assert!(message.contains("did you mean `topics.partitions`? (flag --set"), "{message}");
}

#[test]
fn what_cannot_work_is_refused_all_at_once() {
    assert!(
        refusal(&[], "", &["topics.partitions=0"]).contains("topics.partitions must be 1 or more, not 0")
    );
    for few in ["0B", "1000000B"] {
        let message = refusal(&[], "", &[&format!("processing.buffer={few}")]);
        assert!(message.contains(&format!("processing.buffer must be 1MiB or more, not {few}")), "{message}");
    }
    let message = refusal(&[], "postgres.transaction_timeout = '30s'\ntopics.replication_factor = 0", &[]);
    assert!(message.contains("must be below kafka.session_timeout (30s)"), "{message}");
    assert!(message.contains("topics.replication_factor must be 1 or more"), "{message}");
    let message = refusal(&[], "", &["topics.rejection_retention=1d"]);
    assert!(message.contains("topics.rejection_retention must be 2days or more, not 1day"), "{message}");
    let message = refusal(&[], "[kafka.properties]\n'isolation.level' = 'read_uncommitted'", &[]);
    assert!(message.contains("kafka.properties: `isolation.level` cannot be set"), "{message}");
    for address in ["mysql://u:hunter2@db/w", "u:hunter2@db/w"] {
        let message = refusal(&[("WRITE_DATABASE_URL", address)], "", &[]);
        assert!(message.contains("postgres.write.url") && !message.contains("hunter2"), "{message}");
    }
}

/// Every former name, a value in TOML, and the resulting value as shown.
const BEFORE: &[(&str, &str, &str)] = &[
    ("kafka_brokers", "'k:1'", r#""k:1""#),
    ("kafka_properties", "{'fetch.wait.max.ms' = 50}", r#"{"fetch.wait.max.ms":"***"}"#),
    ("session_timeout_ms", "60000", r#""1m""#),
    ("heartbeat_interval_ms", "1500", r#""1s 500ms""#),
    ("partitions", "8", "8"),
    ("replication_factor", "3", "3"),
    ("command_retention_ms", "-1", r#""forever""#),
    ("rejection_retention_ms", "172800000", r#""2days""#),
    ("write_database_url", "'postgres://w/w'", r#""postgres://w/w""#),
    ("read_database_url", "'postgres://r/r'", r#""postgres://r/r""#),
    ("write_database_password_file", "'/dev/null'", r#""/dev/null""#),
    ("read_database_password_file", "'/dev/null'", r#""/dev/null""#),
    ("reader_role", "'reader'", r#""reader""#),
    ("transaction_timeout_ms", "10000", r#""10s""#),
    ("database_answer_timeout_ms", "50000", r#""50s""#),
    ("database_connections_max", "32", "32"),
    ("elasticsearch_url", "'http://e:1'", r#""http://e:1/""#),
    ("elasticsearch_timeout_ms", "5000", r#""5s""#),
    ("elasticsearch_replicas", "1", "1"),
    ("elasticsearch_refresh_interval", "'-1'", r#""never""#),
    ("publish", "false", "false"),
    ("schema_registry_url", "'http://s:1'", r#""http://s:1/""#),
    ("connect_url", "'http://c:1'", r#""http://c:1/""#),
    ("outbox_poll_interval_ms", "50", r#""50ms""#),
    ("connect_database", "'db:5432'", r#""db:5432""#),
    ("connect_database_password", "'007'", r#""***""#),
    ("commands_batch_max", "10", "10"),
    ("events_batch_max", "20", "20"),
    ("state_cache_bytes", "3000", r#""3000B""#),
    ("buffer_bytes", "1048576", r#""1MiB""#),
    ("retry_delays_ms", "[400, 1000]", r#"["400ms","1s"]"#),
    ("group_retry_delays_ms", "{orders = [500, 5000]}", r#"{"orders":["500ms","5s"]}"#),
    ("sagas", "false", "false"),
    ("saga_timers_ms", "{'fulfilment.deadline' = 3000}", r#"{"fulfilment.deadline":"3s"}"#),
    ("effect_calls_max", "16", "16"),
    ("effect_call_timeout_ms", "300", r#""300ms""#),
    ("effect_age_max_s", "3600", r#""1h""#),
    ("effect_breaker_failures", "7", "7"),
    ("payment_provider_url", "'https://p'", r#""https://p/""#),
    ("payment_provider_token", "'t'", r#""***""#),
    ("payment_provider_token_file", "'/dev/null'", r#""/dev/null""#),
    ("payment_key_window_s", "60", r#""1m""#),
    ("payment_webhook_secret", "'s'", r#""***""#),
    ("payment_webhook_secret_file", "'/dev/null'", r#""/dev/null""#),
    ("vendor_url", "'https://v'", r#""https://v/""#),
    ("vendor_token", "'t'", r#""***""#),
    ("vendor_token_file", "'/dev/null'", r#""/dev/null""#),
    ("vendor_key_window_s", "86400", r#""1day""#),
    ("vendor_messages_per_second", "5", "5"),
    ("smtp_url", "'smtps://m'", r#""smtps://m""#),
    ("smtp_password_file", "'/dev/null'", r#""/dev/null""#),
    ("mail_from", "'a@b.c'", r#""a@b.c""#),
    ("audit_every_s", "0", r#""never""#),
    ("audit_events_per_second", "9", "9"),
    ("audit_repairs_max", "1", "1"),
    ("listen", "'0.0.0.0:80'", r#""0.0.0.0:80""#),
    ("webhook_listen", "'0.0.0.0:81'", r#""0.0.0.0:81""#),
    ("log", "'debug'", r#""debug""#),
    ("log_format", "'json'", r#""json""#),
];

fn in_force(config: &Config, name: &str) -> String {
    let all = serde_json::to_value(config).unwrap();
    all.pointer(&format!("/{}", name.replace('.', "/"))).unwrap().to_string()
}

#[test]
fn every_old_name_still_works_in_every_source_and_says_the_new_one() {
    let before: Vec<&str> = BEFORE.iter().map(|(old, ..)| *old).collect();
    assert_eq!(before, RENAMED.iter().map(|renamed| renamed.old).collect::<Vec<_>>());
    for ((old, toml, expected), renamed) in BEFORE.iter().zip(RENAMED) {
        // The text form is TOML's without its quotes.
        let text = if toml.starts_with('{') { toml.replace('\'', "\"") } else { toml.replace('\'', "") };
        let variable = format!("MILLRACE_{}", old.to_uppercase());
        for loaded in [
            loaded(&[], &format!("{old} = {toml}"), &[]),
            loaded(&[(&variable, &text)], "", &[]),
            loaded(&[], "", &[&format!("{old}={text}")]),
        ] {
            let loaded = loaded.unwrap_or_else(|failure| panic!("{old}: {failure}"));
            assert_eq!(in_force(&loaded.config, renamed.new), *expected, "{old}");
            let [warning] = loaded.warnings.as_slice() else { panic!("{old}: {:?}", loaded.warnings) };
            assert!(warning.contains(old) && warning.contains(renamed.new), "{warning}");
        }
    }
}

#[test]
fn old_names_lead_to_every_setting_once() {
    let mut renamed: Vec<&str> = RENAMED.iter().map(|renamed| renamed.new).collect();
    renamed.extend([
        "namespace",
        "contexts",
        "processing.abandoned_after",
        "processing.linger",
        "topics.growth_hold",
        "topics.outcomes",
        "audit.whole_interval",
        "metrics.interval",
        "metrics.documents_interval",
        "kafka.property_files",
        "elasticsearch.api_key_file",
        "connect.database_user",
        "connect.database_ca_file",
        "connect.overrides",
        "postgres.setup_lock_timeout",
    ]);
    renamed.sort_unstable();
    let of_later = |name: &&str| {
        ["retention.", "gateway.", "notify.", "otlp."].iter().any(|start| name.starts_with(start))
            || name.contains(".access.")
    };
    let names = names().filter(|name| !of_later(name));
    assert_eq!(renamed, names.collect::<Vec<_>>(), "a new setting has no old name: leave it out here");
}

#[test]
fn a_warning_says_what_to_write_instead() {
    let warnings = |environment: &[(&str, &str)], toml: &str, set: &[&str]| {
        loaded(environment, toml, set).unwrap().warnings.join("\n")
    };
    let text = warnings(&[], "session_timeout_ms = 20500", &[]);
    assert!(text.contains(".toml:1) is called kafka.session_timeout = \"20s 500ms\" now"), "{text}");
    let text = warnings(&[("MILLRACE_AUDIT_EVERY_S", "60")], "", &[]);
    assert!(text.contains("called MILLRACE_AUDIT__INTERVAL (audit.interval = \"1m\") now"), "{text}");
    let text = warnings(&[], "", &["payment_provider_token=hunter2"]);
    assert!(text.contains("payment.token") && !text.contains("hunter2"), "{text}");
    assert_eq!(
        warnings(&[("KAFKA_BROKERS", "k:1")], "[kafka]\nbrokers = 'k:2'", &["sagas.enabled=false"]),
        ""
    );
}

#[test]
fn an_old_name_with_its_new_one_in_the_same_source_is_refused() {
    let message = refusal(&[], "partitions = 3\ntopics.partitions = 4", &[]);
    assert!(message.contains("partitions (file ") && message.contains("are the same setting"), "{message}");
    let environment = [("MILLRACE_LOG", "info"), ("MILLRACE_LOGGING__FILTER", "debug")];
    let message = refusal(&environment, "", &[]);
    assert!(
        message.contains("MILLRACE_LOG)") && message.contains("keep MILLRACE_LOGGING__FILTER"),
        "{message}"
    );
    let message = refusal(&[], "", &["sagas=false", "sagas.enabled=false"]);
    assert!(message.contains("keep --set sagas.enabled"), "{message}");
}

#[test]
fn an_old_name_keeps_its_unit() {
    let message = refusal(&[], "", &["session_timeout_ms=20s"]);
    assert!(message.contains("session_timeout_ms must be a number of milliseconds"), "{message}");
    assert!(refusal(&[], "buffer_bytes = '40MiB'", &[]).contains("must be a number of bytes"));
}
