//! A golden record, and the file that it is in.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use crate::{AGAIN, schemas};

/// A record that was once written, and what it means.
#[derive(Debug, Deserialize)]
pub(super) struct Golden {
    /// Type and released version, such as `OrderPlaced/v1`.
    pub(super) record: String,
    /// The body in hexadecimal digits.
    pub(super) avro: Option<String>,
    /// What it says, as today's type.
    pub(super) event: Option<Value>,
    /// Its stream's state behind it.
    pub(super) state: Option<Value>,
}

impl Golden {
    /// The body.
    pub(super) fn bytes(&self) -> Vec<u8> {
        bytes(self.avro.as_deref().unwrap_or_else(|| panic!("{} has no bytes: {AGAIN}", self.record)))
    }
}

/// The bytes of hexadecimal digits.
pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The hexadecimal digits of bytes.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Short lines, so that a difference shows which of them changed.
impl fmt::Display for Golden {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record, avro, event, state } = self;
        let (avro, event, state) = (given(avro), given(event), given(state));
        write!(
            out,
            "{{\n\"record\": \"{record}\",\n\"avro\": {avro},\n\"event\": {event},\n\"state\": {state}\n}}"
        )
    }
}

fn given(value: &Option<impl serde::Serialize>) -> String {
    serde_json::to_string(value).expect("it serialises")
}

fn file_of(context: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{context}.json"))
}

/// The golden records of a context; none of one that has no file yet.
pub(super) fn read(context: &str) -> Vec<Golden> {
    let file = file_of(context);
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        text => text.unwrap_or_else(|error| panic!("{}: {error}", file.display())),
    };
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Writes the golden records of a context.
pub(super) fn write(context: &str, records: &[Golden]) {
    let records: Vec<String> = records.iter().map(Golden::to_string).collect();
    fs::write(file_of(context), format!("[\n{}\n]\n", records.join(",\n"))).expect("a file");
}

/// The schema of a released version, such as `OrderPlaced/v1`.
pub(super) fn released(context: &str, record: &str) -> String {
    let file = schemas().join(format!("millrace.{context}.{record}.avsc"));
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
