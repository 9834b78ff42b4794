//! The calendar of a subscription, in UTC: every period is counted from one day and never drifts.

use chrono::{DateTime, Datelike, Months};
use serde::{Deserialize, Serialize};

/// Databases and libraries can hold the years until then.
const YEAR_MAX: i32 = 9999;

/// How long a period is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cycle {
    /// A month of the calendar.
    Month,
    /// A year of the calendar.
    Year,
}

/// When the periods of a subscription begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    cycle: Cycle,
    /// When the period `first` begins, in microseconds since 1970: all others are counted from there, so that what began
    /// on 31 January goes on on 28 February and on 31 March.
    begins: i64,
    first: i64,
}

/// One period of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// 1 for the first one.
    pub number: i64,
    /// When it begins, in microseconds since 1970.
    pub from: i64,
    /// When it ends and the next one begins.
    pub until: i64,
}

impl Cycle {
    /// The cycle that commands and events call so.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "month" => Some(Self::Month),
            "year" => Some(Self::Year),
            _ => None,
        }
    }

    fn months(self) -> i64 {
        match self {
            Self::Month => 1,
            Self::Year => 12,
        }
    }
}

impl Calendar {
    /// The calendar of a subscription whose first period begins at this time, in microseconds since 1970.
    pub fn starting(cycle: Cycle, begins: i64) -> Self {
        Self { cycle, begins, first: 1 }
    }

    /// A period; `None` before the first one and where the calendar ends.
    pub fn period(&self, number: i64) -> Option<Period> {
        let until = self.beginning(number.checked_add(1)?)?;
        Some(Period { number, from: self.beginning(number)?, until })
    }

    fn beginning(&self, number: i64) -> Option<i64> {
        let months = number.checked_sub(self.first)?.checked_mul(self.cycle.months())?;
        let begins = DateTime::from_timestamp_micros(self.begins)?;
        let time = begins.checked_add_months(Months::new(u32::try_from(months).ok()?))?;
        (time.year() <= YEAR_MAX).then(|| time.timestamp_micros())
    }

    /// The calendar from the period behind `unpaid` on, which takes its place: it begins at the resumption, or when
    /// `unpaid` would have, if that is later.
    #[must_use]
    pub fn resumed(self, unpaid: Period, at: i64) -> Self {
        if at > unpaid.from {
            return Self { begins: at, first: unpaid.number.saturating_add(1), ..self };
        }
        Self { first: self.first.saturating_add(1), ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn micros(time: &str) -> i64 {
        format!("{time}T10:30:00Z").parse::<DateTime<chrono::Utc>>().unwrap().timestamp_micros()
    }

    /// The days on which the first periods begin.
    fn days(calendar: Calendar, periods: i64) -> Vec<String> {
        let from = |number| calendar.period(number).unwrap().from;
        let day = |number| DateTime::from_timestamp_micros(from(number)).unwrap().date_naive().to_string();
        (1..=periods).map(day).collect()
    }

    #[test]
    fn months_from_the_last_day_of_a_month_never_drift() {
        let calendar = Calendar::starting(Cycle::Month, micros("2023-01-31"));
        let expected = ["2023-01-31", "2023-02-28", "2023-03-31", "2023-04-30", "2023-05-31"];
        assert_eq!(days(calendar, 5), expected);
        let leap = Calendar::starting(Cycle::Month, micros("2024-01-30"));
        assert_eq!(days(leap, 3), ["2024-01-30", "2024-02-29", "2024-03-30"]);
    }

    #[test]
    fn years_from_a_leap_day_come_back_to_it() {
        let calendar = Calendar::starting(Cycle::Year, micros("2024-02-29"));
        let expected = ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"];
        assert_eq!(days(calendar, 5), expected);
        let century = Calendar::starting(Cycle::Year, micros("2096-02-29"));
        assert_eq!(century.period(5).unwrap().from, micros("2100-02-28"));
    }

    #[test]
    fn what_is_resumed_late_is_counted_from_the_resumption() {
        let calendar = Calendar::starting(Cycle::Month, micros("2024-01-31"));
        let resumed = calendar.resumed(calendar.period(2).unwrap(), micros("2024-03-10"));
        let period = resumed.period(3).unwrap();
        assert_eq!((period.from, period.until), (micros("2024-03-10"), micros("2024-04-10")));
        assert_eq!(resumed.period(2), None);
    }

    #[test]
    fn what_is_resumed_in_time_keeps_its_days() {
        let calendar = Calendar::starting(Cycle::Month, micros("2024-01-31"));
        let unpaid = calendar.period(2).unwrap();
        for at in [micros("2024-02-10"), unpaid.from] {
            let resumed = calendar.resumed(unpaid, at);
            assert_eq!(resumed.period(3).unwrap(), Period { number: 3, ..unpaid });
            assert_eq!(resumed.period(4).unwrap().from, micros("2024-03-31"));
        }
    }

    #[test]
    fn the_calendar_ends() {
        let calendar = Calendar::starting(Cycle::Year, micros("2200-12-31"));
        assert!(calendar.period(7_799).is_some());
        for number in [i64::MIN, 0, 7_801, i64::from(u32::MAX), i64::MAX] {
            assert_eq!(calendar.period(number), None, "{number}");
        }
    }

    proptest! {
        #[test]
        fn periods_follow_each_other_without_gap_or_overlap(
            begins in -2_208_988_800_000_000_i64..7_289_654_400_000_000,
            number in 1_i64..2_000,
            yearly: bool,
        ) {
            let cycle = if yearly { Cycle::Year } else { Cycle::Month };
            let calendar = Calendar::starting(cycle, begins);
            let (one, next) = (calendar.period(number).unwrap(), calendar.period(number + 1).unwrap());
            prop_assert!(one.from < one.until);
            prop_assert_eq!(one.until, next.from);
            prop_assert_eq!(calendar.period(1).unwrap().from, begins);
        }
    }
}
