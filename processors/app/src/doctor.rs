//! `millrace doctor`: findings about components and settings, and what to do about them.

use millrace_ops::config::Config;
use millrace_ops::doctor::{self, Finding, Level};
use millrace_ops::failure::Failure;

use crate::output::{self, Format, Table};

/// The help's notes.
pub const HELP: &str = "\
Checks settings that make no difference until something else fails: those of both databases (WAL, vacuum, clocks, old \
transactions), the slot and the connector, brokers and replicas, Connect, the registry, the sizes of records that they take, \
Elasticsearch, certificates that end soon, and whether everything is as this build sets it up. Changes nothing.
`millrace status` shows what waits and what has failed now.

Exit code 1: something is wrong. Advice alone ends with 0.";

/// Prints the findings; with `all` also what is fine.
///
/// # Errors
/// [`Failure::Refused`] when something is wrong.
pub async fn doctor(config: &Config, format: Format, all: bool) -> Result<(), Failure> {
    let found = doctor::examine(config).await;
    let is_shown = |finding: &&Finding| all || finding.level != Level::Fine;
    let shown: Vec<Finding> = found.iter().filter(is_shown).cloned().collect();
    output::print(format, &table(&shown), &shown)?;
    let count = |level| found.iter().filter(|finding| finding.level == level).count();
    let (wrong, advice) = (count(Level::Wrong), count(Level::Advice));
    match wrong {
        0 => output::say(&format!("nothing is wrong; advice: {advice}; fine: {}", count(Level::Fine))),
        _ => return Err(Failure::refused(format!("wrong: {wrong}; advice: {advice}"))),
    }
    Ok(())
}

fn table(found: &[Finding]) -> String {
    let mut table = Table::new(&["level", "part", "finding", "what to do"]);
    for Finding { part, level, what, mend } in found {
        table.row([level_name(*level), *part, what, mend.as_deref().unwrap_or_default()]);
    }
    table.render_rows()
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Fine => "fine",
        Level::Advice => "advice",
        Level::Wrong => "WRONG",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_stands_beside_what_to_do_about_it() {
        let finding = Finding {
            part: "kafka",
            level: Level::Wrong,
            what: "3 partitions are behind".to_owned(),
            mend: Some("restart broker 2".to_owned()),
        };
        let text = table(&[finding]);
        assert!(text.contains("WRONG  kafka  3 partitions are behind  restart broker 2"), "{text}");
        assert_eq!(table(&[]), "");
    }
}
