//! The output and the exit code of an operator's command.

use std::process::Output;

use serde_json::Value;

/// The outcome of one `millrace …`.
#[derive(Debug)]
pub struct Outcome {
    /// What was run.
    pub arguments: String,
    /// The exit code.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Messages.
    pub stderr: String,
}

impl Outcome {
    /// The outcome of a program that has ended.
    ///
    /// # Panics
    /// When it printed what is not UTF-8.
    pub fn new(arguments: &[&str], output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let arguments = arguments.join(" ");
        Self {
            arguments,
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Expects exit code 0.
    pub fn expect_success(&self) -> &Self {
        self.expect_code(0)
    }

    /// Expects an exit code.
    pub fn expect_code(&self, code: i32) -> &Self {
        // The error comes first, since a test report may cut long text.
        let Self { arguments, stdout, stderr, .. } = self;
        assert_eq!(self.code, Some(code), "millrace {arguments}\n{stderr}\n{stdout}");
        self
    }

    /// Expects this text, in data or messages.
    pub fn expect_told(&self, text: &str) -> &Self {
        let Self { arguments, stdout, stderr, .. } = self;
        assert!(
            stdout.contains(text) || stderr.contains(text),
            "millrace {arguments} tells nothing of {text:?}\n{stdout}\n{stderr}"
        );
        self
    }

    /// Expects another exit code than 0.
    pub fn expect_failure(&self) -> &Self {
        assert_ne!(self.code, Some(0), "millrace {}\n{}\n{}", self.arguments, self.stderr, self.stdout);
        self
    }

    /// Expects that neither data nor messages have this text.
    pub fn expect_not_told(&self, text: &str) -> &Self {
        let Self { arguments, stdout, stderr, .. } = self;
        assert!(
            !stdout.contains(text) && !stderr.contains(text),
            "millrace {arguments} shows {text:?}\n{stderr}\n{stdout}"
        );
        self
    }

    /// The JSON document that it printed.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.arguments, self.stdout))
    }
}
