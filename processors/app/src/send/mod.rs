//! `millrace send`: JSON lines to commands in Kafka.

mod line;
mod producer;
mod wait;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use serde_json::json;

use crate::cli;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::progress::Progress;
use line::{Outgoing, SchemaIds};
use producer::Sender;
use wait::{Identity, Ledger, Outcomes};

/// Longer lines are refused: Kafka takes no such record anyway.
const LINE_MAX: usize = 2 << 20;

/// Sends every good line; reports every bad one with its number.
///
/// # Errors
/// [`Failure::Refused`] when a line was refused, a record was not delivered or, with `--wait`, not every command was
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

/// What became of the lines.
#[derive(Debug, Default)]
struct Sent {
    lines: u64,
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

    fn all(&mut self, mut input: Box<dyn BufRead>) -> Result<(), Failure> {
        let mut line = Vec::new();
        while read_line(&mut *input, &mut line)? {
            self.sent.lines += 1;
            if !line.trim_ascii().is_empty() {
                self.one(&line)?;
            }
            self.progress.at(self.sent.lines);
        }
        self.sender.flush()
    }

    fn one(&mut self, line: &[u8]) -> Result<(), Failure> {
        let number = self.sent.lines;
        let outgoing = if line.len() > LINE_MAX {
            Err(format!("is longer than {LINE_MAX} bytes"))
        } else {
            line::read(line, &self.options.source, &self.ids)
        };
        match outgoing {
            Ok(outgoing) => self.hand_over(number, outgoing),
            Err(reason) => {
                self.sent.refused += 1;
                self.progress.say(&format!("line {number}: {reason}"));
                Ok(())
            }
        }
    }

    fn hand_over(&mut self, number: u64, outgoing: Outgoing) -> Result<(), Failure> {
        self.sender.send(number, &outgoing)?;
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

/// Reads one line, up to a little more than the longest that is allowed; the rest of a longer one is skipped.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> Result<bool, Failure> {
    let unreadable = |error: io::Error| Failure::refused(format!("the input cannot be read: {error}"));
    line.clear();
    let mut taken = (&mut *input).take(LINE_MAX as u64 + 2);
    if taken.read_until(b'\n', line).map_err(unreadable)? == 0 {
        return Ok(false);
    }
    if line.len() > LINE_MAX + 1 && !line.ends_with(b"\n") {
        input.skip_until(b'\n').map_err(unreadable)?;
    }
    Ok(true)
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
        (sent.refused, "lines were refused"),
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
    fn lines_are_bounded() {
        let long =
            [vec![b'x'; LINE_MAX * 3], b"\nshort\n".to_vec(), vec![b'y'; LINE_MAX], b"\nlast".to_vec()]
                .concat();
        let (mut input, mut line, mut lengths) = (io::Cursor::new(long), Vec::new(), Vec::new());
        while read_line(&mut input, &mut line).unwrap() {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [LINE_MAX + 2, 6, LINE_MAX + 1, 4]);
    }

    #[test]
    fn anything_short_of_completion_is_a_failure() {
        assert!(judge(&Sent::default(), None).is_ok());
        assert!(judge(&Sent { refused: 1, ..Sent::default() }, None).is_err());
        let outcomes = Outcomes { completed: 3, rejected: 2, ..Outcomes::default() };
        let message = judge(&Sent::default(), Some(&outcomes)).unwrap_err().to_string();
        assert!(message.starts_with("2 commands were rejected"), "{message}");
    }
}
