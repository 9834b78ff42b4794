//! What `millrace dlq redrive` and `millrace dlq discard` print.

use millrace_ops::dead_letters::{Counts, Refusal, Verb};
use millrace_ops::failure::Failure;
use schemars::JsonSchema;
use serde::Serialize;

use crate::output::{self, Format};

/// What became of letters that were to be redriven.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Redriven<'c> {
    /// The number that were redriven.
    redriven: u64,
    /// The number that were redriven or discarded before, or by another operator meanwhile.
    already: u64,
    /// Those that could not be.
    refused: &'c [Refusal],
}

/// What became of letters that were to be discarded.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Discarded<'c> {
    /// The number that were discarded.
    discarded: u64,
    /// The number that were redriven or discarded before, or by another operator meanwhile.
    already: u64,
    /// Those that could not be.
    refused: &'c [Refusal],
}

/// Prints the result.
///
/// # Errors
/// As [`output::print()`].
pub(super) fn print(format: Format, counts: &Counts, verb: Verb) -> Result<(), Failure> {
    let text = text(counts, verb);
    let Counts { now, before: already, ref refused } = *counts;
    match verb {
        Verb::Redrive => output::print(format, &text, &Redriven { redriven: now, already, refused }),
        Verb::Discard => output::print(format, &text, &Discarded { discarded: now, already, refused }),
    }
}

fn text(Counts { now, before, refused }: &Counts, verb: Verb) -> String {
    format!("{} {now}, already done {before}, refused {}\n", verb.done().as_str(), refused.len())
}

/// A letter that was refused is a failure; one that was done before is none.
pub(super) fn verdict(counts: &Counts, verb: Verb) -> Result<(), Failure> {
    match counts.refused.len() {
        0 => Ok(()),
        count => Err(Failure::refused(format!("{count} letters were not {}", verb.done().as_str()))),
    }
}

#[cfg(test)]
mod tests {
    use millrace_ops::dead_letters::Refusal;
    use millrace_ops::examples;

    use super::*;

    #[test]
    fn one_refusal_is_a_failure_and_what_was_done_before_is_none() {
        let counts = Counts { now: 3, before: 2, refused: Vec::new() };
        assert!(verdict(&counts, Verb::Redrive).is_ok());
        let refused = vec![Refusal { id: examples::letter().id, reason: "no record".to_owned() }];
        let message = verdict(&Counts { refused, ..counts }, Verb::Discard).unwrap_err().to_string();
        assert_eq!(message, "1 letters were not discarded");
    }
}
