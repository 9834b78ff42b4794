//! What follows from what is known of a call: the rules that keep it from being made twice.

use std::time::Duration;

use millrace_domain::GaveUp;

use super::CallError;

/// The wait before the second try; it doubles from there.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// What the ledger knows of a call that has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// It was made and nobody knows what came of it.
    pub(super) unknown: bool,
    /// Since its first try.
    pub(super) since_first: Duration,
    /// Since it was asked for.
    pub(super) age: Duration,
}

/// For how long things are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// As [`Provider::key_window`](super::Provider::key_window).
    pub(super) key_window: Option<Duration>,
    /// An older call is given up.
    pub(super) age_max: Duration,
}

/// What a call's turn begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    Call,
    Ask,
    GiveUp(GaveUp),
}

/// How a turn ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Course<A> {
    Answered(A),
    GiveUp(GaveUp),
    Later { unknown: bool, error: String },
}

impl Known {
    /// What comes first. What is unknown is never simply made again.
    pub(super) fn turn(&self, limits: &Limits) -> Turn {
        if self.unknown {
            return match limits.key_window {
                Some(_) => Turn::Ask,
                None => Turn::GiveUp(not_again("the process ended in the middle of it")),
            };
        }
        if self.age > limits.age_max {
            let reason = format!("it could not be made within {} s", limits.age_max.as_secs());
            return Turn::GiveUp(GaveUp { reason, unknown: self.unknown });
        }
        Turn::Call
    }

    /// What follows from a question; `None` is a call, which is made again only while the outside would know its key.
    pub(super) fn asked<A>(&self, told: Result<Option<A>, CallError>, limits: &Limits) -> Option<Course<A>> {
        let error = match told {
            Ok(Some(answer)) => return Some(Course::Answered(answer)),
            Ok(None) if self.may_be_made_again(limits) => return None,
            Ok(None) => "the outside knows nothing of it, and may have forgotten it".to_owned(),
            Err(error) => error.to_string(),
        };
        if self.age > limits.age_max {
            let reason = format!("its outcome is unknown: {error}");
            return Some(Course::GiveUp(GaveUp { reason, unknown: true }));
        }
        Some(Course::Later { unknown: true, error })
    }

    /// What follows from a call. What was unknown before stays so until there is an answer.
    pub(super) fn called<A>(&self, told: Result<A, CallError>, limits: &Limits) -> Course<A> {
        match told {
            Ok(answer) => Course::Answered(answer),
            Err(CallError::Refused(reason)) => Course::GiveUp(GaveUp { reason, unknown: self.unknown }),
            Err(error @ CallError::Unavailable(_)) => {
                Course::Later { unknown: self.unknown, error: error.to_string() }
            }
            Err(CallError::Unknown(reason)) if limits.key_window.is_none() => {
                Course::GiveUp(not_again(&reason))
            }
            Err(error @ CallError::Unknown(_)) => Course::Later { unknown: true, error: error.to_string() },
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

/// The wait behind the `attempts`-th try.
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

    fn later<A>(unknown: bool, error: &str) -> Course<A> {
        Course::Later { unknown, error: error.to_owned() }
    }

    fn gave_up<A>(course: Course<A>) -> Option<bool> {
        match course {
            Course::GiveUp(why) => Some(why.unknown),
            Course::Answered(_) | Course::Later { .. } => None,
        }
    }

    #[test]
    fn a_turn_begins_with_a_call_unless_one_is_unknown() {
        assert_eq!(known(false, 0).turn(&KEYED), Turn::Call);
        assert_eq!(known(false, 0).turn(&KEYLESS), Turn::Call);
        assert_eq!(known(true, 0).turn(&KEYED), Turn::Ask);
        assert_eq!(known(true, 99).turn(&KEYED), Turn::Ask, "asked for once more before it is given up");
    }

    #[test]
    fn what_is_unknown_and_has_no_key_is_not_sent_again() {
        let Turn::GiveUp(why) = known(true, 0).turn(&KEYLESS) else { panic!("it goes on") };
        assert!(why.unknown && why.reason.contains("not sent again"), "{why:?}");
        let course = known(false, 0).called::<()>(Err(CallError::Unknown("lost".to_owned())), &KEYLESS);
        assert_eq!(gave_up(course), Some(true));
    }

    #[test]
    fn what_could_not_be_made_for_too_long_is_given_up_and_known_not_to_have_happened() {
        let Turn::GiveUp(why) = known(false, 11).turn(&KEYED) else { panic!("it goes on") };
        assert!(!why.unknown, "{why:?}");
    }

    #[test]
    fn an_answer_ends_a_call_however_it_came() {
        assert_eq!(known(true, 99).asked(Ok(Some(1)), &KEYED), Some(Course::Answered(1)));
        assert_eq!(known(false, 0).called(Ok(1), &KEYLESS), Course::Answered(1));
    }

    #[test]
    fn what_the_outside_knows_nothing_of_is_made_while_it_would_know_the_key() {
        assert_eq!(known(true, 0).asked::<()>(Ok(None), &KEYED), None);
        let forgotten = known(true, 1).asked::<()>(Ok(None), &KEYED);
        assert!(matches!(forgotten, Some(Course::Later { unknown: true, .. })), "{forgotten:?}");
        assert_eq!(known(true, 11).asked::<()>(Ok(None), &KEYED).and_then(gave_up), Some(true));
    }

    #[test]
    fn a_question_without_answer_is_asked_again_until_it_is_too_old() {
        for error in [
            CallError::Refused("x".to_owned()),
            CallError::Unavailable("x".to_owned()),
            CallError::Unknown("x".to_owned()),
        ] {
            let course = known(true, 0).asked::<()>(Err(error.clone()), &KEYED);
            assert_eq!(course, Some(later(true, &error.to_string())));
            assert_eq!(known(true, 11).asked::<()>(Err(error), &KEYED).and_then(gave_up), Some(true));
        }
    }

    #[test]
    fn a_refusal_ends_a_call_and_an_outage_does_not() {
        let refused = || Err(CallError::Refused("no".to_owned()));
        assert_eq!(gave_up(known(false, 0).called::<()>(refused(), &KEYED)), Some(false));
        assert_eq!(gave_up(known(true, 0).called::<()>(refused(), &KEYED)), Some(true));
        let away = CallError::Unavailable("away".to_owned());
        assert_eq!(known(false, 0).called::<()>(Err(away.clone()), &KEYED), later(false, &away.to_string()));
        assert_eq!(known(true, 0).called::<()>(Err(away.clone()), &KEYED), later(true, &away.to_string()));
        let lost = CallError::Unknown("lost".to_owned());
        assert_eq!(known(false, 0).called::<()>(Err(lost.clone()), &KEYED), later(true, &lost.to_string()));
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let seconds = [1, 2, 3, 8, 9, 10, i32::MAX].map(|attempts| delay(attempts).as_secs());
        assert_eq!(seconds, [1, 2, 4, 128, 256, 300, 300]);
    }
}
