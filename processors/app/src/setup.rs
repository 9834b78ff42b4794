//! `millrace setup` and `millrace teardown`: print a line for each step that changes something.

use std::time::Duration;

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::setup::{self, Options, Step, wait};

use crate::output::{self, Format};
use crate::progress::Terminal;

/// Creates everything that an instance lacks; with `wait` then waits until its views serve.
///
/// # Errors
/// As [`setup::setup`], and as [`wait::until_served`].
pub(crate) async fn setup(
    config: &Config,
    format: Format,
    options: Options,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let steps = setup::setup(config, options, &mut |step| print(format, step)).await?;
    let done = if options.dry_run { "would change" } else { "changed" };
    end(format, &steps, (done, "as they should be"))?;
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
    let steps = setup::teardown(config, &mut |step| print(format, step)).await?;
    end(format, &steps, ("removed", "not there"))
}

/// Prints a step that changed something as text at once; JSON is printed at the end.
fn print(format: Format, step: &Step) -> Result<(), Failure> {
    match format {
        Format::Text if !step.is_nothing() => output::write(&line(step)),
        Format::Text | Format::Json => Ok(()),
    }
}

fn line(Step { did, what, name }: &Step) -> String {
    format!("{:<8} {what:<16} {name}\n", did.as_str())
}

/// Prints all steps as JSON; as text only their number, and how many changed nothing.
fn end(format: Format, steps: &[Step], words: (&str, &str)) -> Result<(), Failure> {
    match format {
        Format::Text => output::say(&sum(steps, words)),
        Format::Json => output::print(format, "", &steps.to_vec())?,
    }
    Ok(())
}

fn sum(steps: &[Step], (done, nothing): (&str, &str)) -> String {
    let none = steps.iter().filter(|step| step.is_nothing()).count();
    match steps.len() - none {
        0 => format!("nothing {done}: all {none} are {nothing}"),
        some => format!("{some} {done}, {none} are {nothing}"),
    }
}

#[cfg(test)]
mod tests {
    use millrace_ops::setup::Did;

    use super::*;

    #[test]
    fn what_is_as_it_should_be_is_counted_and_what_changes_is_told() {
        let step = |did, name: &str| Step { did, what: "topic".to_owned(), name: name.to_owned() };
        let steps = [step(Did::Created, "a"), step(Did::Nothing, "b"), step(Did::Nothing, "c")];
        assert_eq!(line(&steps[0]), "created  topic            a\n");
        let words = ("changed", "as they should be");
        assert_eq!(sum(&steps, words), "1 changed, 2 are as they should be");
        assert_eq!(sum(&steps[1..], words), "nothing changed: all 2 are as they should be");
    }
}
