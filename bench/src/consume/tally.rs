//! What was read of a topic, whatever the order: what two consumers of it must have in common.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use millrace_schemas::customers::Event as CustomerEvent;
use millrace_schemas::{Event, Message as _, frame};

use crate::cli::Order;
use crate::load::{customers, steps};

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// Records, the bytes of their values, and a checksum of what was decoded from them; 0 for who decodes nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) checksum: u64,
}

impl Tally {
    /// Of the events of the first so many customers, as they were sent.
    pub(crate) fn of(customers: u64) -> Result<Self> {
        let mut sent = Self::default();
        for step in steps(0..customers, customers::VERSIONS, Order::Together) {
            let event = customers::event(step);
            // The id has the same length whatever it is.
            sent.read(frame(0, &event.encode()?).len());
            sent.found(&Event::Customers(event));
        }
        Ok(sent)
    }

    /// Counted without decoding anything.
    pub(crate) fn undecoded(self) -> Self {
        Self { checksum: 0, ..self }
    }

    /// Counts a record with a value of so many bytes.
    pub(super) fn read(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes as u64;
    }

    /// Adds the customer of an event and their phone number to the checksum.
    pub(super) fn found(&mut self, event: &Event) {
        let (customer, phone) = match event {
            Event::Customers(CustomerEvent::CustomerRegistered(event)) => (&event.customer_id, &event.phone),
            Event::Customers(CustomerEvent::CustomerDetailsChanged(event)) => {
                (&event.customer_id, &event.phone)
            }
            // The backlog has no others: one makes the checksum wrong.
            _ => return,
        };
        let parts = [customer.as_str(), "|", phone.as_deref().unwrap_or_default()];
        self.checksum = self.checksum.wrapping_add(parts.into_iter().fold(FNV_OFFSET, fnv_1a));
    }

    fn add(&mut self, more: Self) {
        self.records += more.records;
        self.bytes += more.bytes;
        self.checksum = self.checksum.wrapping_add(more.checksum);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.records, self.bytes, self.checksum)
    }
}

fn fnv_1a(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

/// What all partitions add up to.
#[derive(Default)]
pub(super) struct Totals(Mutex<Tally>);

impl Totals {
    /// Adds a batch.
    pub(super) fn add(&self, batch: Tally) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(batch);
    }

    /// What was read so far.
    pub(super) fn now(&self) -> Tally {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::load::Step;

    use super::*;

    fn found(steps: &[(u64, u64)]) -> u64 {
        let mut tally = Tally::default();
        for (stream, version) in steps {
            let step = Step { stream: *stream, version: *version };
            tally.found(&Event::Customers(customers::event(step)));
        }
        tally.checksum
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv_1a(FNV_OFFSET, ""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(FNV_OFFSET, "foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_checksum_tells_records_apart_and_not_their_order() {
        assert_eq!(found(&[(0, 1), (1, 2)]), found(&[(1, 2), (0, 1)]));
        assert_ne!(found(&[(0, 1), (1, 2)]), found(&[(0, 2), (1, 2)]));
    }

    #[test]
    fn batches_add_up_to_what_was_sent() {
        let (totals, sent) = (Totals::default(), Tally::of(2).unwrap());
        totals.add(Tally::of(1).unwrap());
        assert_ne!(totals.now(), sent);
        let first = Tally::of(1).unwrap();
        totals.add(Tally {
            records: sent.records - first.records,
            bytes: sent.bytes - first.bytes,
            checksum: sent.checksum.wrapping_sub(first.checksum),
        });
        assert_eq!(totals.now(), sent);
        assert_eq!(sent.records, 2 * customers::VERSIONS);
    }
}
