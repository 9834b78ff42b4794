//! `millrace setup` and `millrace teardown`: one line a step.

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::setup::{self, Step};
use serde_json::json;

use crate::output::{self, Format};

/// Creates what an instance needs and is not there.
///
/// # Errors
/// As [`setup::setup`].
pub(crate) async fn setup(config: &Config, format: Format) -> Result<(), Failure> {
    end(format, &setup::setup(config, &mut |step| print(format, step)).await?)
}

/// Removes what the namespace owns.
///
/// # Errors
/// [`Failure::Usage`] without `yes`; else as [`setup::teardown`].
pub(crate) async fn teardown(config: &Config, format: Format, yes: bool) -> Result<(), Failure> {
    if !yes {
        return Err(Failure::usage(format!(
            "teardown deletes all data of the namespace `{}`: events, receipts, read models. Add --yes if you mean it.",
            config.namespace
        )));
    }
    end(format, &setup::teardown(config, &mut |step| print(format, step)).await?)
}

/// A step at once as text; JSON is one document.
fn print(format: Format, Step { did, what, name }: &Step) -> Result<(), Failure> {
    match format {
        Format::Text => output::write(&format!("{:<8} {what:<16} {name}\n", did.as_str())),
        Format::Json => Ok(()),
    }
}

fn end(format: Format, steps: &[Step]) -> Result<(), Failure> {
    match format {
        Format::Text => Ok(()),
        Format::Json => output::print(format, "", &json!(steps)),
    }
}
