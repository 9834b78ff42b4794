//! `millrace send`: JSON to commands in Kafka.

mod command;
mod producer;
mod values;
mod wait;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use serde_json::json;

use crate::cli;
use crate::output::{self, Format};
use crate::progress::Progress;
use command::{Outgoing, SchemaIds};
use producer::Sender;
use values::{Found, Values};
use wait::{Identity, Ledger, Outcomes};

/// Sends every good command; reports every bad one with its line.
///
/// # Errors
/// [`Failure::Refused`] when a command was refused, a record was not delivered or, with `--wait`, not every command was
/// completed; after everything else was sent.
pub async fn send(config: &Config, format: Format, options: &cli::Send) -> Result<(), Failure> {
    let ids = SchemaIds::load(config).await?;
    let ledger = if options.wait { Some(Ledger::open(config).await?) } else { None };
    let mut sending = Sending::new(config, options, ids)?;
    tokio::task::block_in_place(|| sending.all(open(&options.file)?))?;
    let sent = sending.finish();
    let outcomes = match &ledger {
        Some(ledger) => Some(wait::all(config, ledger, &sent.identities, options.timeout.0).await?),
        None => None,
    };
    report(format, &sent, outcomes.as_ref())?;
    judge(&sent, outcomes.as_ref())
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = File::open(file).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    Ok(Box::new(BufReader::with_capacity(1 << 18, opened)))
}

/// What became of the commands.
#[derive(Debug, Default)]
struct Sent {
    read: u64,
    refused: u64,
    delivered: u64,
    undelivered: u64,
    /// Of what was sent; only when somebody waits for it.
    identities: Vec<Identity>,
}

struct Sending<'o> {
    options: &'o cli::Send,
    ids: SchemaIds,
    sender: Sender,
    progress: Progress,
    sent: Sent,
}

impl<'o> Sending<'o> {
    fn new(config: &Config, options: &'o cli::Send, ids: SchemaIds) -> Result<Self, Failure> {
        let (sender, progress) = (Sender::new(config)?, Progress::new("sent"));
        Ok(Self { options, ids, sender, progress, sent: Sent::default() })
    }

    fn all(&mut self, input: Box<dyn BufRead>) -> Result<(), Failure> {
        let unreadable = |error: io::Error| Failure::refused(format!("the input cannot be read: {error}"));
        let mut values = Values::new(input);
        while let Some(found) = values.next().map_err(unreadable)? {
            self.one(found)?;
            self.sent.read += 1;
            self.progress.at(self.sent.read);
        }
        self.sender.flush()
    }

    fn one(&mut self, Found { line, value }: Found) -> Result<(), Failure> {
        match value.and_then(|value| command::read(&value, &self.options.source, &self.ids)) {
            Ok(outgoing) => self.hand_over(line, outgoing),
            Err(reason) => {
                self.sent.refused += 1;
                self.progress.say(&format!("line {line}: {reason}"));
                Ok(())
            }
        }
    }

    fn hand_over(&mut self, line: u64, outgoing: Outgoing) -> Result<(), Failure> {
        self.sender.send(line, &outgoing)?;
        if self.options.wait {
            self.sent.identities.push(Identity { source: outgoing.source.into(), id: outgoing.id.into() });
        }
        Ok(())
    }

    fn finish(mut self) -> Sent {
        self.progress.done();
        (self.sent.delivered, self.sent.undelivered) = self.sender.counts();
        self.sent
    }
}

fn report(format: Format, sent: &Sent, outcomes: Option<&Outcomes>) -> Result<(), Failure> {
    let mut counts =
        vec![("sent", sent.delivered), ("refused", sent.refused), ("undelivered", sent.undelivered)];
    if let Some(Outcomes { completed, rejected, dead, waiting, retrying }) = outcomes {
        counts.extend([
            ("completed", *completed),
            ("rejected", *rejected),
            ("dead", *dead),
            ("waiting", *waiting),
            ("retrying", *retrying),
        ]);
    }
    let text: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let json = counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    output::print(format, &format!("{}\n", text.join(", ")), &serde_json::Value::Object(json))
}

fn judge(sent: &Sent, outcomes: Option<&Outcomes>) -> Result<(), Failure> {
    let Outcomes { rejected, dead, waiting, retrying, .. } = outcomes.copied().unwrap_or_default();
    let problems = [
        (sent.refused, "commands were refused"),
        (sent.undelivered, "commands could not be delivered"),
        (rejected, "commands were rejected: `millrace commands --status rejected` says why"),
        (dead, "commands are dead letters: `millrace commands --status dead` says why"),
        (retrying, "commands are being retried: `millrace commands --status retrying` says why"),
        (waiting - retrying, "commands have no outcome yet: is `millrace run` running?"),
    ];
    let told: Vec<String> =
        problems.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if told.is_empty() { Ok(()) } else { Err(Failure::refused(told.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_short_of_completion_is_a_failure() {
        assert!(judge(&Sent::default(), None).is_ok());
        assert!(judge(&Sent { refused: 1, ..Sent::default() }, None).is_err());
        let outcomes = Outcomes { completed: 3, rejected: 2, ..Outcomes::default() };
        let message = judge(&Sent::default(), Some(&outcomes)).unwrap_err().to_string();
        assert!(message.starts_with("2 commands were rejected"), "{message}");
    }
}
