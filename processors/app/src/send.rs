//! `millrace send`: commands from a file or from standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::send::{self, Outcomes, Request, Sent};
use serde_json::{Value, json};

use crate::cli;
use crate::output::{self, Format};
use crate::progress::Terminal;

/// Sends every good command; reports every bad one with its line.
///
/// # Errors
/// [`Failure::Refused`] when a command was refused, a record was not delivered or, with `--wait`, not every command was
/// completed; after everything else was sent.
pub async fn send(config: &Config, format: Format, options: &cli::Send) -> Result<(), Failure> {
    let wait = options.wait.then_some(options.timeout.0);
    let request = Request { source: options.source.clone(), wait };
    let sent = send::send(config, &request, open(&options.file)?, Arc::new(Terminal::default())).await?;
    let json = json!(sent);
    output::print(format, &text(&json), &json)?;
    verdict(&sent)
}

fn open(file: &Path) -> Result<Box<dyn BufRead + Send>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened =
        File::open(file).map_err(|error| Failure::usage(file.display().to_string()).caused_by(error))?;
    Ok(Box::new(BufReader::with_capacity(1 << 18, opened)))
}

/// Each count with its name.
fn text(sent: &Value) -> String {
    let counts = sent.as_object().into_iter().flatten().map(|(name, count)| format!("{name} {count}"));
    format!("{}\n", counts.collect::<Vec<_>>().join(", "))
}

fn verdict(sent: &Sent) -> Result<(), Failure> {
    let Outcomes { rejected, dead, waiting, retrying, .. } = sent.outcomes.unwrap_or_default();
    let problems = [
        (sent.refused, "commands were refused"),
        (sent.undelivered, "commands could not be delivered"),
        (rejected, "commands were rejected: `millrace commands --status rejected` says why"),
        (dead, "commands are dead letters: `millrace commands --status dead` says why"),
        (retrying, "commands are being retried: `millrace commands --status retrying` says why"),
        (waiting - retrying, "commands have no outcome yet: is `millrace run` running?"),
    ];
    let problems: Vec<String> =
        problems.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
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
        assert!(message.starts_with("2 commands were rejected"), "{message}");
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
