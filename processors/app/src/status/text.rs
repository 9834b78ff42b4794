//! The output of `millrace status` for people.

use std::time::Duration;

use millrace_ops::failure::Failure;
use millrace_ops::layout::Side;
use millrace_ops::moment;
use millrace_ops::replay::generations::{Generation, State};
use millrace_ops::setup::ConnectorState;
use millrace_ops::status::{
    Held, Index, Kafka, Lag, Process, Report, Slot, Subjects, Topic, UnderWay, Unfit, Wish, bytes,
    missing_connector, missing_slot, shown_connector, shown_slot,
};

use crate::output::Table;

/// The text: problems only, or everything.
pub(super) fn text(report: &Report, all: bool) -> String {
    let mut text = Text { text: format!("{}\n", report.headline()), all };
    if let Err(Failure::Refused(what)) = &report.sound {
        text.add("the write side is not sound", &format!("{what}\n"));
    }
    text.section("topics", &report.kafka, |kafka| topics(kafka, all));
    text.section("groups", &report.kafka, |kafka| groups(&kafka.lags, all) + &unknown_groups(report));
    let held: String = report.write.iter().flat_map(|facts| &facts.held).map(shown_held).collect();
    text.add("held partitions", &held);
    text.add("resets", &report.resets.as_deref().map(shown_resets).unwrap_or_default());
    text.section("under way", &report.under_way, |under_way| shown_under_way(under_way));
    text.section("outbox to Kafka", &report.slot, |slot| slot_line(slot.as_ref(), all));
    text.section("connector", &report.connector, |connector| connector_line(connector.as_ref(), all));
    text.section("schema registry", &report.subjects, |subjects| registry_line(subjects, all));
    text.section("indices", &report.indices, |indices| shown_indices(indices, all));
    text.section("generations", &report.generations, |generations| shown_generations(generations));
    text.section("of another shape", &report.unfit, |unfit| shown_unfit(report, unfit));
    text.add("dead letters and blocked keys", &troubles(report));
    text.add("process", &report.process.as_ref().map_or_else(no_process, shown_process));
    if !all {
        text.text.push_str("\nEverything else is as it should be: --all shows it.\n");
    }
    text.text
}

/// The sections so far.
struct Text {
    text: String,
    /// Whether empty sections are shown, too.
    all: bool,
}

impl Text {
    fn add(&mut self, name: &str, body: &str) {
        if !body.is_empty() {
            self.text.push_str(&format!("\n{}\n{body}", name.to_uppercase()));
        } else if self.all && !SOMETIMES.contains(&name) {
            self.text.push_str(&format!("\n{}\nnone\n", name.to_uppercase()));
        }
    }

    fn section<T>(&mut self, name: &str, part: &Result<T, Failure>, shown: impl Fn(&T) -> String) {
        self.add(name, &part.as_ref().map_or_else(|failure| unknown(failure) + "\n", shown));
    }
}

/// Sections that are rarely needed.
const SOMETIMES: [&str; 5] =
    ["the write side is not sound", "held partitions", "resets", "generations", "of another shape"];

fn slot_line(slot: Option<&Slot>, all: bool) -> String {
    match slot {
        None => missing_slot(),
        Some(slot) if all || !slot.active || slot.is_lost() => shown_slot(slot),
        Some(_) => String::new(),
    }
}

fn connector_line(connector: Option<&ConnectorState>, all: bool) -> String {
    match connector {
        None => missing_connector(),
        Some(state) if all || state.is_wrong() || state.task.is_none() => shown_connector(state),
        Some(_) => String::new(),
    }
}

fn registry_line(subjects: &Subjects, all: bool) -> String {
    if subjects.missing.is_empty() && !all {
        return String::new();
    }
    format!("answers: {} subjects{}\n", subjects.count, missing_schemas(&subjects.missing))
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
    table.render_rows() + &unknown.collect::<String>()
}

/// The sides that have not answered.
fn unknown_sides(report: &Report) -> impl Iterator<Item = (Side, &'static str, &Failure)> {
    let sides = [(Side::Write, "write side", &report.write), (Side::Read, "read side", &report.read)];
    sides.into_iter().filter_map(|(side, name, facts)| Some((side, name, facts.as_ref().err()?)))
}

/// A line for the groups of each side that has not answered.
fn unknown_groups(report: &Report) -> String {
    let line = |(side, name, failure): (Side, &str, &Failure)| {
        let of_side = report.groups.iter().filter(|(of, _)| *of == side).map(|(_, role)| *role);
        format!("{name} ({}): {}\n", of_side.collect::<Vec<_>>().join(", "), unknown(failure))
    };
    unknown_sides(report).map(line).collect()
}

/// The text for a part that has not answered.
fn unknown(failure: &Failure) -> String {
    format!("unknown ({failure})")
}

fn missing_schemas(missing: &[&str]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    format!("; missing: {}: run `millrace setup`", missing.join(", "))
}

/// Missing topics that are named, at most.
const NAMED_MAX: usize = 5;

/// Topics of retries and dead letters only when they hold something.
fn topics(kafka: &Kafka, all: bool) -> String {
    let mut table = Table::new(&["topic", "partitions", "records"]);
    let is_shown = |topic: &&Topic| match all {
        true => !is_side_topic(&topic.name) || topic.records > 0,
        false => topic.partitions == 0,
    };
    let shown: Vec<&Topic> = kafka.topics.iter().filter(is_shown).collect();
    let most = if all { shown.len() } else { NAMED_MAX };
    for topic in shown.iter().take(most) {
        let partitions = match topic.partitions {
            0 => "missing: run `millrace setup`".to_owned(),
            number => number.to_string(),
        };
        table.row([topic.name.clone(), partitions, topic.records.to_string()]);
    }
    if shown.len() > most {
        table.row([format!("… and {} more", shown.len() - most)]);
    }
    table.render_rows()
}

fn is_side_topic(name: &str) -> bool {
    name.ends_with(".dlq") || name.contains(".retry.")
}

fn groups(lags: &[Lag], all: bool) -> String {
    let mut table = Table::new(&["group", "topic", "lag", "behind", "unpublished", ""]);
    for lag in lags.iter().filter(|lag| !is_side_topic(&lag.topic) || lag.records > 0) {
        let notes = notes(lag);
        if !all && notes.is_empty() && lag.records == 0 && lag.unpublished.unwrap_or_default() == 0 {
            continue;
        }
        let unpublished = lag.unpublished.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let (group, topic) = (lag.group.clone(), lag.topic.clone());
        table.row([group, topic, lag.records.to_string(), behind(lag), unpublished, notes]);
    }
    table.render_rows()
}

fn behind(lag: &Lag) -> String {
    match (lag.seconds, lag.records) {
        (None, _) => "unknown".to_owned(),
        (Some(_), 0) => "-".to_owned(),
        (Some(seconds), _) => moment::shown(Duration::from_secs_f64(seconds)),
    }
}

fn notes(lag: &Lag) -> String {
    let notes = [
        (lag.unclaimed > 0).then(|| format!("{} partitions never claimed", lag.unclaimed)),
        (lag.withheld > 0).then(|| format!("{} behind an open transaction", lag.withheld)),
        lag.expiring(),
        lag.lost(),
        lag.stuck(),
    ];
    notes.into_iter().flatten().collect::<Vec<_>>().join(", ")
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
    table.render_rows()
}

fn shown_indices(indices: &[Index], all: bool) -> String {
    let mut table = Table::new(&["alias", "index", "health", "documents"]);
    for index in indices.iter().filter(|index| all || index.health.as_deref() != Some("green")) {
        let missing = || "missing: run `millrace setup`".to_owned();
        let documents = index.documents.map(|count| count.to_string()).unwrap_or_default();
        let name = index.index.clone().unwrap_or_else(missing);
        table.row([index.alias.clone(), name, index.health.clone().unwrap_or_default(), documents]);
    }
    table.render_rows()
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
    table.render_rows()
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

fn shown_process(process: &Process) -> String {
    let memory = process
        .resident_bytes
        .map(|memory| format!(", {} resident", bytes(i64::try_from(memory).unwrap_or(i64::MAX))))
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
    use millrace_ops::examples::{report_in_part, report_of_nothing, report_that_is_well};
    use millrace_ops::status::Facts;

    use super::*;

    #[test]
    fn what_cannot_be_reached_says_so_and_the_rest_is_shown() {
        let text = text(&report_in_part(), true);
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
        let letters = text.split("\nDEAD LETTERS AND BLOCKED KEYS\n").nth(1).expect("dead letters");
        assert!(!letters.starts_with("none"), "unknown is never none: {text}");
    }

    #[test]
    fn what_is_well_is_left_out_unless_it_is_asked_for() {
        let [short, long] = [false, true].map(|all| text(&report_that_is_well(), all));
        assert!(short.starts_with("m: well\n") && short.ends_with("--all shows it.\n"), "{short}");
        for section in ["TOPICS", "OUTBOX TO KAFKA", "SCHEMA REGISTRY", "INDICES", "DEAD LETTERS"] {
            assert!(!short.contains(section) && long.contains(section), "{section}: {short}{long}");
        }
        assert!(short.contains("m.commands  m.cmd.orders.v1  3"), "what is behind is shown: {short}");
        assert!(short.lines().count() <= 15, "{short}");
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
        let text = text(&Report { write: Ok(facts), ..report_in_part() }, false);
        let line = "m.commands: m.cmd.orders.v1: 4 to 7 until 1970-01-01T00:00:00.000Z, and until";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn what_could_not_be_asked_is_unknown_in_its_place() {
        let text = text(&report_of_nothing(), false);
        let sections = text.split("\n\n").skip(1).filter(|section| section.contains('\n'));
        for section in sections {
            let is_known = section.starts_with("PROCESS") || section.starts_with("Everything else");
            assert!(section.contains("unknown (") || is_known, "{section}");
        }
    }
}
