//! `millrace send`: commands from a file or from standard input.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::moment::{self, Span};
use millrace_ops::send::{self, Failed, MadeUp, Outcomes, Request, Sent};
use serde_json::{Value, json};

use crate::input::open;
use crate::output::{self, Format};
use crate::progress::Terminal;

/// Options of `send`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Options {
    /// A file of commands, which are JSON objects; `-` is standard input
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// Wait until every command has its outcome and print the counts
    #[arg(long)]
    pub wait: bool,
    /// The source of commands that have none; source and id are a command's identity for deduplication
    #[arg(long, default_value = send::SOURCE, value_name = "NAME")]
    pub source: String,
    /// Stop waiting after this long, such as 90s or 10m
    #[arg(long, default_value = "10m", value_parser = moment::span)]
    pub timeout: Span,
}

const HELP: &str = "Each command is a CloudEvent, on one line or over several lines:
  {\"id\": \"42\", \"source\": \"shop\", \"type\": \"ConfirmOrder\", \"data\": {\"order_id\": \"10248\"}}
`type` is the short or full name of a command, `data` has its fields. `id`, `source`, `time`, `traceparent` and \
`correlationid` are optional. Times are RFC 3339, money is in minor units (cents).

A command that is refused is reported with its line and reason; the others are sent. After text that is not JSON, reading \
continues at the next line that begins with `{`. The first ten generated ids are printed; with --wait also the first ten \
commands that were not completed, each with its line and reason. A command with an id can be sent again: it is executed once.

`millrace schema check FILE` checks every line and sends nothing; `millrace schema show ConfirmOrder` prints the fields.

Exit codes:
  1  a command was refused, a record could not be delivered or, with --wait, not every command was completed
  3  Kafka, the registry or, with --wait, the write database does not answer; nothing was sent";

/// Sends every valid command; reports every invalid one with its line.
///
/// # Errors
/// [`Failure::Refused`] when a command was refused, a record was not delivered or, with `--wait`, not every command was
/// completed; after everything else was sent.
pub async fn send(config: &Config, format: Format, options: &Options) -> Result<(), Failure> {
    let wait = options.wait.then_some(options.timeout.0);
    let request = Request { source: options.source.clone(), wait };
    let sent = send::send(config, &request, open(&options.file)?, Arc::new(Terminal::default())).await?;
    tell(format, &sent)
}

/// Prints the counts, and what is worth a name.
///
/// # Errors
/// [`Failure::Refused`] when something was refused, not delivered or not completed.
pub(crate) fn tell(format: Format, sent: &Sent) -> Result<(), Failure> {
    if format == Format::Text {
        named(sent).iter().for_each(|line| output::say(line));
    }
    output::print(format, &text(&json!(sent)), sent)?;
    verdict(sent)
}

/// The first generated ids, and the first commands that were not completed.
fn named(sent: &Sent) -> Vec<String> {
    let id = |MadeUp { line, name, id }: &MadeUp| format!("line {line}: {name} has the id {id}");
    let more = sent.without_id.saturating_sub(sent.made_up.len() as u64);
    let more = (more > 0).then(|| format!("… and {more} more that came without an id"));
    let ids = sent.made_up.iter().map(id).chain(more);
    ids.chain(sent.failed.iter().map(failed)).collect()
}

fn failed(Failed { line, id, status, code, message, .. }: &Failed) -> String {
    let reason = [code, message].map(|part| part.as_deref().unwrap_or_default()).join(": ");
    format!("line {line}: {id} {status}: {reason}")
}

/// Each count with its name.
fn text(sent: &Value) -> String {
    let counts = sent.as_object().into_iter().flatten().filter(|(_, value)| value.is_number());
    let counts = counts.map(|(name, count)| format!("{name} {count}"));
    format!("{}\n", counts.collect::<Vec<_>>().join(", "))
}

fn verdict(sent: &Sent) -> Result<(), Failure> {
    let Outcomes { rejected, dead, waiting, retrying, .. } = sent.outcomes.unwrap_or_default();
    let problems = [
        (sent.refused, "refused", ""),
        (sent.undelivered, "not delivered", ""),
        (rejected, "rejected", ": `millrace commands --status rejected` says why"),
        (dead, "a dead letter", ": `millrace commands --status dead` says why"),
        (retrying, "being retried", ": `millrace commands --status retrying` says why"),
        (waiting - retrying, "without outcome yet", ": is `millrace run` running?"),
    ];
    let problem = |(count, what, way_on): &(u64, &str, &str)| match count {
        1 => format!("1 command is {what}{way_on}"),
        _ => format!("{count} commands are {}{way_on}", what.replace("a dead letter", "dead letters")),
    };
    let problems: Vec<String> = problems.iter().filter(|(count, ..)| *count > 0).map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(Failure::refused(problems.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_short_of_completion_is_a_failure() {
        assert!(verdict(&Sent::default()).is_ok());
        assert!(verdict(&Sent { refused: 1, ..Sent::default() }).is_err());
        let outcomes = Some(Outcomes { completed: 3, rejected: 2, ..Outcomes::default() });
        let message = verdict(&Sent { outcomes, ..Sent::default() }).unwrap_err().to_string();
        assert!(message.starts_with("2 commands are rejected: "), "{message}");
        let outcomes = Some(Outcomes { dead: 1, waiting: 3, retrying: 1, ..Outcomes::default() });
        let message = verdict(&Sent { outcomes, ..Sent::default() }).unwrap_err().to_string();
        let starts: Vec<&str> = message.lines().filter_map(|line| line.split(": ").next()).collect();
        assert_eq!(
            starts,
            [
                "1 command is a dead letter",
                "1 command is being retried",
                "2 commands are without outcome yet"
            ]
        );
    }

    #[test]
    fn who_failed_and_which_ids_were_made_up_is_named() {
        let failed = Failed {
            line: 19,
            id: "u16".to_owned(),
            source: "shop".to_owned(),
            status: "rejected".to_owned(),
            code: Some("name-invalid".to_owned()),
            message: Some("name is empty".to_owned()),
        };
        let made_up = vec![MadeUp { line: 1, name: "ConfirmOrder", id: "0197".to_owned() }];
        let sent = Sent { failed: vec![failed], made_up, without_id: 3, ..Sent::default() };
        let expected = [
            "line 1: ConfirmOrder has the id 0197",
            "… and 2 more that came without an id",
            "line 19: u16 rejected: name-invalid: name is empty",
        ];
        assert_eq!(named(&sent), expected);
        let json = json!(sent);
        assert_eq!(
            (&json["failed"][0]["code"], &json["made_up"][0]["id"]),
            (&json!("name-invalid"), &json!("0197"))
        );
        assert_eq!(text(&json), "sent 0, refused 0, undelivered 0\n");
    }

    #[test]
    fn outcomes_are_counted_when_they_were_waited_for() {
        let sent = Sent { delivered: 2, ..Sent::default() };
        assert_eq!(text(&json!(sent)), "sent 2, refused 0, undelivered 0\n");
        let outcomes = Some(Outcomes { completed: 2, ..Outcomes::default() });
        let counts =
            "sent 2, refused 0, undelivered 0, completed 2, rejected 0, dead 0, waiting 0, retrying 0\n";
        assert_eq!(text(&json!(Sent { outcomes, ..sent })), counts);
    }
}
