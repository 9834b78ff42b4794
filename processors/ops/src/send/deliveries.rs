//! Counts of what Kafka has taken of a stream of commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::command::Outgoing;
use super::producer::{Delivered, Sender, Told};
use crate::listener::Listener;

/// Failed deliveries that are reported; further ones are only counted.
const REPORTED_MAX: u64 = 20;
/// The delay before a full buffer is tried again.
const FULL_FOR: Duration = Duration::from_millis(10);

/// Counts deliveries; reports failures with their line.
pub(super) struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
    listener: Arc<dyn Listener>,
}

impl Deliveries {
    pub(super) fn new(listener: Arc<dyn Listener>) -> Arc<Self> {
        Arc::new(Self { delivered: AtomicU64::new(0), failed: AtomicU64::new(0), listener })
    }

    /// Sends the command of a line; waits at most `patience` while the client's buffer is full.
    pub(super) fn send(
        self: &Arc<Self>,
        sender: &Sender,
        line: u64,
        outgoing: &Outgoing,
        patience: Duration,
    ) {
        let (counts, until) = (self.clone(), Instant::now() + patience);
        let mut told: Told = Box::new(move |delivered| counts.count(line, delivered));
        while let Err((error, back)) = sender.send(outgoing, told) {
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) if Instant::now() < until => {
                    std::thread::sleep(FULL_FOR);
                    told = back;
                }
                error => return back(Err(error)),
            }
        }
    }

    fn count(&self, line: u64, delivered: Delivered) {
        match delivered {
            Ok(_) => drop(self.delivered.fetch_add(1, Ordering::Relaxed)),
            Err(error) => self.fail(line, &error),
        }
    }

    fn fail(&self, line: u64, error: &KafkaError) {
        if self.failed.fetch_add(1, Ordering::Relaxed) < REPORTED_MAX {
            self.listener.say(&format!("line {line}: was not delivered: {error}"));
        }
    }

    /// Delivered and failed.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.delivered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}
