//! `millrace config`: the values in force, and where each comes from.

use clap::Args;
use millrace_ops::failure::Failure;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::names::{below, is_component, names, unknown};
use super::{Loaded, Origin};
use crate::output::{self, Format, Table};

/// Options of `config show`.
#[derive(Debug, Args)]
pub struct Options {
    /// Only these settings or components, such as kafka or postgres.write.url
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Only settings that differ from the default
    #[arg(long)]
    pub changed: bool,
}

/// A setting, or an entry of one.
pub(super) struct Row {
    pub(super) name: String,
    value: Value,
    pub(super) origin: Origin,
}

/// A setting in force.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Setting<'r> {
    /// Its name, such as `kafka.brokers`; of an entry with its key.
    setting: &'r str,
    /// Its value, as in the TOML file; secrets are not shown.
    value: &'r Value,
    /// Where the value comes from: `default`, `file`, `environment` or `flag`.
    origin: &'static str,
    /// The line of the file, the variable or the flag; `null` for a default.
    place: Option<&'r str>,
}

/// Prints the requested settings.
///
/// # Errors
/// [`Failure::Usage`] for an unknown name.
pub fn show(loaded: &Loaded, format: Format, options: &Options) -> Result<(), Failure> {
    refuse_unknown(&options.names)?;
    let asked = |row: &Row| options.names.is_empty() || options.names.iter().any(|name| row.is_of(name));
    let changed = |row: &Row| !options.changed || row.origin != Origin::Default;
    let rows: Vec<Row> = rows(loaded)?.into_iter().filter(|row| asked(row) && changed(row)).collect();
    output::print(format, &table(&rows), &rows.iter().map(Row::document).collect::<Vec<_>>())
}

/// Refuses what is neither a setting nor a component.
pub(super) fn refuse_unknown(asked: &[String]) -> Result<(), Failure> {
    match asked.iter().find(|name| !is_component(name) && !names().any(|setting| setting == **name)) {
        Some(name) => Err(Failure::usage(unknown(name))),
        None => Ok(()),
    }
}

/// Every setting in force.
pub(super) fn rows(loaded: &Loaded) -> Result<Vec<Row>, Failure> {
    let values = serde_json::to_value(&loaded.config);
    let values = values.map_err(|error| Failure::refused("the configuration").caused_by(error))?;
    let mut rows = Vec::new();
    collect(loaded, "", values, &mut rows);
    Ok(rows)
}

fn collect(loaded: &Loaded, name: &str, value: Value, rows: &mut Vec<Row>) {
    let setting = names().any(|setting| setting == name);
    match value {
        Value::Object(children) if !setting => {
            children.into_iter().for_each(|(key, value)| collect(loaded, &below(name, &key), value, rows));
        }
        Value::Object(entries) if !entries.is_empty() => {
            rows.extend(entries.into_iter().map(|(key, value)| Row {
                name: below(name, &key),
                value,
                origin: loaded.origin(name, Some(&key)),
            }))
        }
        value => rows.push(Row { name: name.to_owned(), value, origin: loaded.origin(name, None) }),
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new(&["setting", "value", "from"]);
    rows.iter().for_each(|row| table.row([row.name.clone(), row.text(), row.origin.to_string()]));
    table.render()
}

impl Row {
    /// Whether the row is this setting, or belongs to this component.
    fn is_of(&self, name: &str) -> bool {
        self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    pub(super) fn text(&self) -> String {
        match &self.value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    pub(super) fn document(&self) -> Setting<'_> {
        let Self { name, value, origin } = self;
        Setting { setting: name, value, origin: origin.kind(), place: origin.place() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Global;

    fn shown(set: &[&str], environment: &[(&str, &str)]) -> String {
        let set = set.iter().map(ToString::to_string).collect();
        let environment: Vec<_> =
            environment.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        let loaded = Loaded::from(&Global { set, ..Global::default() }, &environment).unwrap();
        table(&rows(&loaded).unwrap())
    }

    fn line<'s>(shown: &'s str, name: &str) -> Vec<&'s str> {
        let mut lines = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.find(|words| words[0] == name).unwrap_or_else(|| panic!("{name} in {shown}"))
    }

    #[test]
    fn every_setting_is_shown_with_its_value_and_where_it_comes_from() {
        let shown = shown(
            &["kafka.session_timeout=90s", "sagas.timers.fulfilment.deadline=3s"],
            &[("KAFKA_BROKERS", "k:1"), ("MILLRACE_TOPICS__PARTITIONS", "8")],
        );
        for name in names() {
            assert!(shown.contains(&format!("\n{name}")), "{name} in {shown}");
        }
        for expected in [
            ["kafka.brokers", "k:1", "environment", "KAFKA_BROKERS"].as_slice(),
            &["topics.partitions", "8", "environment", "MILLRACE_TOPICS__PARTITIONS"],
            &["kafka.session_timeout", "1m", "30s", "flag", "--set", "kafka.session_timeout"],
            &["kafka.heartbeat_interval", "3s", "default"],
            &["sagas.timers.fulfilment.deadline", "3s", "flag", "--set", "sagas.timers.fulfilment.deadline"],
            &["processing.buffer", "40MiB", "default"],
            &["mail.url", "-", "default"],
        ] {
            assert_eq!(line(&shown, expected[0]), expected);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = shown(
            &["kafka.properties.sasl.password=314159", "payment.token=271828"],
            &[
                ("READ_DATABASE_URL", "postgres://u:hunter2@db/r?password=hunter2"),
                ("MILLRACE_MAIL__URL", "smtps://u:hunter2@mail"),
                ("MILLRACE_PAYMENT__WEBHOOK_SECRET", "hunter2"),
                ("MILLRACE_CONNECT__DATABASE_PASSWORD", "hunter2"),
                ("MILLRACE_VENDOR__TOKEN", "hunter2"),
            ],
        );
        for secret in ["314159", "271828", "hunter2"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        assert_eq!(line(&shown, "kafka.properties.sasl.password")[1], "***");
        assert_eq!(line(&shown, "postgres.read.url")[1], "postgres://u:***@db/r");
    }
}
