//! Settings from environment variables.

use super::given::Given;
use super::names::meaning;
use super::origin::{Origin, PREFIX, SEPARATOR};

/// Variables without prefix, whose names are common among tools.
pub(super) const WELL_KNOWN: [(&str, &str); 8] = [
    ("KAFKA_BROKERS", "kafka.brokers"),
    ("WRITE_DATABASE_URL", "postgres.write.url"),
    ("READ_DATABASE_URL", "postgres.read.url"),
    ("WRITE_DATABASE_PASSWORD_FILE", "postgres.write.password_file"),
    ("READ_DATABASE_PASSWORD_FILE", "postgres.read.password_file"),
    ("ELASTICSEARCH_URL", "elasticsearch.url"),
    ("SCHEMA_REGISTRY_URL", "registry.url"),
    ("CONNECT_URL", "connect.url"),
];

/// The settings of well-known variables.
///
/// # Errors
/// As [`Given::of_text`].
pub(super) fn well_known(environment: &[(String, String)]) -> Result<Vec<Given>, String> {
    let settings = environment.iter().filter_map(|(variable, text)| {
        let (_, setting) = WELL_KNOWN.iter().find(|(name, _)| name == variable)?;
        Some(Given::of_text(setting, text, Origin::Environment(variable.clone())))
    });
    settings.collect()
}

/// The settings of variables with the prefix; they override the well-known ones.
///
/// # Errors
/// When a variable with a component, such as `MILLRACE_KAFKA__BROKER`, names no setting. Variables with the prefix and without a
/// component are ignored: other programs use them, too (`scripts/stack`).
pub(super) fn prefixed(environment: &[(String, String)]) -> Result<Vec<Given>, String> {
    let settings = environment.iter().filter_map(|(variable, text)| {
        let name = variable.strip_prefix(PREFIX)?;
        let setting = name.to_lowercase().replace(SEPARATOR, ".");
        let ours = name.contains(SEPARATOR) || meaning(&setting).is_some();
        ours.then(|| Given::of_text(&setting, text, Origin::Environment(variable.clone())))
    });
    settings.collect()
}
