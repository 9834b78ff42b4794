//! What an expression of PromQL asks for: no more of its grammar than the rules and the dashboard need.

use std::collections::BTreeSet;

/// Beginnings of the names of metrics that a process exports, and what Prometheus adds to them.
const METRICS: [&str; 3] = ["millrace_", "process_", "up"];

/// The selectors of series, such as `millrace_outage{dependency="kafka"}`.
pub fn selectors(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(begin) = rest.find(is_of_a_name) {
        let name = rest[begin..].split(|letter| !is_of_a_name(letter)).next().unwrap_or_default();
        rest = &rest[begin + name.len()..];
        let matchers = match rest.strip_prefix('{').and_then(|behind| behind.find('}')) {
            Some(end) => &rest[..end + 2],
            None => "",
        };
        rest = &rest[matchers.len()..];
        let is_metric = METRICS.iter().any(|metric| match metric.ends_with('_') {
            true => name.starts_with(metric),
            false => name == *metric,
        });
        if is_metric {
            found.insert(format!("{name}{matchers}"));
        }
    }
    found
}

/// A selector without the matcher of this namespace, which the dashboard always has first.
pub fn of_any_namespace(selector: &str, namespace: &str) -> String {
    let matcher = format!("namespace=\"{namespace}\"");
    selector.replace(&format!("{{{matcher}}}"), "").replace(&format!("{{{matcher}, "), "{")
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// The labels by which it groups and joins, and those that texts about its answer name: `{{ $labels.group }}`, `{{group}}`.
pub fn labels(expression: &str, texts: &str) -> BTreeSet<String> {
    let lists = ["by (", "on (", "ignoring ("].into_iter().flat_map(|word| expression.split(word).skip(1));
    let listed = lists.filter_map(|behind| behind.split(')').next()).flat_map(|list| list.split(','));
    let named = texts.split("{{").skip(1).filter_map(|behind| behind.split("}}").next());
    let named = named.filter_map(|inside| match inside.trim().strip_prefix("$labels.") {
        Some(label) => Some(label),
        None => Some(inside.trim()).filter(|label| label.chars().all(is_of_a_name)),
    });
    listed.chain(named).map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_compared_whole_but_for_the_namespace() {
        let found = selectors(
            r#"sum(rate(millrace_a_bucket{query!~"/.*"}[30m])) / on (x) up == 0 or millrace_b > 1"#,
        );
        let wanted = ["millrace_a_bucket{query!~\"/.*\"}", "millrace_b", "up"];
        assert_eq!(found, wanted.map(str::to_owned).into());
        assert_eq!(of_any_namespace(r#"millrace_a{namespace="s"}"#, "s"), "millrace_a");
        assert_eq!(of_any_namespace(r#"millrace_a{namespace="s", b="c"}"#, "s"), r#"millrace_a{b="c"}"#);
        assert_eq!(of_any_namespace(r#"millrace_a{b="c"}"#, "s"), r#"millrace_a{b="c"}"#);
    }
}
