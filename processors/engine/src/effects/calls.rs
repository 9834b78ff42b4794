//! The loop over due calls: how many begin, and what their results show about the provider.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_domain::Effect;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::CallError;
use super::breaker::Breaker;
use super::caller::{Caller, Health};
use super::ledger;
use crate::backoff::Backoff;
use crate::error::WorkError;
use crate::metrics;
use crate::supervision::{Panic, caught};

/// How often the ledger is queried for due calls when nothing wakes the caller.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl<E: Effect> Caller<E> {
    /// Makes calls until stopped; running calls are finished.
    pub async fn run(self, stop: CancellationToken) {
        let caller = Arc::new(self);
        let mut calls = Calls::new(caller.clone());
        let (mut wake, mut backoff) = (caller.shared.wake.subscribe(), Backoff::new());
        while !stop.is_cancelled() {
            // Marked before the query, so that a change during the query is not missed.
            wake.mark_unchanged();
            if let Err(error) = calls.begin_due().await {
                let logs = || tracing::warn!(effect = E::NAME, %error, "calls wait");
                backoff.wait_after((E::NAME, &error), &stop, logs).await;
                continue;
            }
            backoff = Backoff::new();
            tokio::select! {
                () = stop.cancelled() => {}
                () = calls.one_ended() => {}
                _ = wake.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        calls.all_ended().await;
    }
}

/// The running calls, and what they show about the provider.
struct Calls<E> {
    caller: Arc<Caller<E>>,
    under_way: JoinSet<Result<Health, Panic>>,
    breaker: Breaker,
}

impl<E: Effect> Calls<E> {
    fn new(caller: Arc<Caller<E>>) -> Self {
        let breaker = Breaker::new(caller.shared.settings.breaker_failures);
        Self { caller, under_way: JoinSet::new(), breaker }
    }

    /// Begins due calls, up to the limit, once the schema ids for their answers are known.
    async fn begin_due(&mut self) -> Result<(), WorkError> {
        self.caller.schema_ids().await?;
        let (now, under_way) = (Instant::now(), self.under_way.len());
        let wanted = self.caller.shared.settings.calls_max.saturating_sub(under_way);
        let room = self.breaker.permits(wanted, under_way, now);
        if room == 0 {
            return Ok(());
        }
        let lease = self.caller.lease();
        let database = &self.caller.shared.pool;
        for leased in database.in_time(ledger::lease::<E>(database, room, lease)).await? {
            let caller = self.caller.clone();
            self.under_way.spawn(async move { caught("call", caller.attempt(leased, now + lease)).await });
        }
        Ok(())
    }

    /// Waits for a call to end; for ever when none is running.
    async fn one_ended(&mut self) {
        let Some(mut ended) = self.under_way.join_next().await else { return std::future::pending().await };
        loop {
            match ended {
                Ok(Ok(Health::Unknown)) => {}
                Ok(Ok(Health::Good)) => self.succeeded(),
                Ok(Ok(Health::Bad(key, error))) => self.failed(key, &error),
                // Its lease expires, and its outcome is then unknown.
                Ok(Err(panic)) => tracing::error!(effect = E::NAME, %panic, "a call ended badly"),
                Err(error) => tracing::error!(effect = E::NAME, %error, "a call ended badly"),
            }
            match self.under_way.try_join_next() {
                Some(next) => ended = next,
                None => break,
            }
        }
        let open = i64::from(self.breaker.is_open());
        metrics::EFFECT_BREAKER.with_label_values(&[E::NAME]).set(open);
    }

    fn succeeded(&mut self) {
        if self.breaker.is_failing() {
            tracing::info!(effect = E::NAME, "the external system answers again");
        }
        self.breaker.succeeded();
    }

    /// Logs the first of the failures in a row, and when no further calls are made because of them.
    fn failed(&mut self, key: Uuid, error: &CallError) {
        let (effect, now, was_open) = (E::NAME, Instant::now(), self.breaker.is_open());
        if !self.breaker.is_failing() {
            tracing::warn!(effect, %key, %error, "calls fail, and are tried again");
        }
        self.breaker.failed(key, now);
        if self.breaker.is_open() && !was_open {
            tracing::warn!(effect, %error, "the circuit breaker is open: calls wait, and one at a time is tried");
        }
    }

    async fn all_ended(&mut self) {
        while !self.under_way.is_empty() {
            self.one_ended().await;
        }
    }
}
