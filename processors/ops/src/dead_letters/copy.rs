//! The record of a dead letter, from its topic.

use std::ops::ControlFlow;
use std::time::Duration;

use millrace_engine::offsets::own_offset;
use millrace_engine::{Header, Record, retry};
use millrace_store::names::dead_letter_topic;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message as _;

use super::letter::Letter;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{Position, Reader, Seen};

const PATIENCE: Duration = Duration::from_secs(10);

/// Reads copies.
pub(super) struct Copies<'c>(Reader<'c>);

/// The record of a letter.
pub(super) struct Found {
    /// The original record.
    pub(super) original: Record,
    /// The headers that Millrace wrote on its copy.
    pub(super) ours: Vec<Header>,
}

impl<'c> Copies<'c> {
    pub(super) fn new(config: &'c Config) -> Result<Self, Failure> {
        Reader::new(&config.kafka).map(Self)
    }

    /// The record of a letter, or why it cannot be read. When Kafka refused a copy of its bytes, they are read from the source
    /// topic.
    pub(super) fn of(&self, letter: &Letter) -> Result<Result<Found, String>, Failure> {
        let copy = match self.copy(letter)? {
            Ok(copy) => copy,
            Err(reason) => return Ok(Err(reason)),
        };
        let ours =
            copy.as_ref().map(|copy| retry::own_and_ours(&copy.headers).1.to_vec()).unwrap_or_default();
        let original = match copy {
            Some(copy) if !retry::left_at_source(&copy) => {
                retry::original(&copy).ok_or_else(|| "its copy does not say where it comes from".to_owned())
            }
            copy => self.at_source(letter, copy.as_ref())?,
        };
        Ok(original.map(|mut original| {
            // The offset under which it waits: if the topic was created again since, that differs from the offset in the copy.
            original.offset = letter.offset;
            Found { original, ours }
        }))
    }

    /// The copy of a letter, or why it cannot be read; `None` when Kafka refused a copy.
    fn copy(&self, letter: &Letter) -> Result<Result<Option<Record>, String>, Failure> {
        let Some(copy) = letter.copy else {
            return Ok(if letter.is_of_a_document() { Err(no_record()) } else { Ok(None) });
        };
        let topic = dead_letter_topic(&letter.topic, &letter.group);
        let at = Position { topic, partition: copy.partition, offset: copy.offset };
        let missing = || {
            let Position { topic, partition, offset } = &at;
            format!("its record is no longer on {topic}, partition {partition} offset {offset}")
        };
        let found = tokio::task::block_in_place(|| self.read(&at))?;
        Ok(found.and_then(|found| found.filter(|copy| is_of(letter, copy)).map(Some).ok_or_else(missing)))
    }

    /// The record in its source topic, if it still exists.
    fn at_source(&self, letter: &Letter, copy: Option<&Record>) -> Result<Result<Record, String>, Failure> {
        let Letter { topic, partition, offset, .. } = letter;
        let at = Position { topic: topic.clone(), partition: *partition, offset: *offset };
        let found = tokio::task::block_in_place(|| self.read(&at))?;
        let known = copy.and_then(retry::original);
        // A topic that was created again has another record at this offset.
        let same =
            |found: &Record| known.as_ref().is_none_or(|known| known.timestamp_ms == found.timestamp_ms);
        let deleted = || {
            let place = format!("{topic} partition {partition} offset {offset}");
            format!("its bytes are lost: Kafka refused a copy of them, and {place} was deleted")
        };
        Ok(found.and_then(|found| found.filter(same).ok_or_else(deleted)).inspect(|found| {
            if let Some(key) = known.as_ref().and_then(Record::shown_ordering_key) {
                found.set_ordering_key(key.to_vec());
            }
        }))
    }

    /// The record at a place, if it exists; or why it cannot be fetched.
    fn read(&self, at: &Position) -> Result<Result<Option<Record>, String>, Failure> {
        let (low, high) = self.0.ends(&at.topic, at.partition)?;
        let mut found = Ok(None);
        if (low..high).contains(&at.offset) {
            self.0.visit(&at.topic, [(at.partition, at.offset)], PATIENCE, |seen| {
                match seen {
                    // The reader may still return records of an earlier position.
                    Seen::Record(message) if message.topic() != at.topic || message.offset() < at.offset => {
                        return ControlFlow::Continue(());
                    }
                    Seen::Record(message) => {
                        found = Ok(Some(Record::of(message)).filter(|record| record.offset == at.offset));
                    }
                    Seen::Unfetchable(_, offsets, code) if offsets.contains(&at.offset) => {
                        found = Err(unfetchable(at, code));
                    }
                    Seen::Unfetchable(..) | Seen::End(_) => {}
                }
                ControlFlow::Break(())
            })?;
        }
        Ok(found)
    }
}

fn unfetchable(Position { topic, partition, offset }: &Position, code: RDKafkaErrorCode) -> String {
    format!("its bytes are on {topic}, partition {partition} offset {offset}, and cannot be fetched: {code}")
}

fn no_record() -> String {
    "it is about a document that Elasticsearch refused, not a record: a redrive sends its current version, as does the next change"
        .to_owned()
}

/// Whether a copy belongs to a letter: a topic that was deleted and created again has other records at its offsets.
fn is_of(letter: &Letter, copy: &Record) -> bool {
    retry::original(copy).is_some_and(|original| {
        (&*original.topic, original.partition, own_offset(original.offset))
            == (letter.topic.as_str(), letter.partition, own_offset(letter.offset))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    fn copy(offset: &str) -> Record {
        let headers = [
            ("x-source-offset", "1"),
            ("x-error-code", "reference-not-found"),
            ("x-attempts", "4"),
            ("x-source-topic", "shop.cmd.orders.v1"),
            ("x-source-partition", "2"),
            ("x-source-offset", offset),
        ];
        Record::at("dlq", 0, 3, None, None, headers.map(|(name, value)| Header::new(name, value)).into())
    }

    #[test]
    fn a_copy_is_of_the_letter_whose_place_it_names() {
        assert!(is_of(&examples::letter(), &copy("42")));
        assert!(!is_of(&examples::letter(), &copy("43")));
    }
}
