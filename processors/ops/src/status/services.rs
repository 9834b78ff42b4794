//! The connector, the registry, the indices, and the process on this machine.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use elasticsearch::CountParts;
use elasticsearch::cat::CatIndicesParts;
use millrace_schemas::DEFINITIONS;
use reqwest::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::config::Config;
use crate::elastic::Client;
use crate::failure::Failure;
use crate::http::{self, Http};
use crate::layout;
use crate::postgres::Database;
use crate::reached::Kept;
use crate::setup::{ConnectorState, drops_rows, offsets_ahead};

/// The timeout of a process on this machine.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(2);

/// The connector of the outbox; `None` when there is none.
pub(crate) async fn connector(
    connect: &mut Kept<Http>,
    config: &Config,
    write: &Database,
) -> Result<Option<ConnectorState>, Failure> {
    let connect = connect.or_made(|| Http::connect(&config.connect))?;
    let name = config.namespace.outbox();
    let Some(state) = ConnectorState::find(connect, &name).await? else { return Ok(None) };
    // The facts of the database report it if it does not answer.
    let offsets_ahead = offsets_ahead(connect, &name, write).await.unwrap_or_default();
    let drops_rows = drops_rows(connect, &name).await?;
    Ok(Some(ConnectorState { offsets_ahead, drops_rows, ..state }))
}

/// The state of the schema registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    /// The number of subjects of all instances that share it.
    pub count: usize,
    /// Record types of the instance's contexts that are not registered.
    pub missing: Vec<&'static str>,
}

/// Queries the subjects of the schema registry.
pub(super) async fn subjects(config: &Config) -> Result<Subjects, Failure> {
    let registry = Http::registry(&config.registry)?;
    let path = ["subjects"];
    let answer = registry.send(Method::GET, &path, None).await?;
    let listed = answer.success()?;
    let there: HashSet<&str> = listed.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let ours = DEFINITIONS.iter().filter(|known| known.context.is_empty() || config.has(known.context));
    let missing = ours.map(|known| known.full_name).filter(|name| !there.contains(name)).collect();
    Ok(Subjects { count: there.len(), missing })
}

/// An index behind its alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Index {
    /// The name that searches use.
    pub alias: String,
    /// The index; `None` when the alias does not exist.
    pub index: Option<String>,
    /// Elasticsearch's health: `green`, `yellow`, `red`.
    pub health: Option<String>,
    /// The number of documents.
    pub documents: Option<u64>,
}

/// The indices of all published views.
pub(super) async fn indices(config: &Config) -> Result<Vec<Index>, Failure> {
    let elastic = Client::new(&config.elasticsearch)?;
    let mut found = Vec::new();
    for model in layout::read_models(config).into_iter().filter(|model| model.mapping.is_some()) {
        found.push(index(&elastic, config.namespace.index_alias(model.name)).await?);
    }
    Ok(found)
}

async fn index(elastic: &Client, alias: String) -> Result<Index, Failure> {
    let name = [alias.as_str()];
    let listed = elastic.send(|client| async move {
        client.cat().indices(CatIndicesParts::Index(&name)).format("json").send().await
    });
    let answer = listed.await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(Index { alias, index: None, health: None, documents: None });
    }
    let listed = answer.success()?;
    let text =
        |field: &str| listed.pointer(&format!("/0/{field}")).and_then(Value::as_str).map(str::to_owned);
    let (index, health) = (text("index"), text("health"));
    // `_cat/indices` counts nested documents too.
    let count = elastic.send(|client| async move { client.count(CountParts::Index(&name)).send().await });
    let count = count.await?.found()?;
    let documents = count.as_ref().and_then(|count| count.get("count")).and_then(Value::as_u64);
    Ok(Index { alias, index, health, documents })
}

/// The metrics of a running process.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Process {
    /// Its address.
    pub address: String,
    /// Memory that it uses, in bytes.
    pub resident_bytes: Option<u64>,
    /// The cache of stream states: hits, misses, evictions, bytes, entries.
    pub state_cache: BTreeMap<String, u64>,
    /// Dependencies that workers wait for.
    pub outages: Vec<String>,
    /// Partitions that wait for a process of a later release.
    pub too_old: Vec<String>,
}

/// Queries the process at this configuration's address; `None` when there is none.
pub(super) async fn process(config: &Config) -> Option<Process> {
    let address = config.http.listen.to_string();
    let asked = http::client().ok()?.get(format!("http://{address}/metrics")).timeout(PROCESS_TIMEOUT);
    let response = asked.send().await.ok()?;
    let text = response.error_for_status().ok()?.text().await.ok()?;
    // Another program, or another namespace, may listen there.
    let ours = format!("group=\"{}.", config.namespace);
    text.contains(&ours).then(|| read(address, &text))
}

fn read(address: String, metrics: &str) -> Process {
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    let samples: Vec<(&str, u64)> = samples
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, n)| Some((name, n.parse().ok()?)))
        .collect();
    let labelled = |metric: &str, label: &str| {
        let inner = |name: &str| {
            let label =
                name.strip_prefix(metric)?.strip_prefix('{')?.strip_prefix(label)?.strip_prefix("=\"")?;
            label.strip_suffix("\"}").map(str::to_owned)
        };
        samples.iter().filter_map(|(name, value)| Some((inner(name)?, *value))).collect::<BTreeMap<_, _>>()
    };
    let figure = |name: &str| samples.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
    let mut state_cache = labelled("millrace_state_cache_events_total", "event");
    for name in ["bytes", "entries"] {
        let value = figure(&format!("millrace_state_cache_{name}"));
        state_cache.extend(value.map(|value| (name.to_owned(), value)));
    }
    let outages = labelled("millrace_outage", "dependency").into_iter().filter(|(_, count)| *count > 0);
    Process {
        address,
        resident_bytes: figure("process_resident_memory_bytes"),
        state_cache,
        outages: outages.map(|(name, _)| name).collect(),
        too_old: samples.iter().filter_map(|(name, _)| too_old(name)).collect(),
    }
}

/// The partition that waits for a later build, from a metric's series.
fn too_old(series: &str) -> Option<String> {
    let labels = series.strip_prefix("millrace_build_too_old{")?.strip_suffix('}')?;
    let value = |name: &str| {
        let mut labels = labels.split(',').filter_map(|label| label.split_once('='));
        labels.find(|(label, _)| *label == name).map(|(_, value)| value.trim_matches('"'))
    };
    Some(format!("{} at {}[{}]", value("group")?, value("topic")?, value("partition")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read() {
        let metrics = "# HELP x\nmillrace_state_cache_events_total{event=\"hits\"} 12\nmillrace_state_cache_bytes 7\nmillrace_outage{dependency=\"kafka\"} 1\n\
                       millrace_outage{dependency=\"postgres\"} 0\n\
                       millrace_build_too_old{generation=\"1\",group=\"m.orders\",partition=\"3\",topic=\"m.evt.orders.v1\"} 1\nprocess_resident_memory_bytes 5000000\n";
        let process = read("a".to_owned(), metrics);
        assert_eq!(process.state_cache, BTreeMap::from([("hits".to_owned(), 12), ("bytes".to_owned(), 7)]));
        assert_eq!((process.resident_bytes, process.outages), (Some(5_000_000), vec!["kafka".to_owned()]));
        assert_eq!(process.too_old, ["m.orders at m.evt.orders.v1[3]"]);
    }
}
