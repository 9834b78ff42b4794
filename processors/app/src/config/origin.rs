//! Where a value comes from.

use std::fmt;

use figment::{Metadata, Source};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is the default.
    Default,
    /// A file and its line: `millrace.toml:3`.
    File(String),
    /// A variable of the environment.
    Environment(String),
    /// The command line: `--set kafka.brokers`.
    Flag(String),
}

impl Origin {
    /// `default`, `file`, `environment` or `flag`.
    pub fn kind(&self) -> &'static str {
        match self {
            Origin::Default => "default",
            Origin::File(_) => "file",
            Origin::Environment(_) => "environment",
            Origin::Flag(_) => "flag",
        }
    }

    /// The line, the variable or the flag; `None` of a default.
    pub fn place(&self) -> Option<&str> {
        match self {
            Origin::Default => None,
            Origin::File(place) | Origin::Environment(place) | Origin::Flag(place) => Some(place),
        }
    }

    /// How a setting is written in this source.
    pub(super) fn writes(&self, name: &str) -> String {
        match self {
            Origin::Environment(_) => variable(name),
            Origin::Flag(_) => format!("--set {name}"),
            Origin::Default | Origin::File(_) => name.to_owned(),
        }
    }

    pub(super) fn of(metadata: &Metadata) -> Self {
        let place = metadata.source.as_ref().and_then(Source::custom).unwrap_or_default().to_owned();
        match metadata.name.as_ref() {
            "file" => Origin::File(place),
            "environment" => Origin::Environment(place),
            "flag" => Origin::Flag(place),
            _ => Origin::Default,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        self.place().map_or(Ok(()), |place| write!(f, " {place}"))
    }
}

/// The variable of a setting: `MILLRACE_KAFKA__BROKERS`.
pub fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_uppercase().replace('.', SEPARATOR))
}

/// The prefix of variables.
pub(super) const PREFIX: &str = "MILLRACE_";
/// The separator in variables, in place of the dot.
pub(super) const SEPARATOR: &str = "__";
