//! Secrets: read from any value, shown as `***`.

use std::path::Path;

use secrecy::SecretString;
use serde::{Deserializer, Serializer};
use serde_with::{DeserializeAs, SerializeAs};

use super::units::text;
use crate::failure::Failure;

/// What stands in place of a secret.
const SHOWN: &str = "***";

/// A [`SecretString`] that may look like a number. Without this, the error for the password `123` would print it.
pub(super) struct Hidden;

impl SerializeAs<SecretString> for Hidden {
    fn serialize_as<S: Serializer>(_: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(SHOWN)
    }
}

impl<'de> DeserializeAs<'de, SecretString> for Hidden {
    fn deserialize_as<D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
        Ok(text(deserializer)?.into())
    }
}

/// The content of the file that a setting or an option names, without the final newline.
///
/// # Errors
/// [`Failure::Usage`], which names the file and never its content.
pub(super) fn read_secret(name: &str, file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file);
    let text =
        text.map_err(|error| Failure::usage(format!("{name}: {}", file.display())).caused_by(error))?;
    Ok(text.trim_end().to_owned())
}

/// The content of the file when a setting names one, else the configured secret.
pub(super) fn from_file(
    name: &str,
    file: Option<&Path>,
    configured: Option<SecretString>,
) -> Result<Option<SecretString>, Failure> {
    file.map_or(Ok(configured), |file| read_secret(name, file).map(|secret| Some(secret.into())))
}
