//! Durations and sizes as people write them: `20s`, `500ms`, `30d`, `40MiB`.

use std::marker::PhantomData;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serializer, de};
use serde_json::Value;
use serde_with::{DeserializeAs, SerializeAs};

use crate::moment::duration;

/// A number with its unit.
pub(super) struct Human;

impl SerializeAs<Duration> for Human {
    fn serialize_as<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&written_duration(*duration))
    }
}

impl<'de> DeserializeAs<'de, Duration> for Human {
    fn deserialize_as<D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        duration(&text(deserializer)?).map_err(de::Error::custom)
    }
}

impl SerializeAs<ByteSize> for Human {
    fn serialize_as<S: Serializer>(size: &ByteSize, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&written_size(*size))
    }
}

impl<'de> DeserializeAs<'de, ByteSize> for Human {
    fn deserialize_as<D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        size(&text(deserializer)?).map_err(de::Error::custom)
    }
}

/// A duration, or a word in its place, which is `None`.
pub(super) struct Or<W>(PhantomData<W>);

/// The word in place of a duration.
pub(super) trait Word {
    /// As it is written.
    const WORD: &'static str;
}

/// `forever`.
pub(super) struct Forever;

impl Word for Forever {
    const WORD: &'static str = "forever";
}

/// `never`.
pub(super) struct Never;

impl Word for Never {
    const WORD: &'static str = "never";
}

impl<W: Word> SerializeAs<Option<Duration>> for Or<W> {
    fn serialize_as<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration.map_or(W::WORD.to_owned(), written_duration))
    }
}

impl<'de, W: Word> DeserializeAs<'de, Option<Duration>> for Or<W> {
    fn deserialize_as<D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = text(deserializer)?;
        if text == W::WORD {
            return Ok(None);
        }
        let read = duration(&text).map(Some);
        read.map_err(|problem| de::Error::custom(format!("{problem}, or {}", W::WORD)))
    }
}

/// A value as text, also when it is a number: `20` is text without a unit.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

fn size(text: &str) -> Result<ByteSize, String> {
    const WRITE: &str = "write 512KiB, 40MiB or 1GiB";
    if !text.contains(char::is_alphabetic) {
        return Err(format!("`{text}` has no unit: {WRITE}"));
    }
    text.parse().map_err(|_| format!("`{text}` is not a size: {WRITE}"))
}

/// As [`duration`] reads it.
pub fn written_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// As a setting has it, exactly.
pub fn written_size(size: ByteSize) -> String {
    let bytes = size.as_u64();
    let whole = |(_, bits): &(&str, u32)| bytes > 0 && bytes.trailing_zeros() >= *bits;
    match [("GiB", 30), ("MiB", 20), ("KiB", 10)].into_iter().find(whole) {
        Some((unit, bits)) => format!("{}{unit}", bytes >> bits),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_are_written_as_they_are_read() {
        for (text, millis) in [("20s", 20_000), ("500ms", 500), ("5m", 300_000), ("30d", 30 * 86_400_000)] {
            let read = duration(text).unwrap();
            assert_eq!(read, Duration::from_millis(millis), "{text}");
            assert_eq!(duration(&written_duration(read)), Ok(read), "{text}");
        }
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for text in ["20", "0", "-1", "1.5", ""] {
            assert!(duration(text).unwrap_err().contains("has no unit: write 500ms"), "{text}");
        }
        for text in ["soon", "18446744073709551615s"] {
            assert!(duration(text).unwrap_err().contains("not a duration"), "{text}");
        }
    }

    #[test]
    fn sizes_have_units_and_are_written_exactly() {
        for (text, bytes) in
            [("40MiB", 40 << 20), ("3000B", 3_000), ("64KiB", 64 << 10), ("1GB", 1_000_000_000)]
        {
            let read = size(text).unwrap();
            assert_eq!(read.as_u64(), bytes, "{text}");
            assert_eq!(size(&written_size(read)), Ok(read), "{text}");
        }
        assert!(size("4096").unwrap_err().contains("has no unit: write 512KiB"));
        assert!(size("much").unwrap_err().contains("not a size"));
    }
}
