//! Tests that the metrics, alerts and codes that `connectors/observability/` and `docs/operations/runbook.md` name exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const METRICS: &str = "docs/operations/metrics.md";
const RUNBOOK: &str = "docs/operations/runbook.md";
const RULES: &str = "connectors/observability/rules.yml";
const DASHBOARD: &str = "connectors/observability/dashboard.json";

/// Codes of wake-up copies only; no dead letter has them.
const OF_COPIES: [&str; 3] = ["next-in-order", "overdue", "redriven"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(workspace().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The words of a text that begin with the prefix of metrics.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("millrace_")).collect()
}

/// The rest of the lines that begin with `mark`.
fn behind<'t>(text: &'t str, mark: &str) -> BTreeSet<&'t str> {
    text.lines().filter_map(|line| line.trim().strip_prefix(mark)).map(str::trim).collect()
}

#[test]
fn every_metric_of_the_rules_and_the_dashboard_is_on_the_page() {
    let page = read(METRICS);
    let known = metrics_in(&page);
    for file in [RULES, DASHBOARD] {
        let text = read(file);
        let base = |name: &str| {
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            of_histogram.unwrap_or(name).to_owned()
        };
        let unknown: Vec<&str> = metrics_in(&text)
            .into_iter()
            .filter(|name| !known.contains(name) && !known.contains(base(name).as_str()))
            .collect();
        assert_eq!(unknown, Vec::<&str>::new(), "{file}");
    }
}

#[test]
fn every_alert_has_a_section_of_the_runbook_and_points_at_it() {
    let (rules, runbook) = (read(RULES), read(RUNBOOK));
    let alerts = behind(&rules, "- alert:");
    let sections: BTreeSet<&str> =
        behind(&runbook, "### ").into_iter().filter(|name| name.starts_with("Millrace")).collect();
    assert_eq!(sections, alerts);
    let anchors: BTreeSet<String> = alerts.iter().map(|alert| alert.to_lowercase()).collect();
    let pointed: BTreeSet<String> =
        behind(&rules, &format!("runbook: {RUNBOOK}#")).into_iter().map(str::to_owned).collect();
    assert_eq!(pointed, anchors);
}

#[test]
fn every_code_of_a_dead_letter_has_a_section_of_the_runbook() {
    let runbook = read(RUNBOOK);
    let sections: BTreeSet<String> =
        behind(&runbook, "### `").into_iter().map(|code| code.trim_end_matches('`').to_owned()).collect();
    assert_eq!(sections, codes());
}

#[test]
fn every_section_of_the_runbook_goes_from_the_symptom_to_prevention() {
    let runbook = read(RUNBOOK);
    for section in runbook.split("\n### ").skip(1) {
        let parts = behind(section, "- **");
        let named: BTreeSet<&str> =
            parts.iter().filter_map(|part| part.split_once(":**")).map(|(name, _)| name).collect();
        let wanted = ["Symptom", "Meaning", "Look", "Mend", "Check", "Prevent"];
        assert_eq!(named, wanted.into(), "{section}");
    }
}

/// The codes that the engine gives to faults.
fn codes() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["processors/engine/src", "processors/store/src"] {
        sources(&workspace().join(folder), &mut files);
    }
    let named: BTreeMap<String, String> = files.iter().flat_map(|text| constants(text)).collect();
    let mut codes: BTreeSet<String> = files.iter().flat_map(|text| given(text, &named)).collect();
    codes.extend(of_the_codec(&files));
    codes.insert(millrace_store::dead_letter::DOCUMENT_REFUSED.to_owned());
    codes.retain(|code| !OF_COPIES.contains(&code.as_str()));
    codes
}

/// The sources of a folder and below, without their tests.
fn sources(folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            files.push(text.split("#[cfg(test)]").next().unwrap_or_default().to_owned());
        }
    }
}

/// `const NAME: &str = "text";`
fn constants(text: &str) -> Vec<(String, String)> {
    let constant = |line: &str| {
        let (name, value) = line.split_once("const ")?.1.split_once(": &str = \"")?;
        Some((name.to_owned(), value.strip_suffix("\";")?.to_owned()))
    };
    text.lines().filter_map(constant).collect()
}

/// The first argument of each fault in a source: a literal, or the name of a constant.
fn given(text: &str, named: &BTreeMap<String, String>) -> Vec<String> {
    // In `error.rs`, the constructors are called with `Self`.
    let own = text.contains("pub struct Fault");
    let makers = ["Fault::new(", "Fault::hopeless("].into_iter().chain(own.then_some("Self::new("));
    let makers = makers.chain(own.then_some("Self::hopeless("));
    let arguments = makers.flat_map(|maker| text.split(maker).skip(1).map(str::trim_start));
    let code = |argument: &str| match argument.strip_prefix('"') {
        Some(literal) => literal.split('"').next().map(str::to_owned),
        None => named.get(argument.split([',', ')']).next()?.rsplit("::").next()?).cloned(),
    };
    arguments.filter_map(code).collect()
}

/// The codes of the codec's errors, which are the arms of a `match`.
fn of_the_codec(files: &[String]) -> Vec<String> {
    let conversion =
        files.iter().find_map(|text| text.split_once("impl From<millrace_schemas::CodecError> for Fault"));
    let (_, arms) = conversion.unwrap();
    let arms = arms.split("\n}\n").next().unwrap().lines();
    arms.filter_map(|line| line.split_once("=> \"")?.1.split('"').next().map(str::to_owned)).collect()
}
