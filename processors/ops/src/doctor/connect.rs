//! Kafka Connect: its version, its plugin of Debezium, whether it works with the same Kafka, and the records that it sends.

use reqwest::Method;
use serde_json::Value;

use super::Finding;
use crate::config::Config;
use crate::failure::Failure;
use crate::http::Http;
use crate::kafka::{self, TIMEOUT};
use crate::layout;

pub(super) const PART: &str = "connect";

const REQUEST_MAX: &str = "producer.override.max.request.size";
/// That of Kafka's producers.
const REQUEST_MAX_DEFAULT: u32 = 1_048_576;
const PLUGIN: &str = "io.debezium.connector.postgresql.PostgresConnector";

pub(super) async fn check(config: &Config) -> Result<Vec<Finding>, Failure> {
    let connect = Http::connect(&config.connect)?;
    let about = connect.send(Method::GET, &[], None).await?.success()?;
    let path = ["connector-plugins"];
    let plugins = connect.send(Method::GET, &path, None).await?.success()?;
    let admin = kafka::admin(&config.kafka)?;
    let cluster = tokio::task::block_in_place(|| admin.inner().fetch_cluster_id(TIMEOUT));
    let connector = connect.find(&["connectors", &config.namespace.outbox(), "config"]).await?;
    let sizes = connector.map(|connector| of_sizes(&connector, layout::OUTBOX_BYTES_MAX));
    let found = [of_plugin(&about, &plugins), of_cluster(&about, cluster.as_deref())];
    Ok(found.into_iter().chain(sizes).collect())
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or("unknown")
}

fn of_plugin(about: &Value, plugins: &Value) -> Finding {
    let mut plugins = plugins.as_array().into_iter().flatten();
    let connect = format!("Connect {}", text(about, "version"));
    match plugins.find(|plugin| text(plugin, "class") == PLUGIN) {
        Some(plugin) => Finding::fine(PART, format!("{connect}, Debezium {}", text(plugin, "version"))),
        None => {
            let what = format!("{connect} does not have {PLUGIN}: nothing reaches Kafka");
            Finding::wrong(PART, what, "put the connector of Debezium for PostgreSQL into plugin.path")
        }
    }
}

/// A Connect of another Kafka carries all events there.
fn of_cluster(about: &Value, brokers: Option<&str>) -> Finding {
    match (about.get("kafka_cluster_id").and_then(Value::as_str), brokers) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            let what = format!("Connect works with the Kafka cluster {theirs}, kafka.brokers with {ours}");
            Finding::wrong(PART, what, "set connect.url or kafka.brokers to those of one cluster")
        }
        (Some(theirs), Some(_)) => Finding::fine(PART, format!("it works with the same Kafka ({theirs})")),
        _ => Finding::fine(PART, "the Kafka that it works with has no id"),
    }
}

/// `connect.overrides` may set another limit than the topics have.
fn of_sizes(connector: &Value, topic: u32) -> Finding {
    let limit = connector.get(REQUEST_MAX).and_then(Value::as_str).and_then(|limit| limit.parse().ok());
    let limit: u32 = limit.unwrap_or(REQUEST_MAX_DEFAULT);
    let what = format!("the connector sends records of up to {limit} bytes, topics of events take {topic}");
    match limit < topic {
        true => Finding::wrong(
            PART,
            format!("{what}: a larger row stops it"),
            format!("remove {REQUEST_MAX} from connect.overrides, then millrace setup"),
        ),
        false => Finding::fine(PART, what),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Level;
    use super::*;

    #[test]
    fn a_connector_that_sends_less_than_its_topics_take_is_wrong() {
        let level = |limit: &str| of_sizes(&json!({REQUEST_MAX: limit}), 2_000_000).level;
        assert_eq!((level("8388608"), level("1048576")), (Level::Fine, Level::Wrong));
        assert_eq!(of_sizes(&json!({}), 2_000_000).level, Level::Wrong, "Kafka's default is smaller");
    }

    #[test]
    fn a_connect_without_debezium_or_of_another_kafka_is_wrong() {
        let about = json!({"version": "4.3.1", "kafka_cluster_id": "a"});
        let plugins = json!([{"class": PLUGIN, "version": "3.7.0.Final"}]);
        assert_eq!(of_plugin(&about, &plugins).what, "Connect 4.3.1, Debezium 3.7.0.Final");
        assert_eq!(of_plugin(&about, &json!([])).level, Level::Wrong);
        let level = |ours| of_cluster(&about, ours).level;
        assert_eq!(
            (level(Some("a")), level(Some("b")), level(None)),
            (Level::Fine, Level::Wrong, Level::Fine)
        );
    }
}
