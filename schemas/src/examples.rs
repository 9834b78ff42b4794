//! A valid example of each command, as JSON.

use crate::Definition;

/// A command on each line. Sent in this order, all of them are completed where there was nothing before.
const LINES: &str = include_str!("../examples.jsonl");

/// All examples in an order in which each finds what it needs, some types several times.
pub fn examples() -> impl Iterator<Item = &'static str> {
    LINES.lines()
}

/// The example of a command: a JSON object with its `type` and its `data`.
pub fn example(definition: &Definition) -> Option<&'static str> {
    let begin = format!("{{\"type\":\"{}\",", definition.name);
    examples().find(|line| line.starts_with(&begin))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::json::{encode_json, key_of};
    use crate::{DEFINITIONS, Kind, definition};

    #[test]
    fn every_command_has_an_example() {
        let commands = DEFINITIONS.iter().filter(|definition| definition.kind == Kind::Command);
        let without: Vec<&str> = commands.filter(|one| example(one).is_none()).map(|one| one.name).collect();
        assert_eq!(without, [""; 0], "write one down in examples.jsonl");
    }

    #[test]
    fn every_example_fits_its_schema() {
        for line in examples() {
            let command: Value = serde_json::from_str(line).expect("JSON");
            let of = command["type"].as_str().and_then(definition).unwrap_or_else(|| panic!("{line}"));
            encode_json(of, &command["data"]).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(key_of(of, &command["data"]).is_ok(), "{line}");
        }
    }
}
