//! What makes two records the same command: its identity and its content.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::envelope;
use crate::error::Fault;
use crate::failpoints::{broken, mechanism};
use crate::record::Record;

/// The UUID namespace of all derived ids.
const DERIVED: Uuid = Uuid::from_u128(0x6d69_6c6c_7261_6365_8000_0000_0000_0001);
/// The length of a UUID that was written as bytes instead of text.
const RAW_UUID_BYTES: usize = 16;
/// More events than any command leads to.
const EVENTS_MAX: usize = 10_000;

/// The life of a command that was never dead.
pub(super) const FIRST_LIFE: i32 = 1;
/// The prefix of the source of a command without identity; its topic follows.
pub(super) const OF_TOPIC: &str = "kafka:";

/// The identity of a command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// `ce_source`, else `kafka:` and the topic.
    pub source: String,
    /// `ce_id`, else partition, offset and timestamp.
    pub id: String,
}

impl Identity {
    /// Bytes of a source and of an id, at most: an entry of the ledger's index has room for both.
    pub const BYTES_MAX: usize = 512;

    /// `ce_source` and `ce_id`, as [CloudEvents' binding to
    /// Kafka](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md) has them; a
    /// record with neither is identified by its place and timestamp. Text in the quotes of JSON, as some header converters
    /// write it, counts as the text inside.
    ///
    /// # Errors
    /// `identity-invalid` when a header cannot be read or stored, when only one of the two is present, or when a header is repeated
    /// with different values: a command under a wrong identity could have its effect twice.
    pub fn of(record: &Record) -> Result<Self, Fault> {
        let given = attribute(record, envelope::SOURCE).and_then(|source| {
            let given = (source, attribute(record, envelope::ID)?);
            match given {
                (Some(source), Some(id)) => Ok(Self { source: source.into_owned(), id: id.into_owned() }),
                (None, None) => Ok(Self::of_place(record)),
                (Some(_), None) => Err(invalid(envelope::ID, "is missing beside ce_source")),
                (None, Some(_)) => Err(invalid(envelope::SOURCE, "is missing beside ce_id")),
            }
        });
        match given {
            Err(_) if broken(mechanism::IDENTITY) => Ok(Self::of_place(record)),
            given => given,
        }
    }

    /// The identity under which a record is stored: its own, or its place if that cannot be read.
    pub(crate) fn to_file(record: &Record) -> Self {
        Self::of(record).unwrap_or_else(|_| Self::of_place(record))
    }

    /// The identity made from a record's place and timestamp.
    pub(super) fn of_place(record: &Record) -> Self {
        let Record { partition, offset, timestamp_ms, .. } = record;
        Self {
            source: format!("{OF_TOPIC}{}", record.topic),
            id: format!("{partition}-{offset}-{}", timestamp_ms.unwrap_or_default()),
        }
    }

    /// The id of a record that this command leads to; the same at every attempt.
    pub(super) fn derive(&self, name: &str) -> Uuid {
        Uuid::new_v5(&self.root(), name.as_bytes())
    }

    /// Whether an event's id is one that this command derives.
    pub(crate) fn has_led_to(&self, event_id: &str) -> bool {
        let (root, id) = (self.root(), Uuid::parse_str(event_id).ok());
        (0..EVENTS_MAX).any(|ordinal| id == Some(Uuid::new_v5(&root, ordinal.to_string().as_bytes())))
    }

    fn root(&self) -> Uuid {
        Uuid::new_v5(&DERIVED, format!("{}\0{}", self.source, self.id).as_bytes())
    }
}

/// An attribute as text; `None` when no header has its name.
fn attribute<'r>(record: &'r Record, name: &str) -> Result<Option<Cow<'r, str>>, Fault> {
    let mut values = record.headers_named(name).map(|value| readable(name, value));
    let Some(first) = values.next().transpose()? else { return Ok(None) };
    for other in values {
        if other? != first {
            return Err(invalid(name, "is there more than once, with different values"));
        }
    }
    Ok(Some(first))
}

fn readable<'r>(name: &str, value: Option<&'r [u8]>) -> Result<Cow<'r, str>, Fault> {
    let Some(value) = value else { return Err(invalid(name, "is null")) };
    match std::str::from_utf8(value).map(unquoted) {
        Ok(text) if (1..=Identity::BYTES_MAX).contains(&text.len()) && !text.contains('\0') => Ok(text),
        Ok(_) => {
            let most = Identity::BYTES_MAX;
            Err(invalid(name, &format!("must have 1 to {most} bytes and no NUL character")))
        }
        Err(_) if value.len() == RAW_UUID_BYTES => Err(invalid(
            name,
            "has 16 bytes that are not text: write a UUID as text, such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        )),
        Err(_) => Err(invalid(name, "is not UTF-8 text")),
    }
}

fn invalid(name: &str, problem: &str) -> Fault {
    Fault::hopeless("identity-invalid", format!("{name} {problem}"))
}

/// The text inside the quotes of JSON; any other text as it is.
pub(super) fn unquoted(text: &str) -> Cow<'_, str> {
    let inside = text.starts_with('"').then(|| serde_json::from_str::<String>(text).ok()).flatten();
    inside.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Distinguishes two commands under one identity: a hash of the received bytes and, if it differs, a hash of the bytes that this
/// build would write for the command. So a command that is sent again with an older schema, or with an array in other blocks, is the
/// same one; so is a command that an earlier build has decided, which stored only the first hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint(Vec<u8>);

/// Bytes of each hash that are stored.
const HASH_BYTES: usize = 16;

impl Fingerprint {
    /// The fingerprint of a body that was written as `written_as`, and of the body that this build would write as `full_name`.
    pub(super) fn of((written_as, body): (&str, &[u8]), (full_name, canonical): (&str, &[u8])) -> Self {
        let mut hashes = hash(written_as, body);
        if (written_as, body) != (full_name, canonical) {
            hashes.extend(hash(full_name, canonical));
        }
        Self(hashes)
    }

    /// A fingerprint from the ledger.
    pub(super) fn stored(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are of the same command.
    pub(super) fn is_of_the_same(&self, other: &Self) -> bool {
        let mut hashes = self.0.chunks_exact(HASH_BYTES);
        hashes.any(|hash| other.0.chunks_exact(HASH_BYTES).any(|known| known == hash))
    }
}

/// Whether a fingerprint of the ledger is that of a body that was written as `full_name`.
pub fn is_content(fingerprint: &[u8], full_name: &str, body: &[u8]) -> bool {
    let asked = Fingerprint::of((full_name, body), (full_name, body));
    Fingerprint::stored(fingerprint.to_vec()).is_of_the_same(&asked)
}

fn hash(full_name: &str, body: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(full_name.as_bytes());
    hash.update([0]);
    hash.update(body);
    hash.finalize().iter().take(HASH_BYTES).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Header;

    type Given<'h> = &'h [(&'h str, Option<&'h [u8]>)];

    fn record(headers: Given<'_>) -> Record {
        let header = |(name, value): &(&str, Option<&[u8]>)| Header {
            name: (*name).into(),
            value: value.map(<[u8]>::to_vec),
        };
        let mut record = Record::at("cmd", 1, 7, None, None, headers.iter().map(header).collect());
        record.timestamp_ms = Some(5);
        record
    }

    fn identity(headers: Given<'_>) -> Result<(String, String), String> {
        let identity = Identity::of(&record(headers));
        identity.map(|Identity { source, id }| (source, id)).map_err(|fault| fault.message)
    }

    const SOURCE: (&str, Option<&[u8]>) = ("ce_source", Some(b"shop"));

    fn given(source: &str, id: &str) -> Result<(String, String), String> {
        Ok((source.to_owned(), id.to_owned()))
    }

    #[test]
    fn only_a_command_with_neither_id_nor_source_is_identified_by_its_place() {
        assert_eq!(identity(&[]), given("kafka:cmd", "1-7-5"));
        assert_eq!(identity(&[SOURCE, ("ce_id", Some(b"x"))]), given("shop", "x"));
        assert_eq!(identity(&[SOURCE]), Err("ce_id is missing beside ce_source".to_owned()));
        assert_eq!(identity(&[("ce_id", Some(b"x"))]), Err("ce_source is missing beside ce_id".to_owned()));
    }

    #[test]
    fn an_identity_that_cannot_be_read_is_refused_with_the_reason() {
        let novel = [b'x'; 513];
        let cases: [(Option<&[u8]>, &str); 6] = [
            (None, "ce_id is null"),
            (Some(b"\xff\xfe"), "ce_id is not UTF-8"),
            (Some(&[0xa7; 16]), "ce_id has 16 bytes that are not text: write a UUID as text"),
            (Some(b""), "ce_id must have 1 to 512 bytes"),
            (Some(b"\"\""), "ce_id must have 1 to 512 bytes"),
            (Some(&novel), "ce_id must have 1 to 512 bytes"),
        ];
        for (id, expected) in cases {
            let refused = identity(&[SOURCE, ("ce_id", id)]).expect_err(expected);
            assert!(refused.starts_with(expected), "{refused}");
        }
    }

    #[test]
    fn an_id_that_is_there_twice_must_be_the_same() {
        let twice = |other: &'static [u8]| identity(&[SOURCE, ("ce_id", Some(b"x")), ("ce_id", Some(other))]);
        assert_eq!(twice(b"x"), given("shop", "x"));
        assert_eq!(twice(b"\"x\""), given("shop", "x"));
        let differs = "ce_id is there more than once, with different values";
        assert_eq!(twice(b"y"), Err(differs.to_owned()));
    }

    #[test]
    fn text_in_the_quotes_of_json_is_the_text_inside() {
        let quoted = [("ce_source", Some(&b"\"shop\""[..])), ("ce_id", Some(b"\"a\\u0062\""))];
        assert_eq!(identity(&quoted), given("shop", "ab"));
        assert_eq!(identity(&[SOURCE, ("ce_id", Some(b"\"x"))]), given("shop", "\"x"));
    }

    #[test]
    fn the_events_of_a_command_are_not_those_of_another_producers_with_the_same_id() {
        let of = |source: &str| Identity { source: source.to_owned(), id: "1".to_owned() };
        let event = of("/shop").derive("2").to_string();
        assert!(of("/shop").has_led_to(&event));
        assert!(!of("other-producer").has_led_to(&event));
    }

    #[test]
    fn a_command_is_the_same_when_its_bytes_or_what_they_mean_are() {
        let print = |body: &[u8], canonical: &[u8]| Fingerprint::of(("A", body), ("A", canonical));
        let (plain, in_blocks) = (print(b"12", b"12"), print(b"1-2", b"12"));
        assert_eq!((plain.as_bytes().len(), in_blocks.as_bytes().len()), (16, 32));
        assert!(plain.is_of_the_same(&in_blocks) && in_blocks.is_of_the_same(&plain));
        assert!(!in_blocks.is_of_the_same(&print(b"13", b"13")));
        let by_an_earlier_build = Fingerprint::stored(hash("A", b"1-2"));
        assert!(in_blocks.is_of_the_same(&by_an_earlier_build));
        assert!(!in_blocks.is_of_the_same(&Fingerprint::stored(Vec::new())));
        assert!(!plain.is_of_the_same(&Fingerprint::of(("B", b"12"), ("B", b"12"))));
        assert!(
            is_content(in_blocks.as_bytes(), "A", b"12") && !is_content(in_blocks.as_bytes(), "A", b"13")
        );
    }
}
