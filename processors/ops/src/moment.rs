//! Durations and times in the formats that people write.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serializer;
use serde_with::SerializeAs;

/// A length of time, such as `90s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// The longest duration; adding it to a time does not overflow.
const LONGEST: Duration = Duration::from_millis(i64::MAX.unsigned_abs());

/// Reads a duration: numbers with units, such as `500ms` or `1m 30s`.
///
/// # Errors
/// The expected format.
pub fn duration(text: &str) -> Result<Duration, String> {
    const WRITE: &str = "write 500ms, 90s, 15m, 12h or 30d";
    if !text.contains(char::is_alphabetic) {
        return Err(format!("`{text}` has no unit: {WRITE}"));
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err(format!("`{text}` is not a duration: {WRITE}")),
    }
}

/// Reads a length of time, as [`duration`] does.
///
/// # Errors
/// The expected format.
pub fn span(text: &str) -> Result<Span, String> {
    duration(text).map(Span)
}

/// Reads a time: RFC 3339, or how long ago.
///
/// # Errors
/// The expected format.
pub fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let refuse = || format!("`{text}` is not a moment: write 15m, 1h or 2d (ago), or 2026-01-31T12:00:00Z");
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment.to_utc());
    }
    let ago = span(text).map_err(|_| refuse())?;
    let ago = chrono::TimeDelta::from_std(ago.0).map_err(|_| refuse())?;
    Utc::now().checked_sub_signed(ago).ok_or_else(refuse)
}

/// A duration for people, in its two largest units: `2d 3h`, `4m 5s`, `1.2 s`, `35 ms`.
pub fn shown(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{:.1} s", span.as_secs_f64()),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A time in JSON, in milliseconds; a time out of range becomes the nearest one in range.
pub fn written(moment: DateTime<Utc>) -> String {
    match [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC].map(|end| moment == end) {
        [true, _] => "-infinity".to_owned(),
        [_, true] => "infinity".to_owned(),
        _ => moment.to_rfc3339_opts(SecondsFormat::Millis, true),
    }
}

/// Serializes a time as [`written`] does.
pub(crate) struct Written;

impl SerializeAs<DateTime<Utc>> for Written {
    fn serialize_as<S: Serializer>(moment: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&written(*moment))
    }
}

impl JsonSchema for Written {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A time in RFC 3339, in UTC and in milliseconds; `-infinity` or `infinity` when it is out of range."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_shown() {
        assert_eq!(span("90s"), Ok(Span(Duration::from_secs(90))));
        assert_eq!(span("2d"), Ok(Span(Duration::from_secs(172_800))));
        for bad in
            ["", "s", "1", "-1s", "1é", "99999999999999999999d", "9999999999999999999d", "200000000000d"]
        {
            assert!(span(bad).unwrap_err().contains(": write 500ms, 90s"), "{bad}");
        }
        assert_eq!(shown(Duration::from_millis(35)), "35 ms");
        assert_eq!(shown(Duration::from_secs(245)), "4m 5s");
    }

    #[test]
    fn moments_are_times_or_ago() {
        assert_eq!(moment("1996-07-04T02:00:00+02:00").unwrap().to_rfc3339(), "1996-07-04T00:00:00+00:00");
        let ago = Utc::now() - moment("1h").unwrap();
        assert!((3_599..3_605).contains(&ago.num_seconds()), "{ago}");
        for bad in ["yesterday", "1996-07-04", "106751991167300d"] {
            assert!(moment(bad).unwrap_err().contains("(ago)"), "{bad}");
        }
    }
}
