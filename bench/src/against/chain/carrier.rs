//! The contestants of `against chain`, with their processes.

use std::process::Command;

use anyhow::Result;
use millrace_testkit::{Memory, Running};
use serde::Serialize;

use crate::against::contestant::JVM;
use crate::against::peer::Peer;
use crate::cli::Chained;
use crate::instance::Instance;

/// A contestant that processes commands up to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Who {
    Millrace,
    /// Millrace again, for the noise.
    Again,
    /// A program on the JVM, with the same connector.
    Jvm,
    /// The same program without settings for speed, with Debezium's defaults.
    Defaults,
}

impl From<Chained> for Who {
    fn from(peer: Chained) -> Self {
        match peer {
            Chained::Defaults => Self::Defaults,
            Chained::Jvm => Self::Jvm,
        }
    }
}

impl Who {
    /// The name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Millrace => "millrace",
            Self::Again => "millrace again",
            Self::Jvm => "jvm",
            Self::Defaults => "defaults",
        }
    }

    /// The group whose offsets are in Postgres.
    pub(super) fn group(self) -> &'static str {
        match self {
            Self::Millrace | Self::Again => "customers",
            Self::Jvm | Self::Defaults => "jvm",
        }
    }
}

/// A running contestant. Dropping it ends it.
pub(super) enum Carrier {
    /// A process that decides and one that folds.
    Millrace([Running; 2]),
    /// One process for both.
    Jvm(Peer),
}

impl Carrier {
    /// Starts it.
    pub(super) async fn start(instance: &Instance, who: Who) -> Result<Self> {
        let partitions = instance.partitions().to_string();
        let mut arguments = vec!["commands,customers", &instance.name, &partitions];
        match who {
            Who::Millrace | Who::Again => {
                let settings = ["elasticsearch.publish=false".to_owned()];
                let decides = instance.start(&["commands"], &settings).await?;
                return Ok(Self::Millrace([
                    decides,
                    instance.start(&["view", "customers"], &settings).await?,
                ]));
            }
            Who::Jvm => {}
            Who::Defaults => arguments.push("defaults"),
        }
        let mut command = Command::new(JVM);
        Ok(Self::Jvm(Peer::start(who.name(), command.args(arguments), &instance.file("peer.log"))?))
    }

    /// Its processes.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        let pids = match self {
            Self::Millrace(running) => running.iter().map(|process| process.pid()).collect(),
            Self::Jvm(peer) => vec![peer.pid()],
        };
        pids.into_iter()
    }

    /// The peak resident memory of its processes, in MB.
    pub(super) fn peak_mb(&self) -> Result<f64> {
        self.pids().map(|pid| Ok(Memory::of(pid)?.peak_mb)).sum()
    }

    /// Fails when a process has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        match self {
            Self::Millrace(running) => running.iter_mut().try_for_each(|process| process.check()),
            Self::Jvm(peer) => peer.committed().map(|_| ()),
        }
    }

    /// The last lines of its logs.
    pub(super) fn log_tail(&self) -> String {
        match self {
            Self::Millrace(running) => running.iter().map(|process| process.log_tail()).collect(),
            Self::Jvm(peer) => peer.log_tail(),
        }
    }

    /// Asks it to stop and waits until it has.
    pub(super) fn stop(self) -> Result<()> {
        match self {
            Self::Millrace(running) => running.into_iter().try_for_each(Running::stop),
            Self::Jvm(peer) => peer.stop(),
        }
    }
}
