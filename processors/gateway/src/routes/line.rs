//! A line of a batch.

use millrace_ops::send::{Acknowledged, Command, Encoder, Ready, Unfit, Unsent};
use millrace_schemas::Definition;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::fit::{allowed, fields, problem_of};
use super::sent::Sent;
use crate::clients::Client;
use crate::gateway::Gateway;
use crate::problem::{FieldError, Kind, Problem};
use crate::receipts::Outcome;
use crate::shown::Shown;

/// Bytes of the problems of a batch's lines, at most; the errors of further ones are left out.
const PROBLEMS_BYTES_MAX: usize = 4 << 20;
/// When a client may send again what was not taken, in seconds.
const RETRY_AFTER: u16 = 5;

/// What was said to a line.
pub(super) struct Line {
    number: usize,
    id: Option<String>,
    pub(super) said: Said,
}

/// Whether its command was sent.
pub(super) enum Said {
    /// Kafka has it.
    Sent(Sent),
    /// It was not sent: status and problem.
    Refused(u16, Option<Box<RawValue>>),
}

impl Line {
    /// Whether Kafka did not take it.
    pub(super) fn is_untaken(&self) -> bool {
        matches!(self.said, Said::Refused(503, _))
    }

    /// Kafka did not take it.
    pub(super) fn untaken() -> Problem {
        let detail = "send it again with the same ids: each command is executed once";
        Problem::new(Kind::KAFKA, detail).retry_after(RETRY_AFTER)
    }
}

/// Reads lines and sends what fits.
pub(super) struct Reader<'b> {
    gateway: &'b Gateway,
    client: &'b Client,
    encoder: Encoder<'b>,
    /// The key of the batch, from which lines without an id have theirs.
    key: Option<&'b str>,
    traceparent: Option<&'b str>,
    /// Bytes of problems that are kept.
    problems: usize,
}

/// Id and type of a line that fits.
type Named = (String, &'static Definition);
/// A line that does not, with its id if it is known.
type Unsuited = Box<(Option<String>, Problem)>;

impl<'b> Reader<'b> {
    pub(super) fn new(
        gateway: &'b Gateway,
        client: &'b Client,
        encoder: Encoder<'b>,
        (key, traceparent): (Option<&'b str>, Option<&'b str>),
    ) -> Self {
        Self { gateway, client, encoder, key, traceparent, problems: 0 }
    }

    /// Sends the lines that fit until the time `is_over`, and waits until Kafka has acknowledged or refused each.
    pub(super) async fn sent(&mut self, texts: &[(usize, &[u8])], is_over: impl Fn() -> bool) -> Vec<Line> {
        let (mut read, mut ready) = (Vec::with_capacity(texts.len()), Vec::with_capacity(texts.len()));
        for (number, text) in texts {
            read.push((
                *number,
                self.read(*number, text).map(|(named, command)| {
                    ready.push(command);
                    named
                }),
            ));
        }
        let acknowledged = self.gateway.sender.send_all(ready, is_over).await;
        log_untaken(&acknowledged);
        let mut acknowledged = acknowledged.into_iter();
        let mut lines = Vec::with_capacity(read.len());
        for (number, read) in read {
            lines.push(match read {
                Err(unsuited) => self.refused(number, unsuited.0, unsuited.1),
                Ok((id, definition)) => match acknowledged.next() {
                    Some(Ok(acknowledged)) => {
                        let (source, said_id) = (self.client.name.clone(), Some(id.clone()));
                        let sent = Sent { source, id, definition, acknowledged };
                        Line { number, id: said_id, said: Said::Sent(sent) }
                    }
                    Some(Err(error)) => self.refused(number, Some(id), problem_of(error)),
                    None => self.refused(number, Some(id), Line::untaken()),
                },
            });
        }
        lines
    }

    /// Lines behind one that Kafka did not take.
    pub(super) fn left_out(&mut self, texts: &[(usize, &[u8])]) -> Vec<Line> {
        texts.iter().map(|(number, _)| self.refused(*number, None, Line::untaken())).collect()
    }

    fn read(&self, number: usize, text: &[u8]) -> Result<(Named, Ready), Unsuited> {
        let body_max = self.gateway.config.gateway.body_max.as_u64();
        if text.len() as u64 > body_max {
            let problem = Problem::new(Kind::TOO_LARGE, "a line has gateway.body_max at most");
            return Err(Box::new((None, problem)));
        }
        let command = Command::read(text).map_err(|unfit| Box::new((None, unfit_problem(unfit))))?;
        let id = command.id().map(str::to_owned).or_else(|| Some(format!("{}-{number}", self.key?)));
        let id = id.ok_or_else(|| Box::new((None, nameless())))?;
        match self.fitting(command, &id) {
            Ok((definition, ready)) => Ok(((id, definition), ready)),
            Err(problem) => Err(Box::new((Some(id), problem))),
        }
    }

    fn fitting(&self, command: Command, id: &str) -> Result<(&'static Definition, Ready), Problem> {
        let definition = allowed(self.gateway, self.client, command.type_())?;
        if command.source().is_some_and(|source| source != self.client.name) {
            let message = format!("is `{}`, the client's name, or left out", self.client.name);
            return Err(wrong("source", message));
        }
        let command = command.identified(&self.client.name, id).traced(self.traceparent);
        Ok((definition, self.encoder.ready(command).map_err(unfit_problem)?))
    }

    fn refused(&mut self, number: usize, id: Option<String>, problem: Problem) -> Line {
        let status = problem.status().as_u16();
        let problem = if self.problems > PROBLEMS_BYTES_MAX { problem.without("errors") } else { problem };
        let problem = to_raw_value(&problem.body()).ok();
        self.problems += problem.as_ref().map_or(0, |problem| problem.get().len());
        Line { number, id, said: Said::Refused(status, problem) }
    }
}

/// A line in the log for all that Kafka did not take, with the reason of the first.
fn log_untaken(said: &[Result<Acknowledged, Unsent>]) {
    let mut errors = said.iter().filter_map(|said| match said {
        Err(Unsent::Unavailable(error)) => Some(error),
        _ => None,
    });
    if let Some(error) = errors.next() {
        tracing::warn!(%error, commands = errors.count() + 1, "commands of a batch were not taken");
    }
}

fn nameless() -> Problem {
    wrong("id", "is missing: each line has an id, or the batch an Idempotency-Key".to_owned())
}

fn wrong(path: &str, message: String) -> Problem {
    let errors = [FieldError { path: path.to_owned(), message }];
    Problem::new(Kind::FIELDS, "1 field is wrong").with("errors", errors)
}

fn unfit_problem(unfit: Unfit) -> Problem {
    match unfit {
        Unfit::Fields(_, errors) => fields(&errors, "data"),
        Unfit::Attribute(name, problem) => wrong(name, problem),
        Unfit::Syntax(problem) => {
            let errors = [FieldError { path: String::new(), message: problem }];
            Problem::new(Kind::BODY, "the line is not a command").with("errors", errors)
        }
        unfit @ Unfit::Type(_) => problem_of(Unsent::Unfit(unfit)),
    }
}

/// A line of the answer.
#[derive(Serialize)]
struct Written {
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Box<RawValue>>,
}

/// The answer: a line for each line, in their order. The outcomes are those of the lines that were sent.
pub(super) fn written(lines: Vec<Line>, outcomes: Vec<Option<Outcome>>) -> Vec<u8> {
    let (mut body, mut outcomes) = (Vec::new(), outcomes.into_iter());
    for Line { number: line, id, said } in lines {
        let (location, (status, receipt, problem)) = match said {
            Said::Refused(status, problem) => (None, (status, None, problem)),
            Said::Sent(sent) => (Some(sent.location()), ended(&sent, outcomes.next().flatten())),
        };
        let written = Written { line, id, status, location, receipt, problem };
        body.extend(serde_json::to_vec(&written).unwrap_or_default());
        body.push(b'\n');
    }
    body
}

fn ended(sent: &Sent, outcome: Option<Outcome>) -> (u16, Option<Shown>, Option<Box<RawValue>>) {
    match outcome.map(|outcome| sent.ended(outcome)) {
        None => (202, None, None),
        Some(Ok(shown)) => (200, Some(shown), None),
        Some(Err(problem)) => (problem.status().as_u16(), None, to_raw_value(&problem.body()).ok()),
    }
}
