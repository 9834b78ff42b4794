//! What `millrace status` found, for people.

use std::time::Duration;

use millrace_ops::failure::Failure;
use millrace_ops::layout::Side;
use millrace_ops::moment;
use millrace_ops::replay::generations::{Generation, State};
use millrace_ops::status::{
    Held, Index, Kafka, Lag, Process, Report, UnderWay, Unfit, Wish, bytes, missing_connector, missing_slot,
    shown_connector, shown_slot,
};

use crate::output::Table;

/// For people.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!("{}\n\n", report.headline());
    if let Err(Failure::Refused(what)) = &report.sound {
        text.push_str(&format!("THE WRITE SIDE IS NOT SOUND\n{what}\n\n"));
    }
    section(&mut text, "topics", &report.kafka, topics);
    section(&mut text, "groups", &report.kafka, |kafka| groups(&kafka.lags) + &unknown_groups(report));
    let held: String = report.write.iter().flat_map(|facts| &facts.held).map(shown_held).collect();
    if !held.is_empty() {
        text.push_str(&format!("HELD PARTITIONS\n{held}\n"));
    }
    if report.resets.as_ref().is_ok_and(|resets| !resets.is_empty()) {
        section(&mut text, "resets", &report.resets, |resets| shown_resets(resets));
    }
    section(&mut text, "under way", &report.under_way, |under_way| shown_under_way(under_way));
    section(&mut text, "outbox to Kafka", &report.slot, |slot| {
        slot.as_ref().map_or_else(missing_slot, shown_slot)
    });
    section(&mut text, "connector", &report.connector, |connector| {
        connector.as_ref().map_or_else(missing_connector, shown_connector)
    });
    section(&mut text, "schema registry", &report.subjects, |subjects| {
        format!("answers: {} subjects{}\n", subjects.count, missing_schemas(&subjects.missing))
    });
    section(&mut text, "indices", &report.indices, |indices| shown_indices(indices));
    if report.generations.as_ref().is_ok_and(Vec::is_empty) {
        // One of each view.
    } else {
        section(&mut text, "generations", &report.generations, |generations| shown_generations(generations));
    }
    if report.unfit.as_ref().is_ok_and(|unfit| !unfit.is_empty()) {
        section(&mut text, "of another shape", &report.unfit, |unfit| shown_unfit(report, unfit));
    }
    text.push_str(&format!("DEAD LETTERS AND BLOCKED KEYS\n{}\n", troubles(report)));
    text.push_str(&format!("PROCESS\n{}", report.process.as_ref().map_or_else(no_process, shown_process)));
    text
}

fn troubles(report: &Report) -> String {
    let facts = || [&report.write, &report.read].into_iter().filter_map(|facts| facts.as_ref().ok());
    let mut table = Table::new(&["group", "what", "count", "last or since"]);
    for dead in facts().flat_map(|facts| &facts.dead) {
        table.row([
            dead.group.clone(),
            dead.code.clone(),
            dead.count.to_string(),
            moment::written(dead.last),
        ]);
    }
    for blocked in facts().flat_map(|facts| &facts.blocked) {
        let why = match blocked.status.as_str() {
            "retrying" => "keys whose record is tried again",
            "dead" => "keys behind a dead letter",
            _ => "keys with a missing version",
        };
        let count = format!("{} ({} records)", blocked.keys, blocked.records);
        table.row([blocked.group.clone(), why.to_owned(), count, moment::written(blocked.since)]);
    }
    let unknown = unknown_sides(report).map(|(_, name, failure)| format!("{name}: {}\n", unknown(failure)));
    let shown = table.render() + &unknown.collect::<String>();
    if table.is_empty() && unknown_sides(report).next().is_none() { "none\n".to_owned() } else { shown }
}

/// The sides that could not be asked.
fn unknown_sides(report: &Report) -> impl Iterator<Item = (Side, &'static str, &Failure)> {
    let sides = [(Side::Write, "write side", &report.write), (Side::Read, "read side", &report.read)];
    sides.into_iter().filter_map(|(side, name, facts)| Some((side, name, facts.as_ref().err()?)))
}

/// A line for the groups of each side that could not be asked.
fn unknown_groups(report: &Report) -> String {
    let line = |(side, name, failure): (Side, &str, &Failure)| {
        let of_side = report.groups.iter().filter(|(of, _)| *of == side).map(|(_, role)| *role);
        format!("{name} ({}): {}\n", of_side.collect::<Vec<_>>().join(", "), unknown(failure))
    };
    unknown_sides(report).map(line).collect()
}

/// What stands where something could not be asked.
fn unknown(failure: &Failure) -> String {
    format!("unknown ({failure})")
}

fn missing_schemas(missing: &[&str]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    format!("; missing: {}: run `millrace setup`", missing.join(", "))
}

fn section<T>(text: &mut String, name: &str, part: &Result<T, Failure>, shown: impl Fn(&T) -> String) {
    let body = part.as_ref().map_or_else(|failure| unknown(failure) + "\n", shown);
    text.push_str(&format!("{}\n{body}\n", name.to_uppercase()));
}

/// Topics of retries and dead letters only when they hold something.
fn topics(kafka: &Kafka) -> String {
    let mut table = Table::new(&["topic", "partitions", "records"]);
    for topic in kafka.topics.iter().filter(|topic| !is_side_topic(&topic.name) || topic.records > 0) {
        let partitions = match topic.partitions {
            0 => "missing: run `millrace setup`".to_owned(),
            number => number.to_string(),
        };
        table.row([topic.name.clone(), partitions, topic.records.to_string()]);
    }
    table.render()
}

fn is_side_topic(name: &str) -> bool {
    name.ends_with(".dlq") || name.contains(".retry.")
}

fn groups(lags: &[Lag]) -> String {
    let mut table = Table::new(&["group", "topic", "lag", "behind", "unpublished", ""]);
    for lag in lags.iter().filter(|lag| !is_side_topic(&lag.topic) || lag.records > 0) {
        let behind = lag.seconds.map_or_else(
            || "unknown".to_owned(),
            |seconds| match lag.records {
                0 => "-".to_owned(),
                _ => moment::shown(Duration::from_secs_f64(seconds)),
            },
        );
        let notes = [
            (lag.unclaimed > 0).then(|| format!("{} partitions never claimed", lag.unclaimed)),
            (lag.withheld > 0).then(|| format!("{} behind an open transaction", lag.withheld)),
            lag.expiring(),
            lag.lost(),
            lag.stuck(),
        ];
        let notes = notes.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let unpublished = lag.unpublished.map_or_else(|| "-".to_owned(), |count| count.to_string());
        table.row([
            lag.group.clone(),
            lag.topic.clone(),
            lag.records.to_string(),
            behind,
            unpublished,
            notes,
        ]);
    }
    table.render()
}

fn shown_held(Held { group, topic, first, last, until }: &Held) -> String {
    let until = until.map_or("the topic is enlarged".to_owned(), moment::written);
    format!(
        "{group}: {topic}: {first} to {last} until {until}, and until what is in the lower ones is applied\n"
    )
}

fn shown_resets(resets: &[Wish]) -> String {
    resets.iter().map(|Wish { group, what, .. }| format!("{group}: {what}\n")).collect()
}

fn shown_under_way(under_way: &[UnderWay]) -> String {
    let mut table = Table::new(&["what", "standing", "count", "since"]);
    for UnderWay { what, standing, count, since } in under_way {
        table.row([what.clone(), standing.clone(), count.to_string(), moment::written(*since)]);
    }
    if table.is_empty() { "nothing\n".to_owned() } else { table.render() }
}

fn shown_indices(indices: &[Index]) -> String {
    let mut table = Table::new(&["alias", "index", "health", "documents"]);
    for index in indices {
        let missing = || "missing: run `millrace setup`".to_owned();
        let documents = index.documents.map(|count| count.to_string()).unwrap_or_default();
        let name = index.index.clone().unwrap_or_else(missing);
        table.row([index.alias.clone(), name, index.health.clone().unwrap_or_default(), documents]);
    }
    table.render()
}

fn shown_generations(generations: &[Generation]) -> String {
    let mut table = Table::new(&["view", "generation", "state", "since", ""]);
    for one in generations {
        let refused = one.state == State::Building && one.comparison.is_some();
        let look = format!("differs: millrace replay {} --status", one.view);
        table.row([
            one.view.clone(),
            one.generation.to_string(),
            one.state.as_str().to_owned(),
            moment::written(one.swapped_at.unwrap_or(one.started_at)),
            if refused { look } else { String::new() },
        ]);
    }
    table.render()
}

fn shown_unfit(report: &Report, unfit: &[Unfit]) -> String {
    let shown = |one: &Unfit| {
        let other = one.other.map(|other| format!("; this build works on generation {other}"));
        let age = report.age_of(&one.view).filter(|age| *age > 0.0).map(Duration::from_secs_f64);
        let age = age.map(|age| format!("; readers see the state of {} ago", moment::shown(age)));
        format!("{}: {}{}{}\n", one.view, one.why, other.unwrap_or_default(), age.unwrap_or_default())
    };
    unfit.iter().map(shown).collect()
}

fn no_process() -> String {
    "none of this namespace answers where this configuration listens\n".to_owned()
}

#[allow(clippy::cast_possible_truncation, reason = "bytes for people")]
fn shown_process(process: &Process) -> String {
    let memory = process
        .resident_bytes
        .map(|memory| format!(", {} resident", bytes(memory as i64)))
        .unwrap_or_default();
    let figures: Vec<String> =
        process.state_cache.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let cache =
        if figures.is_empty() { String::new() } else { format!("state cache: {}\n", figures.join(", ")) };
    let waits = process.outages.join(", ");
    let outages = if waits.is_empty() { waits } else { format!("WAITING FOR {waits}\n") };
    format!("{} answers{memory}\n{cache}{outages}", process.address)
}

#[cfg(test)]
mod tests {
    use millrace_ops::examples::{report_in_part, report_of_nothing};
    use millrace_ops::status::Facts;

    use super::*;

    #[test]
    fn what_cannot_be_reached_says_so_and_the_rest_is_shown() {
        let text = text(&report_in_part());
        for line in [
            "m.commands  m.cmd.orders.v1  3    1.2 s   -",
            "read side (orders): unknown (the read database at postgres://db cannot be reached: refused)",
            "read side: unknown (the read database",
            "RUNNING, its task not there",
            "there is no replication slot",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.starts_with("m: NOT WELL: there is no replication slot"), "{text}");
        assert!(!text.contains("none\n"), "unknown is never none: {text}");
    }

    #[test]
    fn partitions_that_are_held_say_until_when() {
        let held = Held {
            group: "m.commands".to_owned(),
            topic: "m.cmd.orders.v1".to_owned(),
            first: 4,
            last: 7,
            until: Some(chrono::DateTime::UNIX_EPOCH),
        };
        let facts = Facts { held: vec![held], ..Facts::default() };
        let text = text(&Report { write: Ok(facts), ..report_in_part() });
        let line = "m.commands: m.cmd.orders.v1: 4 to 7 until 1970-01-01T00:00:00.000Z, and until";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn what_could_not_be_asked_is_unknown_in_its_place() {
        let text = text(&report_of_nothing());
        for section in text.split("\n\n").filter(|section| section.contains('\n')) {
            assert!(section.contains("unknown (") || section.starts_with("PROCESS"), "{section}");
        }
    }
}
