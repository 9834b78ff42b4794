//! The health of the cluster, and indices that take no documents.

use elasticsearch::cluster::ClusterHealthParts;
use elasticsearch::indices::IndicesGetSettingsParts;
use serde_json::Value;

use super::Finding;
use crate::config::Config;
use crate::elastic::Client;
use crate::failure::Failure;
use crate::layout;

pub(super) const PART: &str = "elasticsearch";

pub(super) async fn check(config: &Config) -> Result<Vec<Finding>, Failure> {
    let elastic = Client::new(&config.elasticsearch)?;
    let versions = elastic
        .send(|client| async move { client.cat().nodes().h(&["version"]).format("json").send().await });
    let versions = versions.await?.success()?;
    let health =
        elastic.send(|client| async move { client.cluster().health(ClusterHealthParts::None).send().await });
    let health = health.await?.success()?;
    let published = layout::read_models(config).into_iter().filter(|model| model.mapping.is_some());
    let aliases: Vec<String> = published.map(|model| config.namespace.index_alias(model.name)).collect();
    let names: Vec<&str> = aliases.iter().map(String::as_str).collect();
    let names = names.as_slice();
    let settings = elastic.send(|client| async move {
        let (indices, parts) = (client.indices(), IndicesGetSettingsParts::Index(names));
        indices.get_settings(parts).flat_settings(true).ignore_unavailable(true).send().await
    });
    let mut found = of_health(&versions, &health);
    found.extend(settings.await?.found()?.iter().flat_map(blocked));
    Ok(found)
}

fn of_health(versions: &Value, health: &Value) -> Vec<Finding> {
    let text = |value: &Value, path: &str| {
        value.pointer(path).and_then(Value::as_str).unwrap_or("unknown").to_owned()
    };
    let number = |path: &str| health.pointer(path).and_then(Value::as_i64).unwrap_or_default();
    let (status, nodes) = (text(health, "/status"), number("/number_of_data_nodes"));
    let is = format!("Elasticsearch {}, {nodes} data nodes, {status}", text(versions, "/0/version"));
    match status.as_str() {
        "red" => vec![Finding::wrong(
            PART,
            format!("{is}: shards of some index have no primary"),
            "GET _cluster/allocation/explain",
        )],
        // Replicas of a single node have nowhere to be.
        "yellow" if nodes > 1 => vec![Finding::advice(
            PART,
            format!("{is}: {} shards have no replica", number("/unassigned_shards")),
            "GET _cluster/allocation/explain",
        )],
        _ => vec![Finding::fine(PART, is)],
    }
}

/// Elasticsearch blocks writes to an index on a full disk; operators may do so too.
fn blocked(settings: &Value) -> Vec<Finding> {
    let is_blocked = |of_index: &Value| {
        let blocks = of_index.get("settings").and_then(Value::as_object).into_iter().flatten();
        let mut set = blocks
            .filter(|(name, value)| name.starts_with("index.blocks.") && value.as_str() == Some("true"));
        set.next().map(|(name, _)| name.clone())
    };
    let indices = settings.as_object().into_iter().flatten();
    let found = indices.filter_map(|(index, of_index)| Some((index, is_blocked(of_index)?)));
    let finding = |(index, block): (&String, String)| {
        let mend = format!("free disk; then PUT {index}/_settings {{\"{block}\": null}}");
        Finding::wrong(PART, format!("{index} takes no documents: {block}"), mend)
    };
    found.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Level;
    use super::*;

    #[test]
    fn a_single_node_may_be_yellow_and_no_cluster_red() {
        let level = |status: &str, nodes: i64| {
            of_health(&json!([]), &json!({"status": status, "number_of_data_nodes": nodes}))[0].level
        };
        assert_eq!((level("yellow", 1), level("yellow", 3)), (Level::Fine, Level::Advice));
        assert_eq!((level("red", 1), level("green", 3)), (Level::Wrong, Level::Fine));
    }

    #[test]
    fn an_index_that_is_blocked_is_told_with_its_block() {
        let settings = json!({
            "shop-orders_g1": {"settings": {"index.blocks.read_only_allow_delete": "true"}},
            "shop-products_g1": {"settings": {"index.number_of_replicas": "1"}},
        });
        let found = blocked(&settings);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("shop-orders_g1") && found[0].what.contains("read_only_allow_delete"));
    }
}
