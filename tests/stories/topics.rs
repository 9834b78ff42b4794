//! What topics are set to: made so by setup, and looked at whenever it runs again.

use chrono::{TimeDelta, Utc};
use millrace_tests::Raw;
use millrace_tests::kafka::{refused_stamped, set_topic, topic_settings};
use rdkafka::types::RDKafkaErrorCode;

use crate::migrations::tables_of_a_later_build_are_left_alone;
use crate::{beside_others, instance_with};

#[tokio::test(flavor = "multi_thread")]
async fn setup_sets_what_topics_must_keep_raises_limits_and_refuses_what_would_lose_records() {
    let _turn = beside_others().await;
    let instance = instance_with("topics", &[("contexts", r#"["catalog"]"#)]).await;
    let (commands, events) = (instance.topic("cmd", "catalog"), instance.topic("evt", "catalog"));
    let letters = format!("{commands}.{}.dlq", instance.group("commands"));
    let made = topic_settings(&letters).await;
    let setting = |name: &str| made.get(name).map(String::as_str);
    assert_eq!(setting("retention.ms"), Some("-1"));
    assert_eq!(setting("retention.bytes"), Some("-1"));
    assert_eq!(setting("cleanup.policy"), Some("delete"));
    assert_eq!(setting("min.insync.replicas"), Some("1"));
    let limit = |settings: &std::collections::BTreeMap<String, String>| -> u64 {
        settings["max.message.bytes"].parse().expect("bytes")
    };
    assert!(limit(&made) > limit(&topic_settings(&commands).await), "a letter is larger than its record");
    set_topic(&letters, "max.message.bytes", "1048588").await;
    set_topic(&commands, "message.timestamp.before.max.ms", &i64::MAX.to_string()).await;
    let again = instance.millrace(&["setup"]).await;
    again.expect_success().expect_told(&letters).expect_told(&commands);
    assert_eq!(topic_settings(&letters).await, made, "raised, and nothing else is changed");
    what_retention_would_remove_unread_is_refused_at_its_producer(&commands).await;
    for (topic, name, value) in [
        (&commands, "cleanup.policy", "compact"),
        (&events, "retention.bytes", "1000"),
        (&events, "retention.ms", "1000"),
        (&events, "max.message.bytes", "67108864"),
    ] {
        let before = topic_settings(topic).await[name].clone();
        set_topic(topic, name, value).await;
        instance.millrace(&["setup"]).await.expect_code(1).expect_told(topic).expect_told(name);
        set_topic(topic, name, &before).await;
    }
    tables_of_a_later_build_are_left_alone(&instance).await;
}

/// By its stamp: seconds taken for milliseconds, or a record that was kept elsewhere for longer than the topic keeps it.
async fn what_retention_would_remove_unread_is_refused_at_its_producer(commands: &str) {
    let days_ago = |days| (Utc::now() - TimeDelta::days(days)).timestamp_millis();
    let record = Raw::value("?").key("stamped");
    for stamp in [1_790_000_000, -250_000_000_000_000, days_ago(31)] {
        let refused = refused_stamped(commands, stamp, &record).await;
        assert_eq!(refused, Some(RDKafkaErrorCode::InvalidTimestamp), "{stamp}");
    }
    assert_eq!(refused_stamped(commands, days_ago(29), &record).await, None);
}
