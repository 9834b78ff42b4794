//! The names of all settings.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use figment::value::{Dict, Value};
use millrace_ops::config::Config;
use millrace_ops::known;

use super::renamed::{Renamed, by_old_name};

/// Every setting with its default. A dictionary is a setting with free entries.
static SETTINGS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let mut settings = BTreeMap::new();
    if let Ok(Value::Dict(_, defaults)) = Value::serialize(Config::default()) {
        collect("", defaults, &mut settings);
    }
    settings
});

fn collect(parent: &str, dict: Dict, settings: &mut BTreeMap<String, Value>) {
    for (key, value) in dict {
        let name = below(parent, &key);
        match value {
            Value::Dict(_, children) if !children.is_empty() => collect(&name, children, settings),
            leaf => {
                settings.insert(name, leaf);
            }
        }
    }
}

/// The meaning of a name in a source.
pub(super) enum Meaning {
    /// A setting.
    Setting,
    /// An entry of a setting that has entries: the setting, and the entry.
    Entry(&'static str, String),
    /// A setting by its former name.
    Old(&'static Renamed),
}

/// The names of all settings, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    SETTINGS.keys().map(String::as_str)
}

/// The meaning of a name; `None` when there is no such setting.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    if SETTINGS.contains_key(name) {
        return Some(Meaning::Setting);
    }
    if let Some(renamed) = by_old_name(name) {
        return Some(Meaning::Old(renamed));
    }
    let with_entries = SETTINGS.iter().filter(|(_, default)| has_entries(default));
    let mut entries = with_entries.filter_map(|(setting, _)| {
        let entry = name.strip_prefix(setting)?.strip_prefix('.')?;
        Some(Meaning::Entry(setting, entry.to_owned()))
    });
    entries.next()
}

/// Whether a setting has free entries.
pub(super) fn is_with_entries(name: &str) -> bool {
    SETTINGS.get(name).is_some_and(has_entries)
}

/// Entries whose names have dots, from tables within tables: TOML reads `sasl.password = "…"` as such.
pub(super) fn flat(entries: Dict) -> Dict {
    let mut flat = Dict::new();
    for (key, value) in entries {
        match value {
            Value::Dict(_, inner) => {
                flat.extend(self::flat(inner).into_iter().map(|(rest, value)| (below(&key, &rest), value)));
            }
            value => {
                flat.insert(key, value);
            }
        }
    }
    flat
}

fn has_entries(default: &Value) -> bool {
    default.as_dict().is_some()
}

/// Whether a name is a component, such as `kafka`.
pub(super) fn is_component(name: &str) -> bool {
    names().any(|setting| setting.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The name of a setting in a component.
pub(super) fn below(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// Converts a text to a setting's value: a text setting keeps it (the password `007` is not a number), any other is parsed.
pub(super) fn value(name: &str, text: &str) -> Value {
    match SETTINGS.get(name) {
        Some(Value::String(..) | Value::Empty(..)) => Value::from(text),
        Some(Value::Array(..)) if is_plain_list(text) => Value::from(parts(text)),
        Some(_) => read(text),
        // An entry, which is a list or text.
        None if text.starts_with('[') => read(text),
        None => Value::from(text),
    }
}

/// Whether a list is written as in a shell, without brackets and quotes.
fn is_plain_list(text: &str) -> bool {
    !text.starts_with('[') && !text.contains('"')
}

fn parts(text: &str) -> Vec<Value> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Value::from).collect()
}

/// Parses a text as a TOML value.
pub(super) fn read(text: &str) -> Value {
    match text.parse() {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// The error for an unknown name.
pub(super) fn unknown(name: &str) -> String {
    let names: Vec<&str> = names().collect();
    let meant = known::closest(name, &names).map(|meant| format!(": did you mean `{meant}`?"));
    let meant = meant.unwrap_or_else(|| "; `millrace config show` lists all".to_owned());
    format!("there is no setting `{name}`{meant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_after_their_component() {
        let names: Vec<&str> = names().collect();
        for name in ["namespace", "kafka.brokers", "kafka.properties", "postgres.write.url", "payment.url"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert!(is_component("postgres.write") && is_component("sagas") && !is_component("kafka.properties"));
    }

    #[test]
    fn a_name_that_no_setting_has_is_answered_with_the_nearest() {
        assert!(unknown("kafka.broker").contains("did you mean `kafka.brokers`?"));
        assert!(unknown("session_timeout").contains("did you mean `kafka.session_timeout`?"));
        assert!(unknown("xyzzy").contains("`millrace config show` lists all"));
    }
}
