//! The id of a dead letter: its side and its row.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::layout::Side;

/// A side and a row of its table `dead_letter`: `w12`, `r7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    /// The database that it is in.
    pub side: Side,
    /// The row.
    pub row: i64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Write => 'w',
            Side::Read => 'r',
        };
        f.pad(&format!("{side}{}", self.row))
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("`{text}` is not the id of a dead letter: write w12 (a command's) or r7 (a view's)");
        let (side, row) = match text.split_at_checked(1).ok_or_else(refuse)? {
            ("w", row) => (Side::Write, row),
            ("r", row) => (Side::Read, row),
            _ => return Err(refuse()),
        };
        let digits = row.bytes().all(|byte| byte.is_ascii_digit());
        row.parse().ok().filter(|_| digits).map(|row| Self { side, row }).ok_or_else(refuse)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Id {
    fn schema_name() -> Cow<'static, str> {
        "DeadLetterId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Its side, `w` or `r`, and its row.",
            "pattern": "^[wr]-?[0-9]+$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_side_and_a_row() {
        assert_eq!("w12".parse(), Ok(Id { side: Side::Write, row: 12 }));
        assert_eq!("r7".parse(), Ok(Id { side: Side::Read, row: 7 }));
        for id in ["w12", "r7"] {
            assert_eq!(id.parse::<Id>().unwrap().to_string(), id);
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example_of_an_id() {
        for bad in ["", "w", "12", "x1", "w-1", "w+1", "w1a", "é1", "w99999999999999999999"] {
            assert!(bad.parse::<Id>().unwrap_err().contains("write w12"), "{bad}");
        }
    }
}
