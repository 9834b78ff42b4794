//! The shared fetch: one client of the process fetches each partition once for all groups of the process that read at its end.
//!
//! Every group reads a partition with its own client until it has caught up; then the shared client delivers the next records, and
//! its own client, which stays the member of the group, is paused there. A group that falls behind, or a client in trouble, ends the
//! sharing: the group goes on with its own client. Without sharing, each record would be requested and received once for each group.
//!
//! Guarantee: the shared client delivers the records of a reading from one offset on, in order and without a gap, until it ends the
//! reading at an offset; each record it delivers has room in the buffer of its group.

mod client;
mod readers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rdkafka::config::ClientConfig;
use tokio::sync::mpsc;

use self::client::Client;
use self::readers::Reader;
use crate::buffer::Room;
use crate::client::{self as settings, KafkaSettings};
use crate::record::Record;
use crate::retry::Lane;
use crate::supervision::Restarts;

/// What the shared client tells a member about one of its readings.
pub(crate) struct Arrival {
    /// The id of the reading.
    pub(crate) reading: u64,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) what: What,
}

pub(crate) enum What {
    /// Records are delivered from this offset on.
    Begins(i64),
    /// The next record.
    Record(Box<Record>),
    /// The client has read to this offset; there is no record between the last one and it.
    ReadTo(i64),
    /// No record from this offset on is delivered.
    Ends(i64),
}

enum Request {
    Read { topic: Arc<str>, partition: i32, reader: Reader },
    Leave { topic: Arc<str>, partition: i32, id: u64 },
}

/// The shared fetch of a process: a client for source topics, and one for retry topics, since a fetch request names all partitions of
/// its client, and there are many of these, with few records.
#[derive(Clone)]
pub struct SharedFetch(Arc<Inner>);

struct Inner {
    config: ClientConfig,
    restarts: Restarts,
    source: OnceLock<mpsc::UnboundedSender<Request>>,
    retry: OnceLock<mpsc::UnboundedSender<Request>>,
    readings: AtomicU64,
}

/// The reading of a partition by a member; it ends when dropped.
pub(crate) struct Handle {
    pub(crate) id: u64,
    topic: Arc<str>,
    partition: i32,
    client: mpsc::UnboundedSender<Request>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let (topic, partition, id) = (self.topic.clone(), self.partition, self.id);
        // Its task ends with the process only.
        let _ = self.client.send(Request::Leave { topic, partition, id });
    }
}

impl SharedFetch {
    /// Clients connect when a member first asks for a partition. librdkafka requires a group id, here `group`, which has neither
    /// members nor offsets. `restarts` shows the tasks of the clients.
    pub fn new(kafka: &KafkaSettings, group: &str, restarts: Restarts) -> Self {
        let (source, retry, readings) = Default::default();
        let config = settings::consumer(kafka, group);
        Self(Arc::new(Inner { config, restarts, source, retry, readings }))
    }

    /// Asks for the records of a partition from the offset `from` on, or a later one, which is told. Takes room for each of them.
    pub(crate) fn read(
        &self,
        lane: Lane,
        (topic, partition): (Arc<str>, i32),
        from: i64,
        room: Room,
        arrivals: mpsc::UnboundedSender<Arrival>,
    ) -> Handle {
        let id = self.0.readings.fetch_add(1, Ordering::Relaxed);
        let client = self.client(lane).clone();
        let reader = Reader { id, from, room, arrivals };
        // Its task ends with the process only.
        let _ = client.send(Request::Read { topic: topic.clone(), partition, reader });
        Handle { id, topic, partition, client }
    }

    fn client(&self, lane: Lane) -> &mpsc::UnboundedSender<Request> {
        let (client, name) = match lane {
            Lane::Source => (&self.0.source, "fetch"),
            Lane::Retry => (&self.0.retry, "fetch of retry topics"),
        };
        client.get_or_init(|| {
            let (sender, requests) = mpsc::unbounded_channel();
            let (config, restarts) = (self.0.config.clone(), self.0.restarts.clone());
            tokio::spawn(Client::new(config, requests, restarts).run(name));
            sender
        })
    }
}

impl std::fmt::Debug for SharedFetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedFetch")
    }
}
