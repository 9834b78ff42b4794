//! The effects: what is asked of the outside world, and what its answers mean here.

pub mod mail;
pub mod payment;

/// What the outside says in words, so that a field of `longest` characters takes it.
fn words(told: &str, longest: usize) -> String {
    let readable: String = told.chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect();
    match readable.trim() {
        "" => "not told".to_owned(),
        words => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use millrace_schemas::Event;

    use super::words;
    use crate::Recorded;

    pub(super) fn recorded(event: Event) -> Recorded {
        Recorded {
            id: "e1".to_owned(),
            stream: "s1".to_owned(),
            version: 1,
            occurred_at: DateTime::UNIX_EPOCH,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            event,
        }
    }

    #[test]
    fn what_the_outside_says_fits_its_field() {
        assert_eq!(words("no\0funds\r\n", 100), "no funds");
        assert_eq!(words(" \t", 100), "not told");
        assert_eq!(words("ääää", 3), "äää");
    }
}
