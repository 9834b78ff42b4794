//! Index templates, indices and aliases in Elasticsearch.

use elasticsearch::indices::{
    IndicesCreateParts, IndicesDeleteParts, IndicesGetAliasParts, IndicesGetIndexTemplateParts,
    IndicesGetMappingParts, IndicesPutIndexTemplateParts, IndicesPutMappingParts, IndicesRefreshParts,
};
use futures::future::try_join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::steps::{Did, Steps};
use crate::config::Config;
use crate::elastic::Client;
use crate::failure::Failure;
use crate::layout::{self, ReadModel};
use crate::observed::documents::{self, OPERATIONS};
use crate::replay::generations::{Generation, State};

/// Creates the indices of all live published generations, and points the aliases at the serving ones.
pub(super) async fn create(
    config: &Config,
    live: &[Generation],
    steps: &mut Steps<'_>,
) -> Result<(), Failure> {
    let (models, elastic) = (layout::read_models(config), Client::new(&config.elasticsearch)?);
    let dry = steps.dry;
    let done = try_join_all(models.iter().map(|model| create_of(config, &elastic, model, live, dry))).await?;
    let operations = create_operations(config, &elastic, dry).await?;
    done.iter().flatten().chain(&operations).try_for_each(|(did, what, name)| steps.report(*did, what, name))
}

type Done = Vec<(Did, &'static str, String)>;

/// Creates the index of the namespace's figures, of which there is one generation: its documents are replaced all the time.
async fn create_operations(config: &Config, elastic: &Client, dry: bool) -> Result<Done, Failure> {
    if config.metrics.documents().is_none() {
        return Ok(Vec::new());
    }
    let (alias, index) = (config.namespace.index_alias(OPERATIONS), config.namespace.index(OPERATIONS, 1));
    let mappings = mappings(&alias, documents::MAPPING)?;
    let mapped = Mapped { elastic: elastic.clone(), alias, mappings, dry };
    let template = mapped.template(config).await?;
    let created = mapped.index(&index).await?;
    let pointed = mapped.point_alias(&index).await?;
    let Mapped { alias, .. } = mapped;
    Ok(vec![
        (template, "index template", alias.clone()),
        (created, "index", index),
        (pointed, "alias", alias),
    ])
}

/// Creates the indices of one read model.
async fn create_of(
    config: &Config,
    elastic: &Client,
    model: &ReadModel,
    live: &[Generation],
    dry: bool,
) -> Result<Done, Failure> {
    let Some(mapped) = Mapped::of(config, elastic, model, dry)? else { return Ok(Vec::new()) };
    // Generations of another shape are handled by another build.
    let ours = live.iter().filter(|one| one.view == model.name && one.is_of(&model.shape));
    let ours: Vec<&Generation> = ours.collect();
    if ours.is_empty() {
        return Ok(Vec::new());
    }
    let mut done = vec![(mapped.template(config).await?, "index template", mapped.alias.clone())];
    for generation in ours {
        let index = config.namespace.index(model.name, generation.generation);
        done.push((mapped.index(&index).await?, "index", index.clone()));
        if generation.state == State::Serving {
            done.push((mapped.point_alias(&index).await?, "alias", mapped.alias.clone()));
        }
    }
    Ok(done)
}

/// Creates the index of a view's generation, with the mapping of this build, if it does not exist.
pub async fn ensure(config: &Config, model: &ReadModel, generation: i32) -> Result<(), Failure> {
    let elastic = Client::new(&config.elasticsearch)?;
    let Some(mapped) = Mapped::of(config, &elastic, model, false)? else { return Ok(()) };
    mapped.template(config).await?;
    mapped.index(&config.namespace.index(model.name, generation)).await.map(|_| ())
}

/// Points the alias at this generation. Its index may be missing when it is of another shape: that release does not publish the
/// view.
///
/// # Errors
/// [`Failure::Refused`] when the index of a generation of this build's shape is missing; [`Failure::Unreachable`].
pub async fn point_alias(config: &Config, model: &ReadModel, to: &Generation) -> Result<(), Failure> {
    let elastic = Client::new(&config.elasticsearch)?;
    let Some(mapped) = Mapped::of(config, &elastic, model, false)? else { return Ok(()) };
    let index = config.namespace.index(model.name, to.generation);
    if !to.is_of(&model.shape) && mapping_of(&elastic, &index).await?.is_none() {
        return Ok(());
    }
    mapped.point_alias(&index).await.map(|_| ())
}

/// Refreshes the index of a generation, if it exists: searches then find all that was acknowledged.
///
/// # Errors
/// [`Failure`], when Elasticsearch does not answer, or refuses.
pub async fn refresh(config: &Config, model: &ReadModel, generation: i32) -> Result<(), Failure> {
    let elastic = Client::new(&config.elasticsearch)?;
    let Some(mapped) = Mapped::of(config, &elastic, model, false)? else { return Ok(()) };
    mapped.refresh(&config.namespace.index(model.name, generation)).await
}

/// Removes the index of a generation, if it exists.
pub async fn remove(config: &Config, model: &ReadModel, generation: i32) -> Result<(), Failure> {
    let elastic = Client::new(&config.elasticsearch)?;
    let Some(mapped) = Mapped::of(config, &elastic, model, false)? else { return Ok(()) };
    let index = config.namespace.index(model.name, generation);
    let index = [index.as_str()];
    let deleted = mapped.elastic.send(|client| async move {
        client.indices().delete(IndicesDeleteParts::Index(&index)).send().await
    });
    deleted.await?.found().map(|_| ())
}

/// A read model that is in Elasticsearch.
struct Mapped {
    elastic: Client,
    alias: String,
    mappings: Value,
    /// Nothing is changed.
    dry: bool,
}

impl Mapped {
    fn of(config: &Config, elastic: &Client, model: &ReadModel, dry: bool) -> Result<Option<Self>, Failure> {
        let Some(properties) = &model.mapping else { return Ok(None) };
        let alias = config.namespace.index_alias(model.name);
        let mappings = mappings(&alias, properties)?;
        Ok(Some(Self { elastic: elastic.clone(), alias, mappings, dry }))
    }

    async fn template(&self, config: &Config) -> Result<Did, Failure> {
        template(self, config).await
    }

    async fn index(&self, index: &str) -> Result<Did, Failure> {
        index_of(self, index).await
    }

    async fn refresh(&self, index: &str) -> Result<(), Failure> {
        let index = [index];
        let refreshed = self.elastic.send(|client| async move {
            client.indices().refresh(IndicesRefreshParts::Index(&index)).send().await
        });
        refreshed.await?.found().map(|_| ())
    }

    /// Points the alias at one index; a change is atomic. It is refreshed, since readers would find earlier documents.
    async fn point_alias(&self, index: &str) -> Result<Did, Failure> {
        let found = self.elastic.send(|client| async move {
            client.indices().get_alias(IndicesGetAliasParts::Name(&[&self.alias])).send().await
        });
        let found = found.await?.found()?;
        let before: Vec<&str> =
            found.iter().filter_map(Value::as_object).flatten().map(|(name, _)| name.as_str()).collect();
        if before == [index] {
            return Ok(Did::Nothing);
        }
        let did = if before.is_empty() { Did::Created } else { Did::Updated };
        if self.dry {
            return Ok(did);
        }
        self.refresh(index).await?;
        let action = |what: &str, index: &str| json!({what: {"index": index, "alias": self.alias}});
        let old = before.iter().filter(|name| **name != index).map(|name| action("remove", name));
        let actions: Vec<Value> = old.chain([action("add", index)]).collect();
        let body = &json!({"actions": actions});
        let pointed = self
            .elastic
            .send(|client| async move { client.indices().update_aliases().body(body).send().await });
        pointed.await?.success().map(|_| did)
    }
}

/// Strict mappings that include their fingerprint, so that a change is detected.
fn mappings(alias: &str, properties: &str) -> Result<Value, Failure> {
    let properties: Value = serde_json::from_str(properties).map_err(|error| {
        Failure::refused(format!("the mapping of `{alias}` is not JSON")).caused_by(error)
    })?;
    let fingerprint = fingerprint(&properties);
    Ok(json!({"dynamic": "strict", "_meta": {"millrace": fingerprint}, "properties": properties}))
}

fn fingerprint(value: &Value) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, value.to_string().as_bytes()).to_string()
}

async fn template(mapped: &Mapped, config: &Config) -> Result<Did, Failure> {
    let Mapped { elastic, alias, mappings, dry } = mapped;
    let template = json!({
        "settings": {
            "number_of_shards": 1,
            "number_of_replicas": config.elasticsearch.replicas,
            "refresh_interval": config.elasticsearch.index_refresh_interval(),
            // Documents are only deleted by repairs, and a later write must not conflict with a deleted version.
            "gc_deletes": "0s",
        },
        "mappings": mappings,
    });
    let fingerprint = fingerprint(&template);
    let found = elastic.send(|client| async move {
        client.indices().get_index_template(IndicesGetIndexTemplateParts::Name(alias)).send().await
    });
    let found = found.await?.found()?;
    let before =
        found.as_ref().and_then(|found| found.pointer("/index_templates/0/index_template/_meta/millrace"));
    if before == Some(&Value::from(fingerprint.as_str())) {
        return Ok(Did::Nothing);
    }
    let did = if found.is_some() { Did::Updated } else { Did::Created };
    if *dry {
        return Ok(did);
    }
    let body = &json!({
        "index_patterns": [format!("{alias}-g*")], "priority": 500, "version": 1,
        "_meta": {"millrace": fingerprint}, "template": template,
    });
    let put = elastic.send(|client| async move {
        client.indices().put_index_template(IndicesPutIndexTemplateParts::Name(alias)).body(body).send().await
    });
    put.await?.success().map(|_| did)
}

/// Creates an index; an existing index with other mappings gets the new ones if Elasticsearch can add them.
async fn index_of(mapped: &Mapped, index: &str) -> Result<Did, Failure> {
    let Some(found) = mapping_of(&mapped.elastic, index).await? else {
        return create_index(mapped, index).await;
    };
    let meta = |mappings: &Value| mappings.pointer("/_meta/millrace").cloned();
    if found.get(index).and_then(|index| index.get("mappings")).and_then(meta) == meta(&mapped.mappings) {
        return Ok(Did::Nothing);
    }
    if mapped.dry {
        return Ok(Did::Updated);
    }
    let put = mapped.elastic.send(|client| async move {
        client
            .indices()
            .put_mapping(IndicesPutMappingParts::Index(&[index]))
            .body(&mapped.mappings)
            .send()
            .await
    });
    put.await?.success().map(|_| Did::Updated)
}

async fn create_index(Mapped { elastic, mappings, dry, .. }: &Mapped, index: &str) -> Result<Did, Failure> {
    if *dry {
        return Ok(Did::Created);
    }
    // The template may be that of an older build.
    let body = &json!({"mappings": mappings});
    let created = elastic.send(|client| async move {
        client.indices().create(IndicesCreateParts::Index(index)).body(body).send().await
    });
    let answer = created.await?;
    // It may be refused because another setup did the same at this moment.
    if !answer.status.is_success() && mapping_of(elastic, index).await?.is_some() {
        return Ok(Did::Nothing);
    }
    answer.success().map(|_| Did::Created)
}

async fn mapping_of(elastic: &Client, index: &str) -> Result<Option<Value>, Failure> {
    let found = elastic.send(|client| async move {
        client.indices().get_mapping(IndicesGetMappingParts::Index(&[index])).send().await
    });
    found.await?.found()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lucene's limit of a term is 32,766 bytes, at most four per character.
    const TERM_CHARACTERS_MAX: u64 = 32_766 / 4;

    fn check(path: &str, mapping: &Value) {
        let text = |field: &str| mapping.get(field).and_then(Value::as_str);
        if matches!(text("type"), Some("keyword" | "flattened")) {
            let most = mapping.get("ignore_above").and_then(Value::as_u64);
            assert!(most.is_some_and(|most| most <= TERM_CHARACTERS_MAX), "{path} has no ignore_above");
        }
        for (name, inner) in mapping.as_object().into_iter().flatten() {
            check(&format!("{path}.{name}"), inner);
        }
    }

    #[test]
    fn no_text_is_too_long_for_an_index() {
        for model in layout::read_models(&Config::default()) {
            let Some(mapping) = &model.mapping else { continue };
            check(model.name, &serde_json::from_str(mapping).unwrap());
        }
    }
}
