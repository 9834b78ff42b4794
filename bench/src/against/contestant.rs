//! The contestants that drain a backlog: starting them, and their progress.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use millrace_testkit::{Patience, Running};
use serde::Serialize;

use super::Stage;
use super::peer::Peer;
use super::sink::Sink;
use crate::cli::{Consumer, Decider, Folder, Indexer};
use crate::drain::offsets::{Offsets, Side};
use crate::instance::Instance;
use crate::instance::PATIENCE;

const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOK_RARELY: Duration = Duration::from_millis(100);
/// The path where scripts/bench has built it.
pub(super) const JVM: &str = "bench/jvm/run";

/// A contestant that drains a backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Contestant {
    Millrace,
    /// Millrace again, for the noise.
    Again,
    /// One transaction for each command.
    OneByOne,
    /// A program on the JVM that commits batches.
    Jvm,
    /// Debezium's JDBC sink with its defaults.
    Sink,
    SinkTuned,
    /// A consumer that decodes nothing.
    Plain,
}

impl From<Decider> for Contestant {
    fn from(decider: Decider) -> Self {
        match decider {
            Decider::OneByOne => Self::OneByOne,
            Decider::Jvm => Self::Jvm,
        }
    }
}

impl From<Folder> for Contestant {
    fn from(folder: Folder) -> Self {
        match folder {
            Folder::Sink => Self::Sink,
            Folder::SinkTuned => Self::SinkTuned,
            Folder::Jvm => Self::Jvm,
        }
    }
}

impl From<Indexer> for Contestant {
    fn from(indexer: Indexer) -> Self {
        match indexer {
            Indexer::Jvm => Self::Jvm,
        }
    }
}

impl From<Consumer> for Contestant {
    fn from(consumer: Consumer) -> Self {
        match consumer {
            Consumer::Plain => Self::Plain,
            Consumer::Jvm => Self::Jvm,
        }
    }
}

impl Contestant {
    /// The name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Millrace => "millrace",
            Self::Again => "millrace again",
            Self::OneByOne => "one by one",
            Self::Jvm => "jvm",
            Self::Sink => "sink",
            Self::SinkTuned => "sink, tuned",
            Self::Plain => "plain",
        }
    }

    /// The sink upserts what it reads: its records are rows.
    pub(super) fn reads_rows(self) -> bool {
        matches!(self, Self::Sink | Self::SinkTuned)
    }
}

/// A running contestant. Dropping it ends it.
pub(super) enum Drainer {
    Millrace { running: Running, offsets: Offsets },
    Peer(Peer),
    Sink(Sink),
}

impl Drainer {
    /// Starts it on an existing backlog.
    pub(super) async fn start(
        instance: &Instance,
        stage: Stage,
        who: Contestant,
        partitions: i32,
    ) -> Result<Self> {
        match who {
            Contestant::Millrace | Contestant::Again => {
                Self::millrace(instance, stage, who, partitions).await
            }
            Contestant::OneByOne => Self::own(instance, who, &["one-by-one"], partitions),
            Contestant::Plain => Self::own(instance, who, &["consume", "plain"], partitions),
            Contestant::Jvm => {
                let mut command = Command::new(JVM);
                command.args([stage.name(), &instance.name, &partitions.to_string()]);
                Ok(Self::Peer(Peer::start(who.name(), &mut command, &instance.file("peer.log"))?))
            }
            Contestant::Sink => Ok(Self::Sink(Sink::start(instance, partitions, false).await?)),
            Contestant::SinkTuned => Ok(Self::Sink(Sink::start(instance, partitions, true).await?)),
        }
    }

    /// A process of this program.
    fn own(instance: &Instance, who: Contestant, arguments: &[&str], partitions: i32) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).args(["--namespace", &instance.name]);
        command.args(["--partitions", &partitions.to_string()]);
        Ok(Self::Peer(Peer::start(who.name(), &mut command, &instance.file("peer.log"))?))
    }

    async fn millrace(instance: &Instance, stage: Stage, who: Contestant, partitions: i32) -> Result<Self> {
        let (side, roles, settings) = match stage {
            Stage::Commands => (Side::Write, vec!["commands"], Vec::new()),
            Stage::Customers => {
                (Side::Read, vec!["view", "customers"], vec!["elasticsearch.publish=false".to_owned()])
            }
            Stage::Search => (Side::Search, vec!["view", "customers"], Vec::new()),
            Stage::Consume => return Self::own(instance, who, &["consume", "millrace"], partitions),
        };
        let offsets = Offsets::watch(instance, side, roles.last().unwrap_or(&"")).await?;
        let running = instance.start(&roles, &settings).await?;
        Ok(Self::Millrace { running, offsets })
    }

    /// The process whose CPU time is the writer's.
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Millrace { running, .. } => running.pid(),
            Self::Peer(peer) => peer.pid(),
            Self::Sink(sink) => sink.pid(),
        }
    }

    /// The measurement's own process in Postgres, which does not count.
    pub(super) fn backend(&self) -> Option<u32> {
        match self {
            Self::Millrace { offsets, .. } => Some(offsets.backend()),
            Self::Peer(_) => None,
            Self::Sink(sink) => Some(sink.backend()),
        }
    }

    /// Waits until this many records are committed; fails when nothing moves for a while.
    pub(super) async fn at_least(&mut self, wanted: u64) -> Result<(Instant, u64)> {
        let mut patience = Patience::new(PATIENCE);
        loop {
            let (at, records) = self.look().await?;
            if records >= wanted {
                return Ok((at, records));
            }
            if patience.ends(records) {
                let state = self.state().await;
                bail!("nothing moved for {PATIENCE:?} after {records} of {wanted} records: {state}");
            }
            tokio::time::sleep(self.pause()).await;
        }
    }

    /// Counting what the sink has done reads its whole table.
    fn pause(&self) -> Duration {
        if matches!(self, Self::Sink(_)) { LOOK_RARELY } else { LOOK_EVERY }
    }

    /// Its last output line, if it reports its progress.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Peer(peer) => peer.told(),
            Self::Millrace { .. } | Self::Sink(_) => String::new(),
        }
    }

    /// Its last status.
    async fn state(&self) -> String {
        match self {
            Self::Millrace { running, .. } => running.log_tail(),
            Self::Peer(peer) => peer.log_tail(),
            Self::Sink(sink) => sink.status().await,
        }
    }

    async fn look(&mut self) -> Result<(Instant, u64)> {
        match self {
            Self::Millrace { running, offsets } => {
                running.check()?;
                let seen = offsets.look().await?;
                Ok((seen.at, seen.records))
            }
            Self::Peer(peer) => Ok((Instant::now(), peer.committed()?)),
            Self::Sink(sink) => {
                let committed = sink.committed().await?;
                Ok((Instant::now(), committed))
            }
        }
    }

    /// Ends it and waits until it has ended.
    pub(super) async fn stop(self) -> Result<()> {
        match self {
            Self::Millrace { running, .. } => running.stop(),
            Self::Peer(peer) => peer.stop(),
            Self::Sink(sink) => sink.stop().await,
        }
    }
}
