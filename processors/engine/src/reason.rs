//! A reason for a failure: a text for people, and the error that caused it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A text for people, and the error that caused it. The text includes the error's message, so that it is complete when printed
/// alone; [`source`](Error::source) is for programs. Two reasons are equal when their texts are.
#[derive(Debug, Clone)]
pub struct Reason {
    text: String,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl Reason {
    /// The message of an error with those of its sources.
    pub fn of(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        Self { text: chain(&*error), cause: Some(Arc::from(error)) }
    }

    /// `what` did not happen; the error's message follows after a colon.
    pub fn because(what: impl fmt::Display, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of(error).with_text(|said| format!("{what}: {said}"))
    }

    /// The same error with another text.
    #[must_use]
    pub fn with_text(self, text: impl FnOnce(&str) -> String) -> Self {
        Self { text: text(&self.text), ..self }
    }

    /// The same text with an error as its source, whose message the text already includes.
    #[must_use]
    pub fn with_source(self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(Arc::from(error.into())), ..self }
    }

    /// The text for people.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The message of an error, and of each of its sources that the message does not include.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Reason {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| -> &(dyn Error + 'static) { cause })
    }
}

impl PartialEq for Reason {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Reason {}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self { text, cause: None }
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("not read")]
    struct NotRead(#[source] io::Error);

    #[test]
    fn a_reason_says_each_error_once_and_keeps_the_first_as_its_source() {
        let error = NotRead(io::Error::from(io::ErrorKind::NotFound));
        let reason = Reason::because("rules.json", error);
        assert_eq!(reason.to_string(), "rules.json: not read: entity not found");
        assert!(reason.source().is_some_and(|source| source.is::<NotRead>()));
    }

    #[test]
    fn a_text_alone_has_no_source() {
        assert!(Reason::from("no").source().is_none());
    }
}
