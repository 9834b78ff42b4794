//! What is sent: the same records in every run.

pub(crate) mod customers;
pub(crate) mod orders;
pub(crate) mod sale;

use std::ops::Range;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat};
use uuid::Uuid;

use crate::cli::Order;

/// 2026-01-01: a backlog's records are a millisecond apart from here on.
const FIRST_MILLISECOND: u64 = 1_767_225_600_000;

/// A record of a stream, by the stream's number and the version that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) stream: u64,
    pub(crate) version: u64,
}

/// Every version of every stream, in the order asked for.
pub(crate) fn steps(streams: Range<u64>, versions: u64, order: Order) -> impl Iterator<Item = Step> {
    let (first, count) = (streams.start, streams.end - streams.start);
    (0..count * versions).map(move |place| match order {
        Order::Spread => Step { stream: first + place % count, version: place / count + 1 },
        Order::Together => Step { stream: first + place / versions, version: place % versions + 1 },
    })
}

/// The time at which the `number`-th of something that happens `rate` times a second is meant to happen.
pub(crate) fn intended(began: Instant, number: u32, rate: u32) -> Instant {
    began + Duration::from_secs(1) * number / rate
}

/// A UUIDv7, as Millrace's own ids are: in the order of `number`, the rest looks random and is the same every time.
pub(crate) fn id(kind: &str, number: u64) -> Uuid {
    let random = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{kind} {number}").as_bytes());
    let mut bits = [0_u8; 10];
    bits.iter_mut().zip(random.as_bytes()).for_each(|(bit, byte)| *bit = *byte);
    uuid::Builder::from_unix_timestamp_millis(FIRST_MILLISECOND + number, &bits).into_uuid()
}

/// The id of an event: derived, as that of every event is.
pub(crate) fn event_id(stream: &str, version: u64) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{stream} {version}").as_bytes())
}

/// When a step happens, as RFC 3339 and in microseconds.
pub(crate) fn time(step: Step) -> (String, i64) {
    let milliseconds = i64::try_from(FIRST_MILLISECOND + step.stream).unwrap_or(0);
    let at = DateTime::from_timestamp_millis(milliseconds + 1_000 * i64::try_from(step.version).unwrap_or(0));
    let at = at.unwrap_or_default();
    (at.to_rfc3339_opts(SecondsFormat::Micros, true), at.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(order: Order) -> Vec<(u64, u64)> {
        steps(0..2, 2, order).map(|step| (step.stream, step.version)).collect()
    }

    #[test]
    fn versions_of_a_stream_come_in_order_whatever_the_order_of_streams() {
        assert_eq!(numbers(Order::Spread), [(0, 1), (1, 1), (0, 2), (1, 2)]);
        assert_eq!(numbers(Order::Together), [(0, 1), (0, 2), (1, 1), (1, 2)]);
    }

    #[test]
    fn a_backlog_goes_on_where_another_ended() {
        let streams: Vec<u64> = steps(5..7, 1, Order::Spread).map(|step| step.stream).collect();
        assert_eq!(streams, [5, 6]);
    }

    #[test]
    fn ids_are_the_same_every_time_and_in_order() {
        assert_eq!(id("customer", 7), id("customer", 7));
        assert!(id("customer", 7) < id("customer", 8));
        assert_ne!(id("customer", 7), id("order", 7));
    }
}
