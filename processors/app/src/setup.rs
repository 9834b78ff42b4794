//! `millrace setup` and `millrace teardown`: one line a step.

use std::time::Duration;

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::setup::{self, Did, Options, Step, wait};
use serde_json::json;

use crate::output::{self, Format};
use crate::progress::Terminal;

/// Creates what an instance needs and is not there, and then waits until its views serve, when asked to.
///
/// # Errors
/// As [`setup::setup`], and as [`wait::until_served`].
pub(crate) async fn setup(
    config: &Config,
    format: Format,
    options: Options,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let shown = |step: &Step| !options.dry_run || [Did::WouldCreate, Did::WouldUpdate].contains(&step.did);
    let report = &mut |step: &Step| if shown(step) { print(format, step) } else { Ok(()) };
    let steps: Vec<Step> = setup::setup(config, options, report).await?.into_iter().filter(shown).collect();
    if options.dry_run && steps.is_empty() {
        output::say("nothing would change");
    }
    end(format, &steps)?;
    match timeout {
        Some(timeout) => wait::until_served(config, timeout, &Terminal::default()).await,
        None => Ok(()),
    }
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
