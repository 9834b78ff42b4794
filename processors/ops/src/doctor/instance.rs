//! Whether the instance is as this build would set it up: topics, tables, schemas, connector, indices, views.

use super::Finding;
use crate::config::Config;
use crate::failure::Failure;
use crate::setup::{self, Options, Step};

pub(super) const PART: &str = "instance";

/// Differences that are named; further ones are counted.
const NAMED: usize = 5;

/// A dry run of setup. What setup refuses is its failure.
pub(super) async fn check(config: &Config) -> Result<Vec<Finding>, Failure> {
    let options = Options { dry_run: true, ..Options::default() };
    let steps = setup::setup(config, options, &mut |_| Ok(())).await?;
    Ok(vec![of_steps(&steps)])
}

fn of_steps(steps: &[Step]) -> Finding {
    let different: Vec<String> = steps
        .iter()
        .filter(|step| !step.is_nothing())
        .map(|step| format!("{} {}", step.what, step.name))
        .collect();
    if different.is_empty() {
        return Finding::fine(PART, format!("all {} things are as this build sets them up", steps.len()));
    }
    let named = different.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = different.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let what = format!("not as this build sets it up: {named}{more}");
    Finding::wrong(PART, what, "millrace setup --dry-run, then millrace setup")
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::setup::Did;

    #[test]
    fn what_setup_would_change_is_named_and_counted() {
        let step = |did, n: usize| Step { did, what: "topic".to_owned(), name: n.to_string() };
        assert_eq!(of_steps(&[step(Did::Nothing, 0)]).level, Level::Fine);
        let steps: Vec<Step> = (0..7).map(|n| step(Did::WouldCreate, n)).collect();
        let found = of_steps(&steps);
        assert_eq!(found.level, Level::Wrong);
        assert!(found.what.contains("topic 4 and 2 more"), "{}", found.what);
    }
}
