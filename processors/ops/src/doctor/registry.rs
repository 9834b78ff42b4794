//! The schema registry: its version, and whether it takes schemas.

use reqwest::Method;
use serde_json::Value;

use super::Finding;
use crate::config::Config;
use crate::failure::Failure;
use crate::http::Http;

const WRITABLE: &str = "curl -X PUT -H 'Content-Type: application/vnd.schemaregistry.v1+json' \
    -d '{\"mode\": \"READWRITE\"}' $SCHEMA_REGISTRY_URL/mode";
pub(super) const PART: &str = "registry";

pub(super) async fn check(config: &Config) -> Result<Vec<Finding>, Failure> {
    let registry = Http::registry(&config.registry)?;
    registry.send(Method::GET, &["schemas", "types"], None).await?.success()?;
    // Not every registry has these, or shows them to each client.
    let version = registry.find(&["v1", "metadata", "version"]).await.ok().flatten();
    let mode = registry.find(&["mode"]).await.ok().flatten();
    Ok(vec![of_version(version.as_ref()), of_mode(mode.as_ref())])
}

fn text<'v>(value: Option<&'v Value>, field: &str) -> Option<&'v str> {
    value.and_then(|value| value.get(field)).and_then(Value::as_str)
}

fn of_version(about: Option<&Value>) -> Finding {
    match text(about, "version") {
        Some(version) => Finding::fine(PART, format!("version {version}")),
        None => Finding::fine(PART, "it answers, and does not tell its version"),
    }
}

/// In any other mode `setup` and producers can register nothing.
fn of_mode(mode: Option<&Value>) -> Finding {
    match text(mode, "mode") {
        None | Some("READWRITE") => Finding::fine(PART, "it takes schemas"),
        Some(mode) => {
            let what = format!("it is in the mode {mode}: no schema can be registered");
            Finding::wrong(PART, what, WRITABLE)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Level;
    use super::*;

    #[test]
    fn a_registry_that_takes_no_schemas_is_wrong_and_one_without_version_or_modes_is_fine() {
        assert_eq!(of_version(Some(&json!({"version": "8.1.0"}))).what, "version 8.1.0");
        assert_eq!((of_version(None).level, of_mode(None).level), (Level::Fine, Level::Fine));
        assert_eq!(of_mode(Some(&json!({"mode": "READWRITE"}))).level, Level::Fine);
        assert_eq!(of_mode(Some(&json!({"mode": "READONLY"}))).level, Level::Wrong);
    }
}
