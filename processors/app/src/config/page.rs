//! `docs/configuration.md` is generated from the structs.
//!
//! `MILLRACE_WRITE_PAGES=1 cargo test -p millrace --lib config::page` writes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millrace_ops::config::Config;

use super::names::{below, is_component, names};
use super::renamed::RENAMED;
use super::{environment, variable};

const AGAIN: &str = "MILLRACE_WRITE_PAGES=1 cargo test -p millrace --lib config::page";

const HEAD: &str = "\
For operators: every setting with its default and its meaning. `millrace config show` prints the values in force and where
each comes from; `millrace config check` checks whether `millrace run` could start with them.

- **Sources**, in order of precedence: a flag (`--set kafka.brokers=k1:9092`), the environment
  (`MILLRACE_KAFKA__BROKERS`, with `__` for each dot), the file (`--config FILE`, else `millrace.toml`), the default.
- **Durations** have units: `500ms`, `20s`, `5m`, `12h`, `30d`; **sizes** too: `512KiB`, `40MiB`.
- **Lists** are written `[\"1s\", \"10s\"]`; in a flag or a variable of the environment also `1s,10s`.
- **Entries** are written `{\"fulfilment.deadline\" = \"5m\"}`, or one at a time: `--set sagas.timers.fulfilment.deadline=5m`.
- **Secrets** are better in files than in variables; they are never printed.
";

const BEFORE: &str = "\
## Former names of settings

They still work, each with a warning; a later release removes them. Numbers under them have the unit that the name says;
`-1` of a retention is `forever`, `0` of `audit_every_s` is `never`.

| before | now |
|---|---|
";

/// The fields of a struct: name, type, doc comment.
type Fields = Vec<(String, String, String)>;

/// The fields of every struct of settings.
fn structs() -> BTreeMap<String, Fields> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/src/config");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut structs = BTreeMap::new();
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        read(&std::fs::read_to_string(file).unwrap(), &mut structs);
    }
    structs
}

/// The name and the type of a field, such as `pub brokers: String,`.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, kind) = line.strip_prefix("pub ")?.split_once(": ")?;
    (!name.contains(' ')).then_some((name, kind))
}

fn read(source: &str, structs: &mut BTreeMap<String, Fields>) {
    let (mut of, mut doc) = (String::new(), Vec::new());
    for line in source.lines() {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("///") {
            doc.push(text.trim().to_owned());
        } else if let Some(name) = line.strip_prefix("pub struct ") {
            of = name.split([' ', '(', ';']).next().unwrap().to_owned();
            doc.clear();
        } else if let Some((name, kind)) = field(line) {
            let field = (name.to_owned(), kind.trim_end_matches(',').to_owned(), doc.join(" "));
            structs.entry(of.clone()).or_default().push(field);
            doc.clear();
        } else if !line.starts_with("#[") {
            doc.clear();
        }
    }
}

/// The value of a setting by default, as TOML.
fn default(name: &str) -> String {
    let all = serde_json::to_value(Config::default()).unwrap();
    match all.pointer(&format!("/{}", name.replace('.', "/"))).unwrap() {
        serde_json::Value::Null => String::new(),
        value => format!("`{}`", value.to_string().replace("\",\"", "\", \"")),
    }
}

fn rows(structs: &BTreeMap<String, Fields>, parent: &str, of: &str, explained: &mut Vec<String>) -> String {
    let mut text = String::new();
    for (field, kind, doc) in &structs[of] {
        let name = below(parent, field);
        if is_component(&name) && !parent.is_empty() {
            text += &rows(structs, &name, kind, explained);
        } else if !is_component(&name) {
            let short = environment::WELL_KNOWN.iter().find(|(_, setting)| *setting == name);
            let short = short.map(|(variable, _)| format!(" `{variable}`.")).unwrap_or_default();
            text += &format!("| `{name}` | {} | {}{short} |\n", default(&name), doc.replace('|', "\\|"));
            explained.push(name);
        }
    }
    text
}

/// The page, and the settings that it explains.
fn page() -> (String, Vec<String>) {
    const TABLE: &str = "| setting | default | |\n|---|---|---|\n";
    let (structs, mut explained) = (structs(), Vec::new());
    let note = format!("Generated from `processors/ops/src/config/` by `{AGAIN}`.");
    let mut text = format!("# Configuration\n\n{HEAD}\n{note}\n\n## The instance\n\n{TABLE}");
    text += &rows(&structs, "", "Config", &mut explained);
    for (component, kind, doc) in structs["Config"].iter().filter(|(name, ..)| is_component(name)) {
        text += &format!("\n## `{component}`\n\n{doc}\n\n{TABLE}");
        text += &rows(&structs, component, kind, &mut explained);
    }
    let before = RENAMED.iter().map(|renamed| format!("| `{}` | `{}` |\n", renamed.old, renamed.new));
    text += &format!("\n{BEFORE}{}", before.collect::<String>());
    (text, explained)
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md")
}

#[test]
fn the_page_says_what_the_structs_say() {
    let (page, _) = page();
    if std::env::var_os("MILLRACE_WRITE_PAGES").is_some() {
        std::fs::write(file(), &page).unwrap();
    }
    assert!(std::fs::read_to_string(file()).is_ok_and(|found| found == page), "not up to date: {AGAIN}");
}

#[test]
fn the_page_explains_every_setting() {
    let (page, mut explained) = page();
    explained.sort_unstable();
    assert_eq!(explained, names().collect::<Vec<_>>());
    let lines = page.lines().filter(|line| line.starts_with("| `"));
    assert!(lines.clone().all(|line| !line.ends_with("|  |")), "{page}");
    assert_eq!(variable("postgres.write.url"), "MILLRACE_POSTGRES__WRITE__URL");
}
