//! States of long streams, when this build's code folds them otherwise: folded by setup, in pages, so that no command of such a
//! stream, nor any other of its partition, waits for that.

use millrace_engine::WorkError;
use millrace_engine::commands::{self, IN_BATCH_MAX};
use millrace_store::{folded_ahead, stream};
use sqlx::PgConnection;

use super::steps::{Did, Steps};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::outage;
use crate::postgres::Database;
use crate::replay::session;
use crate::roles;

/// Streams that are listed at a time.
const PAGE: i64 = 1_000;

/// Folds the long streams of each context whose states an earlier version of the code has written. Processes of the release before
/// go on deciding meanwhile. What a setup that was stopped has folded stays; the next one continues.
pub(super) async fn fold_ahead(config: &Config, steps: &mut Steps<'_>) -> Result<(), Failure> {
    let write = Database::of(config, Side::Write)?;
    let fail = |error| write.failure(error);
    // A dry run may have no tables to look at.
    if steps.dry && !stream::is_there(&write.pool).await.map_err(fail)? {
        return Ok(());
    }
    let shared = roles::deciding(config)?;
    let (contexts, versions): (Vec<_>, Vec<_>) =
        shared.refolders.versions().filter(|(context, _)| config.has(context)).unzip();
    let behind = match folded_ahead::is_there(&write.pool).await.map_err(fail)? {
        true => folded_ahead::behind(&write.pool, &contexts, &versions).await.map_err(fail)?,
        false => contexts.iter().map(|context| (*context).to_owned()).collect(),
    };
    // To list the streams may take longer than a statement of workers.
    let mut connection = session::open(&write).await.map_err(fail)?;
    for (context, version) in contexts.into_iter().zip(versions) {
        if behind.iter().any(|name| name == context) {
            let mut ahead = Ahead { config, shared: &shared, connection: &mut connection, context, version };
            let streams = ahead.fold(steps.dry).await?;
            report(context, streams, steps)?;
        }
    }
    Ok(())
}

fn report(context: &str, streams: usize, steps: &mut Steps<'_>) -> Result<(), Failure> {
    match streams {
        0 => Ok(()),
        1 => steps.report(Did::Updated, "state", &format!("of a long stream of {context}")),
        many => steps.report(Did::Updated, "state", &format!("of {many} long streams of {context}")),
    }
}

/// The long streams of a context.
struct Ahead<'a> {
    config: &'a Config,
    shared: &'a commands::Shared,
    connection: &'a mut PgConnection,
    context: &'static str,
    /// Of this build's code.
    version: i32,
}

impl Ahead<'_> {
    /// Folds them all, or counts them; returns how many there are.
    async fn fold(&mut self, dry: bool) -> Result<usize, Failure> {
        let (mut after, mut folded, mut left) = (String::new(), 0, 0);
        loop {
            let page = self.page(&after).await?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            for (id, events) in page {
                match dry || self.fold_one(&id, events).await? {
                    true => folded += 1,
                    false => left += 1,
                }
            }
        }
        if !dry && left == 0 {
            let put = folded_ahead::put(&mut *self.connection, self.context, self.version).await;
            put.map_err(|error| self.failure(error.into()))?;
        }
        Ok(folded)
    }

    async fn page(&mut self, after: &str) -> Result<Vec<(String, i64)>, Failure> {
        let limits = (after, IN_BATCH_MAX, PAGE);
        let page = stream::long(&mut *self.connection, self.context, self.version, limits).await;
        page.map_err(|error| self.failure(error.into()))
    }

    /// Whether it could be folded: a stream that cannot is left to the batch of its next command, which has rules for that.
    async fn fold_one(&self, id: &str, events: i64) -> Result<bool, Failure> {
        let context = self.context;
        tracing::info!(context, id, events, "a long stream is folded ahead of its next command");
        match commands::fold_ahead(self.shared, (context, id), events).await {
            Ok(()) => Ok(true),
            Err(outage @ WorkError::Outage { .. }) => Err(self.failure(outage)),
            Err(error) => {
                tracing::warn!(context, id, %error, "a long stream cannot be folded ahead");
                Ok(false)
            }
        }
    }

    fn failure(&self, error: WorkError) -> Failure {
        outage::failure(self.config, Side::Write, error)
    }
}
