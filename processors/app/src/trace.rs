//! `millrace trace`: everything that followed from a command, an event, or the events of a stream.

use chrono::{DateTime, Utc};
use clap::Args;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::moment::{self, Span};
use millrace_ops::trace::{self, Entry, Kind, Trace, Viewed};
use millrace_schemas::short_name;

use crate::output::{self, Format, Table};

/// The help's examples and notes.
pub const HELP: &str = "\
Examples:
  millrace trace orders/10248                    an order: its events, the steps of its saga, the calls, the views
  millrace trace 0197b2a4-…                      what followed from a command, or from an event
  millrace trace 10248                           the streams of all contexts that have this id
  millrace trace 0197b2a4-… --wait 30s           as soon as nothing more follows and every view shows it
  millrace trace 10248 --format json

Times are of the write side's clock, those of views of the read side's. What a command led to is found by what caused what: a record names the command, event or \
timer that led to it (`causation-id`). At most 500 records are followed.";

/// What to trace.
#[derive(Debug, Args)]
pub struct Options {
    /// `context/id` of a stream, the id of a stream in any context, of a command, or of an event
    pub id: String,
    /// First wait until nothing more follows and every view has published it, at most this long, such as 30s
    #[arg(long, visible_alias = "follow", value_parser = moment::span, value_name = "TIME", num_args = 0..=1, default_missing_value = "1m")]
    pub wait: Option<Span>,
}

/// Shows the trace.
///
/// # Errors
/// As [`trace::trace`] and [`trace::settled`].
pub async fn trace(config: &Config, format: Format, Options { id, wait }: &Options) -> Result<(), Failure> {
    let traced = match wait {
        Some(timeout) => trace::settled(config, id, timeout.0).await?,
        None => trace::trace(config, id).await?,
    };
    if traced.more {
        output::say("there is more than what is shown: trace one of its commands, or show a stream");
    }
    output::print(format, &text(&traced), &traced)
}

fn text(traced: &Trace) -> String {
    let sections = [
        entries(&traced.entries),
        list("UNDER WAY", &traced.under_way),
        list("UNKNOWN", &traced.unknown),
        views(&traced.views),
        waiting(traced),
        letters(traced),
        audit(traced),
    ];
    let shown: Vec<String> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    shown.join("\n")
}

fn entries(entries: &[Entry]) -> String {
    let mut table = Table::new(&["at", "after", "", "what", "stream", "id", "outcome"]);
    let first = entries.first().map(|entry| entry.at);
    for entry in entries {
        let Entry { at, kind, id, what, became, .. } = entry;
        table.row([
            moment::written(*at),
            first.map(|first| after(first, *at)).unwrap_or_default(),
            name(*kind).to_owned(),
            short_name(what).to_owned(),
            place(entry),
            id.clone(),
            became.clone(),
        ]);
    }
    table.render_rows()
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Command => "command",
        Kind::Event => "event",
        Kind::Rejection => "rejection",
        Kind::Outcome => "outcome",
        Kind::Step => "step",
        Kind::Call => "call",
    }
}

/// The stream with an event's version; the number of a step; the number of attempts at a call.
fn place(Entry { kind, stream, number, .. }: &Entry) -> String {
    match (kind, number) {
        (Kind::Event, Some(version)) => format!("{stream} v{version}"),
        (Kind::Step, Some(number)) => format!("step {number}"),
        (Kind::Call, Some(attempts)) => format!("attempts: {attempts}"),
        _ => stream.clone(),
    }
}

fn after(first: DateTime<Utc>, at: DateTime<Utc>) -> String {
    format!("+{}", moment::shown((at - first).to_std().unwrap_or_default()))
}

fn list(title: &str, lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    if lines.is_empty() { lines } else { format!("{title}\n{lines}") }
}

fn views(viewed: &[Viewed]) -> String {
    let mut table = Table::new(&["view", "events applied", "last one at", "documents"]);
    for Viewed { view, events, applied, applied_at, unpublished } in viewed {
        let applied = applied.map(|applied| format!("{applied} of {events}"));
        let at = applied_at.map(moment::written);
        let documents = match unpublished {
            None => "",
            Some(..=0) => "published",
            Some(_) => "some records are not published yet",
        };
        table.row([view.clone(), applied.unwrap_or_default(), at.unwrap_or_default(), documents.to_owned()]);
    }
    table.render_rows()
}

fn waiting(traced: &Trace) -> String {
    let mut table = Table::new(&["waits in", "key", "status", "attempts", "why"]);
    for one in &traced.waiting {
        let why = [&one.code, &one.message].map(|part| part.clone().unwrap_or_default()).join(": ");
        table.row([one.group.clone(), one.key.clone(), one.status.clone(), one.attempts.to_string(), why]);
    }
    table.render_rows()
}

fn letters(traced: &Trace) -> String {
    let mut table = Table::new(&["dead letter", "group", "status", "code", "message"]);
    for one in &traced.letters {
        let cells = [&one.group, &one.status, &one.code, &one.message].map(Clone::clone);
        table.row(std::iter::once(one.id.to_string()).chain(cells));
    }
    table.render_rows()
}

fn audit(traced: &Trace) -> String {
    let mut table = Table::new(&["audit", "who", "action", "subject", "why"]);
    for one in &traced.audit {
        let cells = [&one.who, &one.action, &one.subject, &one.why].map(Clone::clone);
        table.row(std::iter::once(moment::written(one.at)).chain(cells));
    }
    table.render_rows()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, second: i64, number: Option<i64>) -> Entry {
        Entry {
            at: DateTime::from_timestamp(second, 0).unwrap(),
            kind,
            id: "1".to_owned(),
            what: "millrace.orders.OrderPlaced".to_owned(),
            stream: "orders/10248".to_owned(),
            number,
            cause: None,
            became: "completed in 3 ms".to_owned(),
            ended: true,
        }
    }

    #[test]
    fn entries_are_told_with_their_time_after_the_first() {
        let text = entries(&[entry(Kind::Command, 10, None), entry(Kind::Event, 12, Some(3))]);
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(lines[1].contains("command OrderPlaced orders/10248 1 completed"), "{text}");
        assert!(lines[2].contains("+2.0 s event OrderPlaced orders/10248 v3 1"), "{text}");
    }

    #[test]
    fn sections_without_rows_are_left_out() {
        let traced = Trace {
            entries: vec![entry(Kind::Command, 10, None)],
            more: false,
            under_way: Vec::new(),
            views: vec![Viewed {
                view: "orders".to_owned(),
                events: 2,
                applied: Some(1),
                applied_at: DateTime::from_timestamp(12, 0),
                unpublished: Some(0),
            }],
            waiting: Vec::new(),
            letters: Vec::new(),
            audit: Vec::new(),
            unknown: Vec::new(),
        };
        let text = text(&traced);
        assert!(
            text.contains("1 of 2")
                && text.contains("1970-01-01T00:00:12")
                && !text.contains("DEAD LETTER")
                && !text.contains("UNDER WAY"),
            "{text}"
        );
        assert!(!traced.is_settled());
    }
}
