//! `docs/operations/metrics.md` is generated from the code, and has every metric that the rules and dashboards of
//! `connectors/observability/` name.
//!
//! `MILLRACE_WRITE_PAGES=1 cargo test -p millrace --lib run::metrics_page` writes it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use millrace_ops::observed;

const AGAIN: &str = "MILLRACE_WRITE_PAGES=1 cargo test -p millrace --lib run::metrics_page";

const HEAD: &str = "\
For operators: every metric, its meaning, and what to do when it is high. `millrace run` serves the metrics at `http.listen`
(`127.0.0.1:9464/metrics`). Alert rules are in `connectors/observability/`; [runbook.md](runbook.md) has a section for each alert.

- Names follow Prometheus: base units, `_total` for counters. A histogram has `_bucket`, `_sum` and `_count`.
- Unknown is never zero: when a component does not answer, its metrics are absent and `millrace_observed_success` is 0.
- `group` is the name of the serving generation's group in Kafka, `generation` its number: a swap changes neither.
- The client library adds `process_resident_memory_bytes`, `process_cpu_seconds_total`, `process_open_fds` and others of `process_`.
";

const OF_THE_NAMESPACE: &str = "\
Exactly one process of a namespace exports them: the one that holds a lock on the write side. Another process takes over when it
dies. All are gauges and also have the label `namespace`. They are queried every `metrics.interval`; those that change slowly (sagas,
timers, calls, the auditor) once a minute.
";

const OF_A_PROCESS: &str = "Every process exports these for its own work; sum them over all processes.\n";

/// The files of `engine/src/metrics/`, in the order of the page.
const SUBJECTS: [&str; 8] =
    ["records", "commands", "reactions", "retries", "documents", "process", "operations", "gateway"];

/// A family of the engine, from the source.
#[derive(Debug, Default)]
struct Metric {
    name: String,
    kind: &'static str,
    labels: String,
    meaning: String,
    high: String,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The families of `engine/src/metrics/`, by subject.
fn of_the_engine() -> Vec<Metric> {
    let folder = workspace().join("processors/engine/src/metrics");
    let source = |subject: &&str| std::fs::read_to_string(folder.join(format!("{subject}.rs"))).unwrap();
    let sources: String = SUBJECTS.iter().map(source).collect();
    let blocks = sources.split("\nmetric!(\n").skip(1);
    blocks.map(|block| metric(block.split_once("\n);").unwrap().0)).collect()
}

fn metric(block: &str) -> Metric {
    let lines = block.lines().map(str::trim);
    let doc: Vec<&str> = lines.filter_map(|line| line.strip_prefix("///")).map(str::trim).collect();
    let (meaning, high) = doc.split(|line| line.is_empty()).map(|part| part.join(" ")).fold(
        (String::new(), String::new()),
        |(meaning, high), part| match part.strip_prefix("High: ") {
            Some(text) => (meaning, text.to_owned()),
            None => (format!("{meaning} {part}").trim().to_owned(), high),
        },
    );
    let code = block.lines().filter(|line| !line.trim().starts_with("///")).collect::<String>();
    let kind = match () {
        () if code.contains("HistogramVec") => "histogram",
        () if code.contains("CounterVec") => "counter",
        () => "gauge",
    };
    let name = code.split('"').nth(1).unwrap().to_owned();
    let labels = match code.split_once("&[") {
        Some((_, labels)) => labels.split_once(']').unwrap().0.replace('"', ""),
        None if code.contains("GROUP") => "group, generation".to_owned(),
        None => String::new(),
    };
    Metric { name, kind, labels, meaning, high }
}

fn of_the_namespace() -> Vec<Metric> {
    let metric = |family: &&'static observed::Family| Metric {
        name: family.name.to_owned(),
        kind: "gauge",
        labels: family.labels.join(", "),
        meaning: family.meaning.to_owned(),
        high: family.high.to_owned(),
    };
    observed::ALL.iter().map(metric).collect()
}

fn rows(metrics: &[Metric]) -> String {
    let row = |Metric { name, kind, labels, meaning, high }: &Metric| {
        format!("| `{name}` | {kind} | {labels} | {meaning} | {high} |\n")
    };
    let head = "| name | type | labels | meaning | when it is high |\n|---|---|---|---|---|\n";
    head.to_owned() + &metrics.iter().map(row).collect::<String>()
}

fn page() -> String {
    let note = format!(
        "Generated from `processors/ops/src/observed/family.rs` and `processors/engine/src/metrics/` by `{AGAIN}`."
    );
    format!(
        "# Metrics\n\n{HEAD}\n{note}\n\n## Of the namespace\n\n{OF_THE_NAMESPACE}\n{}\n## Of a process\n\n{OF_A_PROCESS}\n{}",
        rows(&of_the_namespace()),
        rows(&of_the_engine()),
    )
}

#[test]
fn the_page_says_what_the_code_says() {
    let (page, file) = (page(), workspace().join("docs/operations/metrics.md"));
    if std::env::var_os("MILLRACE_WRITE_PAGES").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    assert!(std::fs::read_to_string(file).is_ok_and(|found| found == page), "not up to date: {AGAIN}");
}

#[test]
fn every_family_says_what_it_means_and_what_to_do() {
    let all: Vec<Metric> = of_the_namespace().into_iter().chain(of_the_engine()).collect();
    for metric in &all {
        assert!(!metric.meaning.is_empty() && !metric.high.is_empty(), "{metric:?}");
        assert!(metric.name.starts_with("millrace_"), "{metric:?}");
        assert_eq!(metric.kind == "counter", metric.name.ends_with("_total"), "{metric:?}");
    }
    let names: BTreeSet<&str> = all.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "each once");
    let files = std::fs::read_dir(workspace().join("processors/engine/src/metrics")).unwrap().count();
    assert_eq!(files, SUBJECTS.len() + 1, "all files but mod.rs are on the page");
}
