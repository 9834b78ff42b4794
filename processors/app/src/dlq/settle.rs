//! What `millrace dlq redrive` and `millrace dlq discard` print.

use millrace_ops::dead_letters::{Counts, Verb};
use millrace_ops::failure::Failure;
use serde_json::{Value, json};

/// For people.
pub(super) fn text(Counts { now, before, refused }: &Counts, verb: Verb) -> String {
    format!("{} {now}, already done {before}, refused {}\n", verb.done().as_str(), refused.len())
}

/// For programs.
pub(super) fn json(Counts { now, before, refused }: &Counts, verb: Verb) -> Value {
    json!({verb.done().as_str(): now, "already": before, "refused": refused})
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
