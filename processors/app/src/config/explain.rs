//! `millrace config explain`: what settings mean, from their page.

use clap::Args;
use millrace_ops::failure::Failure;
use schemars::JsonSchema;
use serde::Serialize;

use super::loaded::Loaded;
use super::show::{Row, Setting, refuse_unknown, rows};
use super::variable;
use crate::output::{self, Format};

/// A test keeps it as the code is.
const PAGE: &str = include_str!("../../../../docs/configuration.md");

/// Options of `config explain`.
#[derive(Debug, Args)]
pub struct Options {
    /// Settings or components, such as kafka.session_timeout or audit
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// What the page says of a setting.
struct Explained<'p> {
    name: &'p str,
    default: &'p str,
    meaning: String,
}

/// What a setting means.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SettingExplained")]
pub(crate) struct Explanation<'r> {
    /// Its name.
    setting: &'r str,
    /// What it means, for people.
    meaning: &'r str,
    /// Its default as in TOML, without quotes; empty when there is none.
    default: &'r str,
    /// Its variable of the environment.
    variable: String,
    /// The value in force; of a setting with entries, each of them.
    values: Vec<Setting<'r>>,
}

/// Prints meaning, default and value of the settings.
///
/// # Errors
/// [`Failure::Usage`] for an unknown name.
pub fn explain(loaded: &Loaded, format: Format, options: &Options) -> Result<(), Failure> {
    refuse_unknown(&options.names)?;
    let rows = rows(loaded)?;
    let asked = |one: &Explained<'_>| options.names.iter().any(|name| is_of(one.name, name));
    let found: Vec<(Explained<'_>, Vec<&Row>)> = PAGE
        .lines()
        .filter_map(explained)
        .filter(asked)
        .map(|one| {
            let values = rows.iter().filter(|row| is_of(&row.name, one.name)).collect();
            (one, values)
        })
        .collect();
    let text: Vec<String> = found.iter().map(|(one, values)| text(one, values)).collect();
    let documents: Vec<_> = found.iter().map(|(one, values)| document(one, values)).collect();
    output::print(format, &text.join("\n"), &documents)
}

/// Whether a setting or an entry is this one, or belongs to it.
fn is_of(name: &str, of: &str) -> bool {
    name.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A row of a table of settings; the table of former names has no third column.
fn explained(line: &str) -> Option<Explained<'_>> {
    let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
    let (default, meaning) = rest.strip_suffix(" |")?.split_once(" | ").or_else(|| rest.split_once("| "))?;
    let default = default.trim().trim_matches('`').trim_matches('"');
    Some(Explained { name, default, meaning: meaning.trim_end_matches(" |").replace("\\|", "|") })
}

fn text(Explained { name, default, meaning }: &Explained<'_>, values: &[&Row]) -> String {
    let default = if default.is_empty() { "-" } else { default };
    let values = values.iter().map(|row| match row.name.strip_prefix(*name) {
        Some("") | None => format!("  value:   {}, from: {}\n", row.text(), row.origin),
        Some(entry) => format!("  value{entry}: {}, from: {}\n", row.text(), row.origin),
    });
    let (values, variable) = (values.collect::<String>(), variable(name));
    format!("{name}: {meaning}\n{values}  default: {default}\n  in the environment: {variable}\n")
}

fn document<'r>(
    Explained { name, default, meaning }: &'r Explained<'_>,
    values: &[&'r Row],
) -> Explanation<'r> {
    let values = values.iter().map(|row| row.document()).collect();
    Explanation { setting: name, meaning, default, variable: variable(name), values }
}

#[cfg(test)]
mod tests {
    use super::super::names::names;
    use super::*;
    use crate::config::Global;

    #[test]
    fn every_setting_is_explained_with_its_default_its_value_and_its_variable() {
        let all: Vec<Explained<'_>> = PAGE.lines().filter_map(explained).collect();
        let mut explained: Vec<&str> = all.iter().map(|one| one.name).collect();
        explained.sort_unstable();
        assert_eq!(explained, names().collect::<Vec<_>>());
        assert!(all.iter().all(|one| one.meaning.len() > 10), "a meaning is a sentence");
        let global = Global { set: vec!["kafka.session_timeout=50s".to_owned()], ..Global::default() };
        let rows = rows(&Loaded::from(&global, &[]).unwrap()).unwrap();
        let timeout = all.iter().find(|one| one.name == "kafka.session_timeout").unwrap();
        let row: Vec<&Row> = rows.iter().filter(|row| row.name == timeout.name).collect();
        let told = text(timeout, &row);
        for part in ["50s, from: flag", "default: 30s", "MILLRACE_KAFKA__SESSION_TIMEOUT", "heartbeat"] {
            assert!(told.contains(part), "{told}");
        }
    }
}
