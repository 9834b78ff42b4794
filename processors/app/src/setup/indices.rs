//! Index templates, indices and aliases in Elasticsearch.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::databases::GENERATION;
use super::steps::{Did, Steps};
use crate::config::Config;
use crate::failure::Failure;
use crate::http::Http;
use crate::layout;

/// Creates the indices of every view that is published.
pub(super) async fn create(config: &Config, steps: &mut Steps) -> Result<(), Failure> {
    let elastic = Http::elasticsearch(config)?;
    for model in layout::read_models() {
        let Some(properties) = model.mapping else { continue };
        let alias = config.namespace.index_alias(model.name);
        let mappings = mappings(&alias, properties)?;
        let did = template(&elastic, config, &alias, &mappings).await?;
        steps.tell(did, "index template", &alias)?;
        let index = config.namespace.index(model.name, GENERATION);
        let did = index_of(&elastic, &index, &mappings).await?;
        steps.tell(did, "index", &index)?;
        steps.tell(alias_of(&elastic, &index, &alias).await?, "alias", &alias)?;
    }
    Ok(())
}

/// Strict mappings that carry a fingerprint of themselves, so that a change is noticed.
fn mappings(alias: &str, properties: &str) -> Result<Value, Failure> {
    let properties: Value = serde_json::from_str(properties)
        .map_err(|error| Failure::refused(format!("the mapping of `{alias}` is not JSON: {error}")))?;
    let fingerprint = fingerprint(&properties);
    Ok(json!({"dynamic": "strict", "_meta": {"millrace": fingerprint}, "properties": properties}))
}

fn fingerprint(value: &Value) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, value.to_string().as_bytes()).to_string()
}

async fn template(elastic: &Http, config: &Config, alias: &str, mappings: &Value) -> Result<Did, Failure> {
    let path = ["_index_template", alias];
    let template = json!({
        "settings": {
            "number_of_shards": 1,
            "number_of_replicas": config.elasticsearch_replicas,
            "refresh_interval": config.elasticsearch_refresh_interval,
        },
        "mappings": mappings,
    });
    let fingerprint = fingerprint(&template);
    let found = elastic.find(&path).await?;
    let before =
        found.as_ref().and_then(|found| found.pointer("/index_templates/0/index_template/_meta/millrace"));
    if before == Some(&Value::from(fingerprint.as_str())) {
        return Ok(Did::Nothing);
    }
    let body = json!({
        "index_patterns": [format!("{alias}-g*")], "priority": 500, "version": 1,
        "_meta": {"millrace": fingerprint}, "template": template,
    });
    let answer = elastic.send(Method::PUT, &path, Some(&body)).await?;
    elastic.success(answer, &path)?;
    Ok(if found.is_some() { Did::Updated } else { Did::Created })
}

/// An index of the template; one with other mappings gets the new ones when Elasticsearch can add them.
async fn index_of(elastic: &Http, index: &str, mappings: &Value) -> Result<Did, Failure> {
    let Some(found) = elastic.find(&[index, "_mapping"]).await? else {
        let answer = elastic.send(Method::PUT, &[index], None).await?;
        // Refused because another setup did the same at this moment?
        if !answer.status.is_success() && elastic.find(&[index, "_mapping"]).await?.is_some() {
            return Ok(Did::Nothing);
        }
        return elastic.success(answer, &[index]).map(|_| Did::Created);
    };
    let meta = |mappings: &Value| mappings.pointer("/_meta/millrace").cloned();
    if found.get(index).and_then(|index| index.get("mappings")).and_then(meta) == meta(mappings) {
        return Ok(Did::Nothing);
    }
    let path = [index, "_mapping"];
    let answer = elastic.send(Method::PUT, &path, Some(mappings)).await?;
    elastic.success(answer, &path).map(|_| Did::Updated)
}

/// The alias points to one index: the one that it pointed to before, else this one.
async fn alias_of(elastic: &Http, index: &str, alias: &str) -> Result<Did, Failure> {
    if elastic.find(&["_alias", alias]).await?.is_some() {
        return Ok(Did::Nothing);
    }
    let path = [index, "_alias", alias];
    let answer = elastic.send(Method::PUT, &path, None).await?;
    elastic.success(answer, &path).map(|_| Did::Created)
}
