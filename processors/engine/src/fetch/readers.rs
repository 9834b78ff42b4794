//! The readers of one partition, and what is delivered to each.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::{Arrival, What};
use crate::buffer::Room;
use crate::record::Record;

/// A member that reads a partition.
pub(super) struct Reader {
    pub(super) id: u64,
    /// The offset of the first record that it is given.
    pub(super) from: i64,
    /// The room of its group.
    pub(super) room: Room,
    pub(super) arrivals: UnboundedSender<Arrival>,
}

/// A partition that is fetched.
pub(super) struct Fetched {
    topic: Arc<str>,
    partition: i32,
    /// The next offset to deliver.
    next: i64,
    readers: Vec<Reader>,
}

impl Fetched {
    pub(super) fn new(topic: Arc<str>, partition: i32, next: i64) -> Self {
        Self { topic, partition, next, readers: Vec::new() }
    }

    /// Whether no member reads it.
    pub(super) fn is_idle(&self) -> bool {
        self.readers.is_empty()
    }

    /// Refuses a reader, who reads on with its own client.
    pub(super) fn refuse(self, reader: &Reader) {
        self.tell(reader, What::Ends(reader.from));
    }

    /// Adds a reader, from the later of its offset and the next one on.
    pub(super) fn begin(&mut self, mut reader: Reader) {
        reader.from = reader.from.max(self.next);
        if self.tell(&reader, What::Begins(reader.from)) {
            self.readers.push(reader);
        }
    }

    pub(super) fn leave(&mut self, id: u64) {
        self.readers.retain(|reader| reader.id != id);
    }

    /// Delivers the next record to each reader, all with the same bytes. The reading of one without room for it ends.
    pub(super) fn deliver(&mut self, record: &Record) {
        let readers = std::mem::take(&mut self.readers);
        let goes_on = |reader: &Reader| reader.from > record.offset || self.deliver_to(reader, record);
        self.readers = readers.into_iter().filter(goes_on).collect();
        self.next = record.offset + 1;
    }

    /// Takes room for all of the record, although its bytes are shared: other groups may be done with it sooner.
    fn deliver_to(&self, reader: &Reader, record: &Record) -> bool {
        let room = reader.room.try_take(record.room_needed());
        let ends = room.is_none();
        let what = match room {
            Some(_) => What::Record(Box::new(Record { room, ..record.for_another_group() })),
            None => What::Ends(record.offset),
        };
        self.tell(reader, what) && !ends
    }

    /// The client has read to an offset: behind the last record are offsets without a record that can be read.
    pub(super) fn read_to(&mut self, offset: i64) {
        if offset <= self.next {
            return;
        }
        self.next = offset;
        for reader in self.readers.iter().filter(|reader| reader.from <= offset) {
            self.tell(reader, What::ReadTo(offset));
        }
    }

    /// Ends all readings.
    pub(super) fn end(self) {
        for reader in &self.readers {
            self.tell(reader, What::Ends(self.next.max(reader.from)));
        }
    }

    /// False when the member has left.
    fn tell(&self, reader: &Reader, what: What) -> bool {
        let (topic, partition) = (self.topic.clone(), self.partition);
        reader.arrivals.send(Arrival { reading: reader.id, topic, partition, what }).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::buffer::Buffer;

    /// A share of the buffer has room for two of these, and no byte is common.
    const LARGE: usize = 500_000;

    fn reader(id: u64, from: i64) -> (Reader, UnboundedReceiver<Arrival>) {
        let (arrivals, arrived) = unbounded_channel();
        (Reader { id, from, room: Buffer::new("test-fetch", 0).room(), arrivals }, arrived)
    }

    fn deliver(fetched: &mut Fetched, offset: i64, bytes: usize) {
        fetched.deliver(&Record::at("t", 0, offset, None, Some(vec![0; bytes].into()), Vec::new()));
    }

    /// What was told, and the records as long as they are kept.
    fn told(arrived: &mut UnboundedReceiver<Arrival>) -> (Vec<String>, Vec<Arrival>) {
        let all: Vec<Arrival> = std::iter::from_fn(|| arrived.try_recv().ok()).collect();
        let told = all.iter().map(|arrival| match &arrival.what {
            What::Begins(at) => format!("from {at}"),
            What::Record(record) => format!("record {}", record.offset),
            What::ReadTo(offset) => format!("read to {offset}"),
            What::Ends(at) => format!("ends at {at}"),
        });
        (told.collect(), all)
    }

    #[test]
    fn each_reader_is_given_every_record_from_the_offset_that_it_was_told() {
        let mut fetched = Fetched::new("t".into(), 0, 5);
        let ((behind, mut of_behind), (ahead, mut of_ahead)) = (reader(1, 3), reader(2, 7));
        fetched.begin(behind);
        fetched.begin(ahead);
        (5..9).for_each(|offset| deliver(&mut fetched, offset, 10));
        assert_eq!(told(&mut of_behind).0, ["from 5", "record 5", "record 6", "record 7", "record 8"]);
        assert_eq!(told(&mut of_ahead).0, ["from 7", "record 7", "record 8"]);
    }

    #[test]
    fn readers_share_the_bytes_of_a_record() {
        let mut fetched = Fetched::new("t".into(), 0, 0);
        let readers = [1, 2].map(|id| reader(id, 0));
        let taken = readers.map(|(reader, mut arrived)| {
            fetched.begin(reader);
            move || {
                told(&mut arrived).1.into_iter().find_map(|arrival| match arrival.what {
                    What::Record(record) => Some(record),
                    _ => None,
                })
            }
        });
        deliver(&mut fetched, 0, 10);
        let [one, other] = taken.map(|mut record| record().unwrap());
        let bytes = |record: &Record| record.value.as_ref().map(|value| value.as_ptr());
        assert_eq!(bytes(&one), bytes(&other));
        assert!(one.room.is_some() && other.room.is_some(), "both take room");
    }

    #[test]
    fn a_reader_without_room_is_told_where_it_ends_and_the_others_go_on() {
        let mut fetched = Fetched::new("t".into(), 0, 0);
        let ((slow, mut of_slow), (quick, mut of_quick)) = (reader(1, 0), reader(2, 0));
        fetched.begin(slow);
        fetched.begin(quick);
        let mut taken = Vec::new();
        for offset in 0..4 {
            deliver(&mut fetched, offset, LARGE);
            taken.extend(told(&mut of_quick).0);
        }
        let (of_slow, _kept) = told(&mut of_slow);
        assert_eq!(of_slow, ["from 0", "record 0", "record 1", "ends at 2"]);
        assert_eq!(taken, ["from 0", "record 0", "record 1", "record 2", "record 3"]);
    }

    #[test]
    fn offsets_without_a_record_are_told_once_and_only_to_those_who_have_read_to_them() {
        let mut fetched = Fetched::new("t".into(), 0, 0);
        let ((one, mut of_one), (ahead, mut of_ahead)) = (reader(1, 0), reader(2, 9));
        fetched.begin(one);
        fetched.begin(ahead);
        deliver(&mut fetched, 0, 10);
        [1, 3, 3].into_iter().for_each(|offset| fetched.read_to(offset));
        assert_eq!(told(&mut of_one).0, ["from 0", "record 0", "read to 3"]);
        assert_eq!(told(&mut of_ahead).0, ["from 9"]);
        fetched.end();
        assert_eq!(
            (told(&mut of_one).0, told(&mut of_ahead).0),
            (vec!["ends at 3".into()], vec!["ends at 9".into()])
        );
    }

    #[test]
    fn a_member_that_has_left_is_given_nothing() {
        let mut fetched = Fetched::new("t".into(), 0, 0);
        let ((one, mut of_one), (gone, of_gone)) = (reader(1, 0), reader(2, 0));
        fetched.begin(one);
        fetched.begin(gone);
        drop(of_gone);
        deliver(&mut fetched, 0, 10);
        fetched.leave(1);
        assert!(fetched.is_idle());
        deliver(&mut fetched, 1, 10);
        assert_eq!(told(&mut of_one).0, ["from 0", "record 0"]);
    }
}
