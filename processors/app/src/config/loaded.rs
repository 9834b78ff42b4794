//! All sources together: flag, else environment, else TOML file, else default.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::Serialized;
use figment::value::Value;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;

use super::given::{self, Given};
use super::origin::Origin;
use super::{Global, environment, file};

/// The file that is read without `--config`, if it exists.
const DEFAULT_FILE: &str = "millrace.toml";

/// The configuration of this process, and the origin of each value.
pub struct Loaded {
    /// The values in force.
    pub config: Config,
    /// Warnings: former names that a later release removes.
    pub warnings: Vec<String>,
    sources: Figment,
}

impl Loaded {
    /// Reads the configuration of this process.
    ///
    /// # Errors
    /// [`Failure::Usage`], which names the setting, where it was set and the problem, and never a secret.
    pub fn read(flags: &Global) -> Result<Self, Failure> {
        // A variable that is not UTF-8 is ignored.
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self::from(flags, &std::env::vars_os().filter_map(text).collect::<Vec<_>>())
    }

    pub(crate) fn from(flags: &Global, environment: &[(String, String)]) -> Result<Self, Failure> {
        let sources = [
            from_file(flags.config.as_deref())?,
            environment::well_known(environment).map_err(Failure::usage)?,
            environment::prefixed(environment).map_err(Failure::usage)?,
            flags.given().map_err(Failure::usage)?,
        ];
        sources.iter().try_for_each(|source| given::refuse_both(source)).map_err(Failure::usage)?;
        let given: Vec<Given> = sources.into_iter().flatten().collect();
        let warnings = given.iter().filter_map(Given::warning).collect();
        let defaults = Figment::from(Serialized::defaults(Config::default()));
        let sources = given.into_iter().fold(defaults, Figment::merge);
        let config: Config = sources.extract().map_err(|errors| Failure::usage(listed(errors)))?;
        Ok(Self { config: config.usable()?, warnings, sources })
    }

    /// Where the value of a setting, or of an entry of it, comes from.
    pub fn origin(&self, name: &str, entry: Option<&str>) -> Origin {
        let value = self.sources.find_value(name).ok();
        let value = match entry {
            Some(entry) => value.and_then(|value| value.as_dict()?.get(entry).cloned()),
            None => value,
        };
        let metadata = value.as_ref().map(Value::tag).and_then(|tag| self.sources.get_metadata(tag));
        metadata.map_or(Origin::Default, Origin::of)
    }
}

/// The name of a type, for people.
fn in_words(kind: &str) -> String {
    match kind {
        "a sequence" => "a list, such as [\"customers\", \"orders\"]".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "bool" | "a boolean" => "true or false".to_owned(),
        other => other.to_owned(),
    }
}

fn from_file(named: Option<&Path>) -> Result<Vec<Given>, Failure> {
    let found = match named {
        Some(file) if file.is_file() => file.to_owned(),
        Some(file) => {
            return Err(Failure::usage(format!("--config {}: there is no such file", file.display())));
        }
        None => match PathBuf::from(DEFAULT_FILE) {
            file if file.is_file() => file,
            _ => return Ok(Vec::new()),
        },
    };
    let path = found.display().to_string();
    let text =
        std::fs::read_to_string(&found).map_err(|error| Failure::usage(path.as_str()).caused_by(error))?;
    file::given(&path, &text).map_err(Failure::usage)
}

/// All problems of the sources, one per line.
fn listed(errors: figment::Error) -> String {
    let line = |error: figment::Error| {
        let name = if error.path.is_empty() { "configuration".to_owned() } else { error.path.join(".") };
        let place = error.metadata.as_ref().map(|from| format!(" ({})", Origin::of(from)));
        let problem = match error.kind {
            // It may be a secret.
            Kind::InvalidType(Actual::Str(_), expected) => {
                format!("text, and not {}", in_words(&expected.to_string()))
            }
            other => other.to_string().replace("``", "`"),
        };
        format!("{name}{}: {problem}", place.unwrap_or_default())
    };
    errors.into_iter().map(line).collect::<Vec<_>>().join("\n")
}
