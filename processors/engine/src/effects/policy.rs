//! The call policy: the next action for a call, given what is known of it, so that it is not made twice.

use std::time::Duration;

use millrace_domain::GaveUp;

use super::CallError;

/// The delay before the second attempt; it doubles from there.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// What the ledger knows of a leased call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// It may have been made, and its outcome is not known.
    pub(super) unknown: bool,
    /// Time since its first attempt.
    pub(super) since_first: Duration,
    /// Time since it was requested.
    pub(super) age: Duration,
}

/// How long calls are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// As [`Provider::key_window`](super::Provider::key_window).
    pub(super) key_window: Option<Duration>,
    /// The age at which a call without outcome is given up.
    pub(super) age_max: Duration,
}

/// The next action for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Call,
    Ask,
    GiveUp(GaveUp),
}

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallOutcome<A> {
    Answered(A),
    GiveUp(GaveUp),
    Later { unknown: bool, error: String },
}

impl<A> CallOutcome<A> {
    /// Its name, and why there is no answer.
    pub(super) fn told(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Answered(_) => ("answered", None),
            Self::GiveUp(GaveUp { reason, .. }) => ("gave up", Some(reason)),
            Self::Later { error, .. } => ("later", Some(error)),
        }
    }
}

impl Known {
    /// The first action of an attempt. A call with an unknown outcome is never simply made again.
    pub(super) fn next(&self, limits: &Limits) -> Next {
        if self.unknown {
            return match limits.key_window {
                Some(_) => Next::Ask,
                None => Next::GiveUp(not_again("the process ended during the call")),
            };
        }
        if self.age > limits.age_max {
            let reason = format!("it could not be made within {} s", limits.age_max.as_secs());
            return Next::GiveUp(GaveUp { reason, unknown: self.unknown });
        }
        Next::Call
    }

    /// The result of a query; `None` means that the call is to be made again, which happens only while the external system would
    /// remember its key.
    pub(super) fn asked<A>(
        &self,
        answer: Result<Option<A>, CallError>,
        limits: &Limits,
    ) -> Option<CallOutcome<A>> {
        let error = match answer {
            Ok(Some(answer)) => return Some(CallOutcome::Answered(answer)),
            Ok(None) if self.may_be_made_again(limits) => return None,
            Ok(None) => "the external system does not know the call, and may have forgotten it".to_owned(),
            Err(error) => error.to_string(),
        };
        if self.age > limits.age_max {
            let reason = format!("its outcome is unknown: {error}");
            return Some(CallOutcome::GiveUp(GaveUp { reason, unknown: true }));
        }
        Some(CallOutcome::Later { unknown: true, error })
    }

    /// The result of a call. An unknown outcome stays unknown until there is an answer.
    pub(super) fn called<A>(&self, answer: Result<A, CallError>, limits: &Limits) -> CallOutcome<A> {
        match answer {
            Ok(answer) => CallOutcome::Answered(answer),
            Err(CallError::Refused(reason)) => {
                CallOutcome::GiveUp(GaveUp { reason: reason.to_string(), unknown: self.unknown })
            }
            Err(error @ CallError::Unavailable(_)) => {
                CallOutcome::Later { unknown: self.unknown, error: error.to_string() }
            }
            Err(CallError::Unknown(reason) | CallError::Contradicts(reason))
                if limits.key_window.is_none() =>
            {
                CallOutcome::GiveUp(not_again(reason.text()))
            }
            Err(error @ (CallError::Unknown(_) | CallError::Contradicts(_))) => {
                CallOutcome::Later { unknown: true, error: error.to_string() }
            }
        }
    }

    fn may_be_made_again(&self, limits: &Limits) -> bool {
        let known = limits.key_window.is_some_and(|window| self.since_first < window);
        known && self.age <= limits.age_max
    }
}

fn not_again(why: &str) -> GaveUp {
    let reason = format!("its outcome is unknown ({why}); it is not sent again");
    GaveUp { reason, unknown: true }
}

/// The delay after the `attempts`-th attempt.
pub(super) fn delay(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or_default().min(16);
    (FIRST_DELAY * (1 << doublings)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const KEYED: Limits = Limits { key_window: Some(HOUR), age_max: Duration::from_secs(3_600 * 10) };
    const KEYLESS: Limits = Limits { key_window: None, age_max: HOUR };

    fn known(unknown: bool, hours: u32) -> Known {
        Known { unknown, since_first: HOUR * hours, age: HOUR * hours }
    }

    fn later<A>(unknown: bool, error: &str) -> CallOutcome<A> {
        CallOutcome::Later { unknown, error: error.to_owned() }
    }

    fn gave_up<A>(outcome: CallOutcome<A>) -> Option<bool> {
        match outcome {
            CallOutcome::GiveUp(why) => Some(why.unknown),
            CallOutcome::Answered(_) | CallOutcome::Later { .. } => None,
        }
    }

    #[test]
    fn a_try_begins_with_a_call_unless_its_outcome_is_unknown() {
        assert_eq!(known(false, 0).next(&KEYED), Next::Call);
        assert_eq!(known(false, 0).next(&KEYLESS), Next::Call);
        assert_eq!(known(true, 0).next(&KEYED), Next::Ask);
        assert_eq!(known(true, 99).next(&KEYED), Next::Ask, "asked for once more before it is given up");
    }

    #[test]
    fn a_call_with_unknown_outcome_and_no_key_is_not_sent_again() {
        let Next::GiveUp(why) = known(true, 0).next(&KEYLESS) else { panic!("it goes on") };
        assert!(why.unknown && why.reason.contains("not sent again"), "{why:?}");
        let outcome = known(false, 0).called::<()>(Err(CallError::Unknown("lost".into())), &KEYLESS);
        assert_eq!(gave_up(outcome), Some(true));
    }

    #[test]
    fn a_call_that_could_not_be_made_for_too_long_is_given_up_and_known_not_to_have_happened() {
        let Next::GiveUp(why) = known(false, 11).next(&KEYED) else { panic!("it goes on") };
        assert!(!why.unknown, "{why:?}");
    }

    #[test]
    fn an_answer_ends_a_call_however_it_came() {
        assert_eq!(known(true, 99).asked(Ok(Some(1)), &KEYED), Some(CallOutcome::Answered(1)));
        assert_eq!(known(false, 0).called(Ok(1), &KEYLESS), CallOutcome::Answered(1));
    }

    #[test]
    fn a_call_that_the_provider_does_not_know_is_made_while_it_would_know_the_key() {
        assert_eq!(known(true, 0).asked::<()>(Ok(None), &KEYED), None);
        let forgotten = known(true, 1).asked::<()>(Ok(None), &KEYED);
        assert!(matches!(forgotten, Some(CallOutcome::Later { unknown: true, .. })), "{forgotten:?}");
        assert_eq!(known(true, 11).asked::<()>(Ok(None), &KEYED).and_then(gave_up), Some(true));
    }

    #[test]
    fn a_question_without_answer_is_asked_again_until_it_is_too_old() {
        for error in [
            CallError::Refused("x".into()),
            CallError::Unavailable("x".into()),
            CallError::Unknown("x".into()),
        ] {
            let outcome = known(true, 0).asked::<()>(Err(error.clone()), &KEYED);
            assert_eq!(outcome, Some(later(true, &error.to_string())));
            assert_eq!(known(true, 11).asked::<()>(Err(error), &KEYED).and_then(gave_up), Some(true));
        }
    }

    #[test]
    fn a_refusal_ends_a_call_and_an_outage_does_not() {
        let refused = || Err(CallError::Refused("no".into()));
        assert_eq!(gave_up(known(false, 0).called::<()>(refused(), &KEYED)), Some(false));
        assert_eq!(gave_up(known(true, 0).called::<()>(refused(), &KEYED)), Some(true));
        let away = CallError::Unavailable("away".into());
        assert_eq!(known(false, 0).called::<()>(Err(away.clone()), &KEYED), later(false, &away.to_string()));
        assert_eq!(known(true, 0).called::<()>(Err(away.clone()), &KEYED), later(true, &away.to_string()));
        let lost = CallError::Unknown("lost".into());
        assert_eq!(known(false, 0).called::<()>(Err(lost.clone()), &KEYED), later(true, &lost.to_string()));
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let seconds = [1, 2, 3, 8, 9, 10, i32::MAX].map(|attempts| delay(attempts).as_secs());
        assert_eq!(seconds, [1, 2, 4, 128, 256, 300, 300]);
    }
}
