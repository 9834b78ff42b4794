//! What a receiver gets: one text for people, as chat systems show it, and the same as fields.

use chrono::{DateTime, Utc};
use millrace_store::notified::Notified;
use serde_json::{Value, json};

use super::changes::Changes;
use super::problem::Problem;
use crate::moment::written;

/// Problems in one message; more are only counted.
const LISTED_MAX: usize = 50;

/// The body of a request.
pub(super) fn of(namespace: &str, changes: &Changes<'_>, now: DateTime<Utc>) -> Value {
    let new = changes.new.iter().map(|problem| begun("new", problem, now));
    let worse = changes.worse.iter().map(|(problem, since)| begun("worse", problem, *since));
    let mut all: Vec<Value> = new.chain(worse).chain(changes.over.iter().map(|known| over(known))).collect();
    let more = all.len().saturating_sub(LISTED_MAX);
    all.truncate(LISTED_MAX);
    json!({"text": text(namespace, &all, more), "namespace": namespace, "problems": all, "more": more})
}

fn begun(
    status: &str,
    Problem { name, level, summary, command, .. }: &Problem,
    since: DateTime<Utc>,
) -> Value {
    json!({
        "problem": name, "status": status, "count": level, "summary": summary, "command": command, "since": written(since)
    })
}

fn over(Notified { problem, since, .. }: &Notified) -> Value {
    json!({"problem": problem, "status": "over", "summary": format!("over: {problem}"), "since": written(*since)})
}

fn text(namespace: &str, all: &[Value], more: usize) -> String {
    let field = |one: &Value, name: &str| one.get(name).and_then(Value::as_str).map(str::to_owned);
    let line = |one: &Value| {
        let command = field(one, "command").map(|command| format!(": `{command}`")).unwrap_or_default();
        format!("\n- {}{command}", field(one, "summary").unwrap_or_default())
    };
    let rest = if more > 0 { format!("\n- and {more} more: `millrace status`") } else { String::new() };
    format!("{namespace}:{}{rest}", all.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_bounded_and_says_what_to_type() {
        let problems: Vec<Problem> = (0..60).map(|number| Problem::outage(&number.to_string())).collect();
        let gone = Notified { problem: "gone".to_owned(), level: 1, since: Utc::now(), told_at: Utc::now() };
        let gone = [gone];
        let changes =
            Changes { new: problems.iter().collect(), over: gone.iter().collect(), ..Changes::default() };
        let body = of("shop", &changes, Utc::now());
        assert_eq!((body["problems"].as_array().map(Vec::len), &body["more"]), (Some(50), &json!(11)));
        let text = body["text"].as_str().unwrap();
        assert!(
            text.starts_with("shop:\n- 0 does not answer: `millrace status`\n") && text.contains("11 more"),
            "{text}"
        );
        let quiet = Changes { over: gone.iter().collect(), ..Changes::default() };
        assert_eq!(of("shop", &quiet, Utc::now())["text"], "shop:\n- over: gone");
    }
}
