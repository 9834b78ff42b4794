//! The contract in the schema registry.

use anyhow::{Context as _, Result};
use millrace_schemas::Definition;
use reqwest::Method;
use serde_json::{Value, json};

use crate::Stack;

/// The registry's id of this build's schema of a record type; other producers may have registered later versions.
///
/// # Errors
/// When there is none, since `millrace setup` has not run.
pub async fn schema_id(stack: &Stack, definition: &Definition) -> Result<u32> {
    let schema = json!({"schemaType": "AVRO", "schema": definition.avsc});
    let path = format!("subjects/{}", definition.full_name);
    let found = stack.registry(Method::POST, &path, Some(&schema)).await?;
    let id = found.get("id").and_then(Value::as_u64).context("the registry gives no id")?;
    Ok(u32::try_from(id)?)
}
