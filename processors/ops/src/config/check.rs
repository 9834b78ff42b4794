//! Limits of single settings.

use std::fmt;
use std::time::Duration;

use super::units::written_duration;

/// The problem of a number below 1.
pub(super) fn positive<T: PartialOrd + From<u8> + fmt::Display>(name: &str, number: T) -> Option<String> {
    (number < T::from(1)).then(|| format!("{name} must be 1 or more, not {number}"))
}

/// The problem of a duration that is too short.
pub(super) fn at_least(name: &str, duration: Duration, least: Duration) -> Option<String> {
    let [found, needed] = [duration, least].map(written_duration);
    (duration < least).then(|| format!("{name} must be {needed} or more, not {found}"))
}
