//! Times from other systems: Kafka's timestamps, and those of Postgres, which range from 4713 BC to 294276 AD and include both
//! infinities.

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Postgres, Type};

/// 2000-01-01, from which Postgres counts microseconds.
const EPOCH: DateTime<Utc> = match DateTime::from_timestamp(946_684_800, 0) {
    Some(epoch) => epoch,
    None => DateTime::UNIX_EPOCH,
};

/// Plausible years of a timestamp. Postgres, Elasticsearch and every client can represent them, so rows that must always be
/// written, such as the receipt of a dead letter, can be.
pub const YEARS: std::ops::RangeInclusive<i32> = 1900..=2200;

/// A timestamp of Kafka, in milliseconds since 1970; `None` when its year is not plausible.
pub fn stamp(millis: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(millis).filter(believable)
}

/// Whether the year of a time is plausible.
pub fn believable(time: &DateTime<Utc>) -> bool {
    YEARS.contains(&time.year())
}

/// A `timestamptz`. A value that is out of range is an error; sqlx's own decoding would panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(pub DateTime<Utc>);

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        <DateTime<Utc> as Type<Postgres>>::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for Timestamp {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => Self::after_epoch(<i64 as Decode<Postgres>>::decode(value)?),
            PgValueFormat::Text => <DateTime<Utc> as Decode<Postgres>>::decode(value).map(Self),
        }
    }
}

/// A `timestamptz` for display: a value that is out of range becomes the nearest representable time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nearest(pub DateTime<Utc>);

impl Type<Postgres> for Nearest {
    fn type_info() -> PgTypeInfo {
        Timestamp::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for Nearest {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => <i64 as Decode<Postgres>>::decode(value).map(Self::after_epoch),
            PgValueFormat::Text => Timestamp::decode(value).map(|Timestamp(time)| Self(time)),
        }
    }
}

impl Nearest {
    fn after_epoch(micros: i64) -> Self {
        let end = if micros < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
        Self(Timestamp::after_epoch(micros).map_or(end, |Timestamp(time)| time))
    }
}

impl Timestamp {
    fn after_epoch(micros: i64) -> Result<Self, BoxDynError> {
        let time = EPOCH.checked_add_signed(TimeDelta::microseconds(micros));
        let what = match micros {
            i64::MAX => "infinity".to_owned(),
            i64::MIN => "-infinity".to_owned(),
            other => format!("{other} microseconds from 2000-01-01"),
        };
        time.map(Self).ok_or_else(|| format!("the time `{what}` is out of range: correct the row").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinity_and_what_no_calendar_has_are_errors() {
        for micros in [i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1, 9_223_371_331_200_000_000 - 1] {
            assert!(Timestamp::after_epoch(micros).is_err(), "{micros}");
        }
        for (micros, end) in [(i64::MAX, DateTime::<Utc>::MAX_UTC), (i64::MIN, DateTime::<Utc>::MIN_UTC)] {
            assert_eq!(Nearest::after_epoch(micros), Nearest(end));
        }
        assert_eq!(Nearest::after_epoch(0), Nearest(EPOCH));
        assert_eq!(Timestamp::after_epoch(0).unwrap().0.to_rfc3339(), "2000-01-01T00:00:00+00:00");
        assert_eq!(Timestamp::after_epoch(-1).unwrap().0.timestamp_micros(), 946_684_799_999_999);
    }
}
