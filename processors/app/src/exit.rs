//! The end of a command that failed: its exit code, and the failure as JSON.

use std::process::ExitCode;

use millrace_ops::failure::Failure;
use serde_json::{Value, json};

use crate::output::{self, Format};

/// Prints a failure to standard error, as text or as one line of JSON (docs/failure.schema.json); returns the exit code.
pub(crate) fn failed(format: Format, failure: &Failure) -> ExitCode {
    output::say(&match format {
        Format::Text => format!("millrace: {failure}"),
        Format::Json => as_json(failure).to_string(),
    });
    ExitCode::from(ended(failure).1)
}

fn as_json(failure: &Failure) -> Value {
    let (kind, code) = ended(failure);
    let mut error = json!({"kind": kind, "exit_code": code, "message": failure.to_string()});
    if let (Failure::Unreachable { service, .. }, Some(error)) = (failure, error.as_object_mut()) {
        error.insert("component".to_owned(), service.setting().into());
    }
    json!({ "error": error })
}

/// The kind of a failure and its exit code. 1: something was refused, or another process is doing it; 2: the command line or the
/// configuration is wrong; 3: a dependency does not answer; 4: not found; 5: stored data is wrong;
/// 6: something is missing or blocked; 7: no process works; 8: a lag is beyond what was asked for.
fn ended(failure: &Failure) -> (&'static str, u8) {
    match failure {
        Failure::Refused(_) => ("refused", 1),
        Failure::Busy(_) => ("busy", 1),
        Failure::Usage(_) => ("usage", 2),
        Failure::Unreachable { .. } => ("unreachable", 3),
        Failure::NotFound(_) => ("not-found", 4),
        Failure::Drift(_) => ("drift", 5),
        Failure::Blocked(_) => ("blocked", 6),
        Failure::Idle(_) => ("idle", 7),
        Failure::Behind(_) => ("behind", 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_ops::failure::Service;

    const SCHEMA: &str = include_str!("../../../docs/failure.schema.json");

    fn each() -> [Failure; 9] {
        [
            Failure::refused("the line is empty"),
            Failure::Busy("another process verifies".to_owned()),
            Failure::usage("kafka.brokers is empty"),
            Failure::unreachable(Service::WriteDatabase, "postgres://db", "refused"),
            Failure::NotFound("there is no order 7".to_owned()),
            Failure::Drift("a row differs".to_owned()),
            Failure::Blocked("a key is blocked".to_owned()),
            Failure::Idle("no process works".to_owned()),
            Failure::Behind("orders is behind".to_owned()),
        ]
    }

    #[test]
    fn each_failure_is_as_its_schema_says() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let of =
            |name: &str| schema.pointer(&format!("/properties/error/properties/{name}")).unwrap().clone();
        let (kinds, codes, components) = (of("kind"), of("exit_code"), of("component"));
        let listed = |list: &Value, one: &Value| list["enum"].as_array().unwrap().contains(one);
        for failure in each() {
            let error = as_json(&failure)["error"].clone();
            assert!(listed(&kinds, &error["kind"]) && listed(&codes, &error["exit_code"]), "{error}");
            assert_eq!(error["message"], failure.to_string());
            assert_eq!(error.get("component").is_some(), error["kind"] == "unreachable", "{error}");
            assert!(error.get("component").is_none_or(|name| listed(&components, name)), "{error}");
        }
        assert_eq!(kinds["enum"].as_array().unwrap().len(), each().len());
    }
}
