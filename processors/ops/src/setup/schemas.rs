//! The contract in the schema registry: one subject for each record type, named like it.
//!
//! Subjects do not include the namespace: record types are the same for all instances that share the registry.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use millrace_schemas::{DEFINITIONS, Definition};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::steps::{Did, Steps};
use crate::config::Config;
use crate::failure::Failure;
use crate::http::{self, Http};

const COMPATIBILITY: &str = "BACKWARD_TRANSITIVE";

/// Concurrent requests to the registry.
const AT_ONCE: usize = 8;

/// Registers the record types of the instance's contexts. All are checked before the first is registered.
pub(super) async fn register(config: &Config, steps: &mut Steps<'_>) -> Result<(), Failure> {
    let registry = Http::registry(&config.registry)?;
    let ours = |definition: &&Definition| definition.context.is_empty() || config.has(definition.context);
    let definitions: Vec<&Definition> = DEFINITIONS.iter().filter(ours).collect();
    let dry = steps.dry;
    let checks = definitions.iter().map(|definition| checked(&registry, definition, dry));
    let found: Vec<Subject> = stream::iter(checks).buffered(AT_ONCE).try_collect().await?;
    let settled =
        definitions.iter().zip(&found).map(|(definition, state)| settle(&registry, definition, state, dry));
    let mut settled = stream::iter(settled).buffered(AT_ONCE);
    for definition in &definitions {
        let Some(did) = settled.try_next().await? else { break };
        steps.report(did, "schema", definition.full_name)?;
    }
    Ok(())
}

/// The registry's versions of a record type; refused when this build's schema is not compatible.
async fn checked(registry: &Http, definition: &Definition, dry: bool) -> Result<Subject, Failure> {
    let state = Subject::find(registry, definition).await?;
    if state == Subject::Older && !dry {
        protect(registry, definition).await?;
        refuse_incompatible(registry, definition).await?;
    }
    Ok(state)
}

/// The registry's versions of a record type.
#[derive(Debug, PartialEq, Eq)]
enum Subject {
    /// Nothing.
    New,
    /// Other versions only.
    Older,
    /// This very schema.
    Same,
}

impl Subject {
    async fn find(registry: &Http, definition: &Definition) -> Result<Self, Failure> {
        let path = ["subjects", definition.full_name];
        let answer = registry.send(Method::POST, &path, Some(&schema(definition))).await?;
        if answer.status.is_success() {
            return Ok(Subject::Same);
        }
        if answer.status != StatusCode::NOT_FOUND {
            return answer.success().map(|_| Subject::Same);
        }
        let versions = registry.find(&["subjects", definition.full_name, "versions"]).await?;
        Ok(if versions.is_some() { Subject::Older } else { Subject::New })
    }
}

fn schema(definition: &Definition) -> Value {
    json!({"schemaType": "AVRO", "schema": definition.avsc})
}

async fn settle(
    registry: &Http,
    definition: &Definition,
    state: &Subject,
    dry: bool,
) -> Result<Did, Failure> {
    if *state != Subject::Same && !dry {
        add_version(registry, definition).await?;
    }
    let protected = match dry {
        true => !protected(registry, definition).await?,
        false => protect(registry, definition).await?,
    };
    Ok(match state {
        Subject::New => Did::Created,
        Subject::Older => Did::Updated,
        Subject::Same if protected => Did::Updated,
        Subject::Same => Did::Nothing,
    })
}

/// Sets the subject's compatibility; returns whether it was changed.
async fn protect(registry: &Http, definition: &Definition) -> Result<bool, Failure> {
    if protected(registry, definition).await? {
        return Ok(false);
    }
    let path = ["config", definition.full_name];
    let answer = registry.send(Method::PUT, &path, Some(&json!({"compatibility": COMPATIBILITY}))).await?;
    // It may be refused because another setup did the same at this moment.
    if !answer.status.is_success() && protected(registry, definition).await? {
        return Ok(false);
    }
    answer.success().map(|_| true)
}

async fn protected(registry: &Http, definition: &Definition) -> Result<bool, Failure> {
    let now = registry.find(&["config", definition.full_name]).await?;
    Ok(now.as_ref().and_then(|now| now.get("compatibilityLevel")) == Some(&Value::from(COMPATIBILITY)))
}

async fn add_version(registry: &Http, definition: &Definition) -> Result<(), Failure> {
    let path = ["subjects", definition.full_name, "versions"];
    let answer = registry.send(Method::POST, &path, Some(&schema(definition))).await?;
    // It may be refused because another setup did the same at this moment.
    if !answer.status.is_success() && Subject::find(registry, definition).await? == Subject::Same {
        return Ok(());
    }
    if answer.status == StatusCode::CONFLICT {
        return Err(incompatible(definition, &http::reason(&answer.body)));
    }
    answer.success().map(|_| ())
}

async fn refuse_incompatible(registry: &Http, definition: &Definition) -> Result<(), Failure> {
    let path = ["compatibility", "subjects", definition.full_name, "versions"];
    let answer = registry.send(Method::POST, &path, Some(&schema(definition))).await?;
    let verdict = answer.success()?;
    match verdict.get("is_compatible") {
        // Not every registry gives the reason here; each does when the version is refused.
        Some(Value::Bool(false)) => add_version(registry, definition).await,
        _ => Ok(()),
    }
}

fn incompatible(definition: &Definition, reason: &str) -> Failure {
    Failure::refused(format!(
        "the registry refuses the schema of `{}`, because readers of today could not read what was written before: {reason}\n\
         Give new fields a default and leave old ones as they are, or make a new record type.",
        definition.full_name
    ))
}
