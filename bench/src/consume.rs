//! Contestants of `against consume`, each run as a process of its own: they read customers' events and fold them into
//! nothing. Each prints how many records and bytes it has read and the checksum of what it found in them, a line whenever
//! that has changed.

mod decoding;
mod plain;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Consume, Reader};
pub(crate) use tally::Tally;
use tally::Totals;

const TELL_EVERY: Duration = Duration::from_millis(10);

/// Reads until it is asked to stop.
pub(crate) async fn run(options: &Consume) -> Result<()> {
    let (stack, totals, stop) = (crate::stack::find()?, Arc::new(Totals::default()), stopped()?);
    tokio::spawn(tell(totals.clone()));
    match options.reader {
        Reader::Millrace => decoding::run(&stack, &options.namespace, totals, stop).await,
        Reader::Plain => {
            let consumer = plain::consumer(&stack, options)?;
            tokio::task::spawn_blocking(move || plain::run(&consumer, &totals, &stop)).await?
        }
    }
}

/// Cancelled by SIGTERM: a member of a group must leave it, or the group outlives this process.
fn stopped() -> Result<CancellationToken> {
    let (mut terminate, stop) = (signal(SignalKind::terminate())?, CancellationToken::new());
    let stopping = stop.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        stopping.cancel();
    });
    Ok(stop)
}

async fn tell(totals: Arc<Totals>) {
    let mut told = Tally::default();
    loop {
        let now = totals.now();
        if now != told {
            println!("{now}");
            told = now;
        }
        tokio::time::sleep(TELL_EVERY).await;
    }
}
