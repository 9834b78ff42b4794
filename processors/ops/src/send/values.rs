//! The values of a stream of JSON, one per line or over several lines, with the line at which each begins.

use std::io::{self, BufRead, Read};

use serde::Deserialize as _;
use serde_json::value::RawValue;

/// Bytes of a value, at most; Kafka would refuse a larger record anyway.
const VALUE_MAX: usize = 2 << 20;

/// A value, or an error.
#[derive(Debug)]
pub(super) struct Found {
    /// The line at which the value begins, or of the error.
    pub(super) line: u64,
    /// The value's text, or a message for people.
    pub(super) value: Result<Box<RawValue>, String>,
}

/// Reads one value after another. After text that is not JSON, everything up to the next line that begins with `{` is skipped;
/// inner lines of formatted JSON are indented.
pub(super) struct Values<I> {
    input: I,
    line: Vec<u8>,
    /// Bytes of the line that were read.
    column: usize,
    number: u64,
    /// Bytes of the value that were read.
    size: usize,
}

impl<I: BufRead> Values<I> {
    /// A reader at the start of the input.
    pub(super) fn new(input: I) -> Self {
        Self { input, line: Vec::new(), column: 0, number: 0, size: 0 }
    }

    /// The next value; `None` at the end.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        if !self.skip_whitespace()? {
            return Ok(None);
        }
        let began = self.number;
        self.size = 0;
        let value = Box::deserialize(&mut serde_json::Deserializer::from_reader(&mut *self));
        match value {
            Ok(value) => Ok(Some(Found { line: began, value: Ok(value) })),
            Err(error) => self.refused(began, &error).map(Some),
        }
    }

    fn refused(&mut self, began: u64, error: &serde_json::Error) -> io::Result<Found> {
        let (line, column) = (self.number, self.column);
        let reason = match error.io_error_kind() {
            Some(io::ErrorKind::FileTooLarge) => format!("is longer than {VALUE_MAX} bytes"),
            Some(kind) => return Err(kind.into()),
            None => format!("is not JSON: {} at column {column}", without_place(error)),
        };
        self.recover(began)?;
        let skipped = if self.number > line + 1 { self.goes_on() } else { String::new() };
        Ok(Found { line, value: Err(reason + &skipped) })
    }

    fn goes_on(&self) -> String {
        if self.rest().is_empty() {
            return "; what follows is left out".to_owned();
        }
        format!("; reading goes on at line {}", self.number)
    }

    /// Skips to the next line that begins with `{`, which may be the current one unless the failed value begins there.
    fn recover(&mut self, began: u64) -> io::Result<()> {
        self.column = if self.number == began { self.line.len() } else { 0 };
        while !self.rest().starts_with(b"{") {
            if !self.read_line()? {
                self.column = self.line.len();
                break;
            }
        }
        Ok(())
    }

    fn skip_whitespace(&mut self) -> io::Result<bool> {
        loop {
            match self.rest().iter().position(|byte| !byte.is_ascii_whitespace()) {
                Some(blanks) => {
                    self.column += blanks;
                    return Ok(true);
                }
                None if !self.read_line()? => return Ok(false),
                None => {}
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.line.get(self.column..).unwrap_or_default()
    }

    /// Reads a line, up to a little more than the longest allowed value; the rest of a longer line is skipped.
    fn read_line(&mut self) -> io::Result<bool> {
        if self.input.fill_buf()?.is_empty() {
            return Ok(false);
        }
        self.line.clear();
        self.column = 0;
        (&mut self.input).take(VALUE_MAX as u64 + 2).read_until(b'\n', &mut self.line)?;
        if self.line.len() > VALUE_MAX + 1 && !self.line.ends_with(b"\n") {
            self.input.skip_until(b'\n')?;
        }
        self.number += 1;
        Ok(true)
    }
}

/// The parser's input, read line by line up to the longest allowed value.
impl<I: BufRead> Read for &mut Values<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest().is_empty() && !self.read_line()? {
            return Ok(0);
        }
        let count = self.rest().read(buffer)?;
        self.column += count;
        self.size += count;
        if self.size > VALUE_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(count) }
    }
}

/// An error without its position, since the parser counts lines from the start of the value.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each value with its line, without white space; what is refused with its reason.
    fn found(text: &[u8]) -> Vec<(u64, String)> {
        let mut values = Values::new(text);
        let next = || values.next().unwrap();
        let shown = |value: Result<Box<RawValue>, String>| match value {
            Ok(value) => value.get().split_whitespace().collect(),
            Err(reason) => reason,
        };
        std::iter::from_fn(next).map(|found| (found.line, shown(found.value))).collect()
    }

    fn expected(values: &[(u64, &str)]) -> Vec<(u64, String)> {
        values.iter().map(|(line, value)| (*line, (*value).to_owned())).collect()
    }

    #[test]
    fn a_value_is_a_line_several_lines_or_part_of_one() {
        let text = b"{\"a\":1}\n\n{\n  \"b\": [\n{\"c\": 2}\n  ]\n}\n  {\"d\":3} {\"e\":4}\n{\"f\":5}";
        let values = [
            (1, r#"{"a":1}"#),
            (3, r#"{"b":[{"c":2}]}"#),
            (8, r#"{"d":3}"#),
            (8, r#"{"e":4}"#),
            (9, r#"{"f":5}"#),
        ];
        assert_eq!(found(text), expected(&values));
        assert_eq!(found(b" \n\n"), []);
    }

    #[test]
    fn what_is_not_json_costs_itself_and_is_named_by_its_line() {
        let lines = found(b"{\"a\":1}\n{\"b\":}\n{\"c\":3}\n");
        let values = [(1, r#"{"a":1}"#), (2, "is not JSON: expected value at column 6"), (3, r#"{"c":3}"#)];
        assert_eq!(lines, expected(&values));

        let printed = found(b"{\n  \"a\": 1,\n  \"b\" 2,\n  \"c\": 3\n}\n{\n  \"d\": 4\n}\n");
        let reason = "is not JSON: expected `:` at column 7; reading goes on at line 6";
        assert_eq!(printed, expected(&[(3, reason), (6, r#"{"d":4}"#)]));
    }

    #[test]
    fn half_a_value_does_not_take_its_neighbour_with_it() {
        let halves: [(&[u8], u64, &str); 3] = [
            (b"{\"a\":1\n{\"b\":2}", 2, "expected `,` or `}` at column 1"),
            (
                b"{\"a\":\"x\n{\"b\":2}",
                1,
                "control character (\\u0000-\\u001F) found while parsing a string at column 8",
            ),
            (b"{\"a\":\xff\n{\"b\":2}", 1, "expected value at column 6"),
        ];
        for (text, line, reason) in halves {
            let reason = format!("is not JSON: {reason}");
            assert_eq!(found(text), expected(&[(line, &reason), (2, r#"{"b":2}"#)]));
        }
        let last = "is not JSON: EOF while parsing an object at column 2";
        assert_eq!(found(b"{\"a\":1}\n{\n"), expected(&[(1, r#"{"a":1}"#), (2, last)]));
        let last = "is not JSON: EOF while parsing a value at column 6";
        assert_eq!(found(b"{\n  \"a\":"), expected(&[(2, last)]));
    }

    #[test]
    fn what_is_too_long_costs_only_itself() {
        let long = |byte: u8| [&b"{\"a\":\""[..], &vec![byte; VALUE_MAX * 3], b"\"}\n"].concat();
        let printed = [&b"{\n"[..], &b" \"a\": 1,\n".repeat(VALUE_MAX / 8), b"}\n"].concat();
        let text = [&long(b'x'), &b"{\"b\":2}\n"[..], &printed, b"{\"c\":3}"].concat();
        let values = found(&text);
        let reason = format!("is longer than {VALUE_MAX} bytes");
        assert_eq!(values[..2], expected(&[(1, &reason), (2, r#"{"b":2}"#)]));
        assert!(values[2].1.starts_with(&reason), "{}", values[2].1);
        assert_eq!((values.len(), values[3].1.as_str()), (4, r#"{"c":3}"#));
    }
}
