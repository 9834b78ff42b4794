//! What all spans of a process have in common.

use millrace_engine::spans::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use percent_encoding::percent_decode_str;

use super::convert::attribute;
use crate::config::Config;

/// Further attributes, as all programs with OpenTelemetry take them: `key=value,key=value`.
const GIVEN: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// The process, and what the environment adds to it.
pub(super) fn resource(config: &Config) -> Resource {
    let own: [(&str, Value); 5] = [
        ("service.name", "millrace".into()),
        ("service.namespace", config.namespace.to_string().as_str().into()),
        ("service.version", env!("CARGO_PKG_VERSION").into()),
        ("service.instance.id", uuid::Uuid::now_v7().to_string().as_str().into()),
        ("process.pid", i64::from(std::process::id()).into()),
    ];
    let given = given(&std::env::var(GIVEN).unwrap_or_default());
    let further = given.iter().filter(|(name, _)| own.iter().all(|(known, _)| known != name));
    let further: Vec<_> = further.map(|(name, value)| attribute(name, value.as_str().into())).collect();
    let own = own.into_iter().map(|(name, value)| attribute(name, value));
    Resource { attributes: own.chain(further).collect(), ..Resource::default() }
}

/// Values are percent-encoded; what is no pair is left out.
fn given(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8_lossy().into_owned();
        Some((name.trim().to_owned(), value))
    };
    text.split(',').filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_adds_pairs_and_nothing_else() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let found = given("deployment.environment=test, host = a%2Cb ,nothing,");
        assert_eq!(found, [pair("deployment.environment", "test"), pair("host", "a,b")]);
        assert_eq!(given(""), []);
    }
}
