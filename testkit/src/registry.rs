//! What the schema registry knows of the contract.

use anyhow::{Context as _, Result};
use millrace_schemas::Definition;
use reqwest::Method;
use serde_json::{Value, json};

use crate::Stack;

/// The id that the registry has given to this build's schema of a record type; others may have registered later versions.
///
/// # Errors
/// When it has given none: `millrace setup` has not run.
pub async fn schema_id(stack: &Stack, definition: &Definition) -> Result<u32> {
    let schema = json!({"schemaType": "AVRO", "schema": definition.avsc});
    let path = format!("subjects/{}", definition.full_name);
    let found = stack.registry(Method::POST, &path, Some(&schema)).await?;
    let id = found.get("id").and_then(Value::as_u64).context("the registry gives no id")?;
    Ok(u32::try_from(id)?)
}
