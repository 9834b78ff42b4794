//! Settings from one source.

use std::collections::BTreeMap;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider, Source, util};

use super::names::{Meaning, flat, is_with_entries, meaning, read, unknown, value};
use super::origin::{Origin, variable};
use super::renamed::Renamed;

/// A setting from one source. Each is a separate provider, so that errors and `config show` name its place.
pub(super) struct Given {
    name: String,
    value: Value,
    origin: Origin,
    /// Set if the source uses the former name.
    old: Option<&'static Renamed>,
}

impl Given {
    /// From a source that has only text.
    ///
    /// # Errors
    /// When there is no such setting, or the value of a former name is not a number.
    pub(super) fn of_text(written: &str, text: &str, origin: Origin) -> Result<Self, String> {
        Self::new(written, origin, |name, old| match old {
            Some(old) if !old.is_same() => read(text),
            _ => value(name, text),
        })
    }

    /// From a source that has typed values.
    ///
    /// # Errors
    /// As [`of_text`](Self::of_text).
    pub(super) fn of_value(written: &str, value: Value, origin: Origin) -> Result<Self, String> {
        Self::new(written, origin, |_, _| value)
    }

    fn new(
        written: &str,
        origin: Origin,
        value: impl FnOnce(&str, Option<&Renamed>) -> Value,
    ) -> Result<Self, String> {
        let refused = |problem: String| format!("{problem} ({origin})");
        match meaning(written).ok_or_else(|| refused(unknown(written)))? {
            Meaning::Setting => {
                let value = entries(written, value(written, None));
                Ok(Self { name: written.to_owned(), value, origin, old: None })
            }
            Meaning::Entry(setting, entry) => {
                let value = Dict::from([(entry, value(written, None))]).into();
                Ok(Self { name: setting.to_owned(), value, origin, old: None })
            }
            Meaning::Old(old) => {
                let converted = old.converted(entries(old.new, value(old.new, Some(old))));
                let value = converted.map_err(|problem| refused(format!("{written} {problem}")))?;
                Ok(Self { name: old.new.to_owned(), value, origin, old: Some(old) })
            }
        }
    }

    /// The warning about a former name.
    pub(super) fn warning(&self) -> Option<String> {
        let Renamed { old, new, .. } = self.old?;
        let now = match &self.value {
            Value::String(_, text) if !self.old?.is_same() => format!("{new} = \"{text}\""),
            _ => (*new).to_owned(),
        };
        let now = match self.origin {
            Origin::Environment(_) => format!("{} ({now})", variable(new)),
            _ => now,
        };
        Some(format!("`{old}` ({}) is called {now} now; a later release removes the old name", self.origin))
    }
}

/// The value of a setting; a table within its table is an entry whose name has a dot.
fn entries(name: &str, value: Value) -> Value {
    match value {
        Value::Dict(tag, dict) if is_with_entries(name) => Value::Dict(tag, flat(dict)),
        value => value,
    }
}

impl Provider for Given {
    fn metadata(&self) -> Metadata {
        let place = self.origin.place().unwrap_or_default().to_owned();
        Metadata::from(self.origin.kind(), Source::Custom(place))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = util::nest(&self.name, self.value.clone()).into_dict().unwrap_or_default();
        Ok(Map::from([(Profile::Default, nested)]))
    }
}

/// Refuses a setting that one source gives under both its former and its new name.
///
/// # Errors
/// Names both.
pub(super) fn refuse_both(given: &[Given]) -> Result<(), String> {
    let new = given.iter().filter(|one| one.old.is_none());
    let new: BTreeMap<&str, &Given> = new.map(|one| (one.name.as_str(), one)).collect();
    let both = given.iter().find_map(|one| Some((one.old?.old, &one.origin, *new.get(one.name.as_str())?)));
    both.map_or(Ok(()), |(old, place, Given { name, origin, .. })| {
        let keep = origin.writes(name);
        Err(format!("{old} ({place}) and {name} ({origin}) are the same setting: keep {keep}"))
    })
}
