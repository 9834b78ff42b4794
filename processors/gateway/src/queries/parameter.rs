//! Parameters of queries: their types, and reading them from a request.

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use serde_json::{Value as Json, json};

use super::cursor::{self, CURSOR_MAX};
use crate::problem::FieldError;

/// Characters of a text, at most: more than any id has.
pub(crate) const TEXT_MAX: usize = 512;

/// A type with its limits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// 1 to [`TEXT_MAX`] characters without control characters.
    Text,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A whole number.
    Integer {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// `true` or `false`.
    Flag,
    /// RFC 3339.
    Time,
    /// A day, such as `2026-01-31`.
    Date,
    /// Where a list goes on.
    Cursor,
}

/// A parameter of the path or of the query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its type.
    pub(crate) kind: Kind,
    /// What it means.
    pub(crate) meaning: &'static str,
}

/// A value that fits its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Of [`Kind::Text`], [`Kind::OneOf`] and [`Kind::Cursor`].
    Text(String),
    /// Of [`Kind::Integer`].
    Integer(i64),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Time`].
    Time(DateTime<Utc>),
    /// Of [`Kind::Date`].
    Date(NaiveDate),
}

impl Kind {
    /// The value of a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text => fitting(text).map(Value::Text),
            Self::OneOf(known) => {
                let found = known.contains(&text).then(|| Value::Text(text.to_owned()));
                found.ok_or_else(|| format!("must be one of {}", known.join(", ")))
            }
            Self::Integer { min, max } => {
                let number = text.parse().ok().filter(|number| (min..=max).contains(number));
                number.map(Value::Integer).ok_or_else(|| format!("must be a whole number, {min} to {max}"))
            }
            Self::Flag => text.parse().map(Value::Flag).map_err(|_| "must be true or false".to_owned()),
            Self::Time => time(text).map(Value::Time).ok_or_else(|| {
                "must be a time of RFC 3339 from the year 1 on, such as 2026-01-31T12:00:00Z".to_owned()
            }),
            Self::Date => {
                // As it is written: other spellings and years are not for Postgres.
                let fits = |date: &NaiveDate| (1..=9_999).contains(&date.year()) && date.to_string() == text;
                let date = text.parse().ok().filter(fits);
                date.map(Value::Date).ok_or_else(|| "must be a day, such as 2026-01-31".to_owned())
            }
            Self::Cursor => {
                cursor::is_one(text).then(|| Value::Text(text.to_owned())).ok_or_else(cursor::none)
            }
        }
    }

    /// Its JSON schema.
    pub(crate) fn schema(self) -> Json {
        match self {
            Self::Text => json!({"type": "string", "minLength": 1, "maxLength": TEXT_MAX}),
            Self::OneOf(known) => json!({"type": "string", "enum": known}),
            Self::Integer { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Time => json!({"type": "string", "format": "date-time"}),
            Self::Date => json!({"type": "string", "format": "date"}),
            Self::Cursor => json!({"type": "string", "pattern": "^([0-9a-f]{2})+$", "maxLength": CURSOR_MAX}),
        }
    }
}

/// Postgres has no text with NUL, and control characters cannot be read by people.
fn fitting(text: &str) -> Result<String, String> {
    let count = text.chars().count();
    if !(1..=TEXT_MAX).contains(&count) {
        return Err(format!("must have 1 to {TEXT_MAX} characters, not {count}"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not have control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    (time >= DateTime::from_timestamp(FIRST_SECOND, 0)?).then_some(time)
}

/// 0001-01-01T00:00:00Z.
const FIRST_SECOND: i64 = -62_135_596_800;

/// The values of the parameters of a query string, in the order of `known`, each `None` when it is not given.
///
/// # Errors
/// Everything that is wrong: unknown and repeated parameters, values that do not fit, a time range that ends before it begins.
pub(crate) fn read(
    known: &[Parameter],
    given: &[(String, String)],
) -> Result<Vec<Option<Value>>, Vec<FieldError>> {
    let mut errors: Vec<FieldError> = unknown(known, given).collect();
    let mut values = Vec::with_capacity(known.len());
    for parameter in known {
        values.push(value(parameter, given).unwrap_or_else(|message| {
            errors.push(FieldError { path: parameter.name.to_owned(), message });
            None
        }));
    }
    errors.extend(ends_before_it_begins(known, &values));
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

fn unknown<'g>(
    known: &'g [Parameter],
    given: &'g [(String, String)],
) -> impl Iterator<Item = FieldError> + use<'g> {
    let names: Vec<&str> = known.iter().map(|parameter| parameter.name).collect();
    let is_unknown = move |name: &&String| !known.iter().any(|parameter| parameter.name == *name);
    given.iter().map(|(name, _)| name).filter(is_unknown).map(move |name| FieldError {
        path: name.chars().take(TEXT_MAX).collect(),
        message: match names.is_empty() {
            true => "is not a parameter: there are none".to_owned(),
            false => format!("is not a parameter: there are {}", names.join(", ")),
        },
    })
}

fn value(parameter: &Parameter, given: &[(String, String)]) -> Result<Option<Value>, String> {
    let mut texts = given.iter().filter(|(name, _)| name == parameter.name).map(|(_, text)| text);
    let Some(text) = texts.next() else { return Ok(None) };
    if texts.next().is_some() {
        return Err("is there more than once".to_owned());
    }
    parameter.kind.read(text).map(Some)
}

/// A range is half open: from its begin on, and before its end.
fn ends_before_it_begins(known: &[Parameter], values: &[Option<Value>]) -> Option<FieldError> {
    let of = |name: &str| {
        let place = known.iter().position(|parameter| parameter.name == name)?;
        values.get(place)?.as_ref()
    };
    let is_empty = match (of("from")?, of("until")?) {
        (Value::Time(from), Value::Time(until)) => until <= from,
        (Value::Date(from), Value::Date(until)) => until <= from,
        _ => false,
    };
    is_empty.then(|| FieldError { path: "until".to_owned(), message: "must be after `from`".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Parameter; 4] = [
        Parameter { name: "from", kind: Kind::Time, meaning: "" },
        Parameter { name: "until", kind: Kind::Time, meaning: "" },
        Parameter { name: "limit", kind: Kind::Integer { min: 1, max: 9 }, meaning: "" },
        Parameter { name: "status", kind: Kind::OneOf(&["open", "closed"]), meaning: "" },
    ];

    fn given(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let wrong = [("limit", "10"), ("colour", "red"), ("status", "Open"), ("from", "now"), ("from", "1")];
        let errors = read(&KNOWN, &given(&wrong)).unwrap_err();
        let mut paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["colour", "from", "limit", "status"]);
    }

    #[test]
    fn what_fits_is_in_the_order_of_the_declaration() {
        let values = read(&KNOWN, &given(&[("status", "open"), ("limit", "9")])).unwrap();
        assert_eq!(values, [None, None, Some(Value::Integer(9)), Some(Value::Text("open".to_owned()))]);
    }

    #[test]
    fn a_range_that_is_empty_is_refused() {
        let range = |until| given(&[("from", "2026-01-01T00:00:00Z"), ("until", until)]);
        assert!(read(&KNOWN, &range("2026-01-01T01:00:00+01:00")).is_err());
        assert!(read(&KNOWN, &range("2026-01-01T00:00:00.000001Z")).is_ok());
    }

    #[test]
    fn no_text_that_postgres_cannot_take_is_passed_on() {
        for (kind, text) in [
            (Kind::Text, ""),
            (Kind::Text, "a\0b"),
            (Kind::Text, &"x".repeat(TEXT_MAX + 1)),
            (Kind::Time, "0000-01-01T00:00:00Z"),
            (Kind::Time, "+20000-01-01T00:00:00Z"),
            (Kind::Date, "+20000-01-31"),
            (Kind::Date, "-9999-1-01"),
            (Kind::Date, "+9999-1-01"),
            (Kind::Date, "0000-01-01"),
            (Kind::Date, "2026-02-30"),
            (Kind::Integer { min: 1, max: 9 }, "99999999999999999999"),
            (Kind::Flag, "yes"),
        ] {
            assert!(kind.read(text).is_err(), "{text}");
        }
    }
}
