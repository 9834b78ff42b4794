//! Making due calls: a bounded number concurrently, each under a lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_domain::{Effect, GaveUp};
use millrace_schemas::Command;
use sqlx::PgConnection;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::ledger::{self, Entry, Leased};
use super::policy::{self, CallOutcome, Limits, Next};
use super::{CallError, Provider, Shared};
use crate::backoff::Backoff;
use crate::error::WorkError;
use crate::failpoints::{self, broken, mechanism};
use crate::metrics;
use crate::outbox::{self, OutboxRow, SchemaIds};
use crate::reason::Reason;
use crate::spans;

/// The time of a lease beyond the timeouts of its calls, for writing the answer.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// Makes the calls of the effect `E`.
pub struct Caller<E> {
    pub(super) shared: Shared,
    provider: Arc<dyn Provider<E>>,
    schema_ids: OnceCell<SchemaIds>,
}

/// What an attempt shows about the provider.
pub(super) enum Health {
    /// The provider was not called.
    Unknown,
    Good,
    /// The call with this key failed.
    Bad(Uuid, CallError),
}

impl<E: Effect> Caller<E> {
    /// A caller of this provider.
    pub fn new(shared: Shared, provider: Arc<dyn Provider<E>>) -> Self {
        Self { shared, provider, schema_ids: OnceCell::new() }
    }

    /// The duration of a lease: enough for a query, a call, and writing the answer.
    pub(super) fn lease(&self) -> Duration {
        self.shared.settings.call_timeout * 2 + LEASE_MARGIN
    }

    fn limits(&self) -> Limits {
        Limits { key_window: self.provider.key_window(), age_max: self.shared.settings.age_max }
    }

    /// One attempt at a call, from the lease to the ledger.
    #[tracing::instrument(level = "debug", name = "call", skip_all, fields(effect = E::NAME, key = %leased.key, event = leased.cause.id))]
    pub(super) async fn attempt(&self, mut leased: Leased, until: Instant) -> Health {
        let span = spans::Call::begin(E::NAME, leased.key, leased.attempt, &mut leased.cause);
        let (outcome, health, request) = self.tried(&leased, until).await;
        if let CallOutcome::GiveUp(GaveUp { reason, unknown }) = &outcome {
            tracing::warn!(effect = E::NAME, key = %leased.key, event = leased.cause.id, trace = leased.cause.traceparent.as_deref(), unknown, reason, "a call is given up");
        }
        self.settle(&leased, request.as_ref(), &outcome).await;
        if let Some(span) = span {
            let (outcome, reason) = outcome.told();
            span.end(outcome, reason);
        }
        health
    }

    /// The result of an attempt. A request that this build cannot read is left to a later build, whatever its age.
    async fn tried(
        &self,
        leased: &Leased,
        until: Instant,
    ) -> (CallOutcome<E::Answer>, Health, Option<E::Request>) {
        match serde_json::from_str(&leased.request) {
            Ok(request) => {
                let (outcome, health) = self.follow(leased, &request, until).await;
                (outcome, health, Some(request))
            }
            Err(error) => {
                let error = format!("this build cannot read the request: {error}");
                (CallOutcome::Later { unknown: leased.known.unknown, error }, Health::Unknown, None)
            }
        }
    }

    /// Queries and calls as the policy decides.
    async fn follow(
        &self,
        leased: &Leased,
        request: &E::Request,
        until: Instant,
    ) -> (CallOutcome<E::Answer>, Health) {
        let (key, known, limits) = (leased.key, leased.known, self.limits());
        match known.next(&limits) {
            Next::GiveUp(why) => return (CallOutcome::GiveUp(why), Health::Unknown),
            Next::Ask => {
                let answer = self.within("ask", self.provider.ask(key, request)).await;
                let health = health(key, &answer);
                if let Some(outcome) = known.asked(answer, &limits) {
                    return (outcome, health);
                }
            }
            Next::Call => {}
        }
        let call_timeout = self.shared.settings.call_timeout;
        let within = until.saturating_duration_since(Instant::now()).saturating_sub(call_timeout);
        if !self.provider.admit(request, within).await {
            let (unknown, error) = (known.unknown, "the external system's rate limit is reached".to_owned());
            return (CallOutcome::Later { unknown, error }, Health::Unknown);
        }
        // A process that was frozen may have lost the lease.
        if Instant::now() + call_timeout > until {
            let (unknown, error) = (known.unknown, "the lease ended before the call".to_owned());
            return (CallOutcome::Later { unknown, error }, Health::Unknown);
        }
        failpoints::pass(failpoints::BEFORE_CALL);
        let sent_key = if broken(mechanism::CALL_KEY) { Uuid::now_v7() } else { key };
        let answer = self.within("call", self.provider.call(sent_key, request)).await;
        failpoints::pass(failpoints::AFTER_CALL);
        let health = health(key, &answer);
        (known.called(answer, &limits), health)
    }

    /// The provider's answer, if it comes in time.
    async fn within<A>(
        &self,
        kind: &str,
        answering: impl Future<Output = Result<A, CallError>>,
    ) -> Result<A, CallError> {
        let (began, timeout) = (Instant::now(), self.shared.settings.call_timeout);
        let silent = |_| CallError::Unknown(format!("no answer within {} ms", timeout.as_millis()).into());
        let answer = tokio::time::timeout(timeout, answering).await.map_err(silent).flatten();
        let outcome = match &answer {
            Ok(_) => "answered",
            Err(CallError::Refused(_)) => "refused",
            Err(CallError::Unavailable(_)) => "unavailable",
            Err(CallError::Unknown(_) | CallError::Contradicts(_)) => "unknown",
        };
        metrics::EFFECT_CALLS.with_label_values(&[E::NAME, kind, outcome]).inc();
        metrics::EFFECT_CALL_SECONDS.with_label_values(&[E::NAME]).observe(began.elapsed().as_secs_f64());
        answer
    }

    /// Writes the result of an attempt, and retries until it is written: an answer that is lost here would be an unknown outcome.
    async fn settle(&self, leased: &Leased, request: Option<&E::Request>, outcome: &CallOutcome<E::Answer>) {
        let (effect, key) = (E::NAME, leased.key);
        let mut backoff = Backoff::new();
        loop {
            match self.shared.pool.in_time(self.write(leased, request, outcome)).await {
                Ok(true) => return,
                Ok(false) => return tracing::warn!(effect, %key, "the lease was lost to another process"),
                Err(WorkError::Refused(reason)) => {
                    return tracing::error!(effect, %key, %reason, "the outcome of a call cannot be written");
                }
                Err(error) => {
                    tracing::warn!(effect, %key, %error, "the outcome of a call is not written yet")
                }
            }
            backoff.wait().await;
        }
    }

    /// Writes the result of an attempt and the resulting command in one transaction. False when another process has the lease.
    async fn write(
        &self,
        leased: &Leased,
        request: Option<&E::Request>,
        outcome: &CallOutcome<E::Answer>,
    ) -> Result<bool, WorkError> {
        let mut transaction = self.shared.pool.begin().await?;
        if !self.enter(&mut transaction, leased, request, outcome).await? {
            return Ok(false);
        }
        failpoints::pass(failpoints::BEFORE_COMMIT);
        transaction.commit().await?;
        Ok(true)
    }

    /// Writes the result of an attempt into the ledger, and its command into the outbox; false when another process has the lease.
    pub(super) async fn enter(
        &self,
        connection: &mut PgConnection,
        leased: &Leased,
        request: Option<&E::Request>,
        outcome: &CallOutcome<E::Answer>,
    ) -> Result<bool, WorkError> {
        let entry = entry(leased, outcome)?;
        let rows = match request.and_then(|request| command::<E>(request, outcome)) {
            Some(command) => vec![self.outbox_row(leased, &command).await?],
            None => Vec::new(),
        };
        if !ledger::settle::<E>(connection, leased, &entry).await? {
            return Ok(false);
        }
        outbox::insert(connection, &self.shared.namespace, &rows).await?;
        Ok(true)
    }

    /// The outbox row of a command. Its id depends only on the call, so a call is answered once.
    async fn outbox_row(&self, leased: &Leased, command: &Command) -> Result<OutboxRow, WorkError> {
        let id = Uuid::new_v5(&leased.key, b"command");
        let row = outbox::command(self.schema_ids().await?, id, command, leased.cause.clone());
        row.map_err(|fault| WorkError::Refused(fault.message.into()))
    }

    /// The schema ids of the commands that may be sent, requested once.
    pub(super) async fn schema_ids(&self) -> Result<&SchemaIds, WorkError> {
        self.schema_ids.get_or_try_init(|| self.shared.registry.command_ids(E::CONTEXTS)).await
    }
}

/// What an answer shows about the provider; a refusal shows that it works.
fn health<A>(key: Uuid, answer: &Result<A, CallError>) -> Health {
    match answer {
        Ok(_) | Err(CallError::Refused(_)) => Health::Good,
        Err(error) => Health::Bad(key, error.clone()),
    }
}

fn entry<A: serde::Serialize>(leased: &Leased, outcome: &CallOutcome<A>) -> Result<Entry, WorkError> {
    Ok(match outcome {
        CallOutcome::Answered(answer) => {
            let written = serde_json::to_string(answer);
            Entry::Done(written.map_err(|error| WorkError::Refused(Reason::of(error)))?)
        }
        CallOutcome::GiveUp(why) => Entry::GaveUp(why.clone()),
        CallOutcome::Later { unknown, error } => {
            let delay = policy::delay(leased.attempt);
            Entry::Later { error: error.clone(), unknown: *unknown, delay }
        }
    })
}

/// The command that follows from the last attempt.
fn command<E: Effect>(request: &E::Request, outcome: &CallOutcome<E::Answer>) -> Option<Command> {
    match outcome {
        CallOutcome::Answered(answer) => E::answered(request, answer),
        CallOutcome::GiveUp(why) => E::gave_up(request, why),
        CallOutcome::Later { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use millrace_domain::effects::mail::{Mail, Message, Taken};
    use tokio::sync::watch;

    use super::*;
    use crate::database::Pool;
    use crate::effects::Settings;
    use crate::effects::policy::Known;
    use crate::outbox::Cause;
    use crate::registry::Registry;
    use millrace_store::names::Namespace;

    const SECOND: Duration = Duration::from_secs(1);

    /// A provider with fixed answers, which records its requests.
    struct Scripted {
        ask: Result<Option<Taken>, CallError>,
        call: Result<Taken, CallError>,
        slow: bool,
        full: bool,
        received: Mutex<Vec<(&'static str, Uuid)>>,
    }

    impl Scripted {
        fn new(ask: Result<Option<Taken>, CallError>, call: Result<Taken, CallError>) -> Self {
            Self { ask, call, slow: false, full: false, received: Mutex::default() }
        }
    }

    #[async_trait]
    impl Provider<Mail> for Scripted {
        fn key_window(&self) -> Option<Duration> {
            Some(SECOND * 3_600)
        }

        async fn admit(&self, _: &Message, _: Duration) -> bool {
            !self.full
        }

        async fn call(&self, key: Uuid, _: &Message) -> Result<Taken, CallError> {
            self.received.lock().unwrap().push(("call", key));
            if self.slow {
                std::future::pending().await
            }
            self.call.clone()
        }

        async fn ask(&self, key: Uuid, _: &Message) -> Result<Option<Taken>, CallError> {
            self.received.lock().unwrap().push(("ask", key));
            self.ask.clone()
        }
    }

    fn caller(provider: Arc<Scripted>) -> Caller<Mail> {
        let settings =
            Settings { calls_max: 1, call_timeout: SECOND / 5, age_max: SECOND * 60, breaker_failures: 1 };
        let namespace = Namespace::new("n").unwrap();
        // Never connected to.
        let pool = sqlx::PgPool::connect_lazy("postgres://127.0.0.1:1/x").unwrap();
        let pool = Pool::new(pool, SECOND);
        let registry =
            Arc::new(Registry::new("http://127.0.0.1:1", crate::access::Access::default(), SECOND).unwrap());
        let wake = watch::Sender::new(());
        Caller::new(Shared { pool, registry, namespace, settings, wake }, provider)
    }

    fn leased(unknown: bool) -> Leased {
        let known = Known { unknown, since_first: SECOND, age: SECOND };
        let cause = Cause { id: "e1".to_owned(), correlation_id: None, traceparent: None, occurred_at: None };
        Leased { key: Uuid::from_u128(7), request: String::new(), attempt: 1, known, cause }
    }

    fn message() -> Message {
        let [notification_id, recipient, address, subject, body] =
            ["n", "r", "a", "s", "b"].map(str::to_owned);
        Message { notification_id, recipient, address, subject, body }
    }

    /// The result of an attempt, and the requests that the provider received.
    async fn follow(
        provider: Scripted,
        unknown: bool,
        left: Duration,
    ) -> (CallOutcome<Taken>, Vec<&'static str>) {
        let provider = Arc::new(provider);
        let caller = caller(provider.clone());
        let (outcome, _) = caller.follow(&leased(unknown), &message(), Instant::now() + left).await;
        let received = provider.received.lock().unwrap();
        assert!(received.iter().all(|(_, key)| *key == Uuid::from_u128(7)), "the key is always the call's");
        (outcome, received.iter().map(|(what, _)| *what).collect())
    }

    #[tokio::test]
    async fn a_new_call_is_made_at_once() {
        let (outcome, received) = follow(Scripted::new(Ok(None), Ok(Taken)), false, SECOND * 60).await;
        assert_eq!((outcome, received), (CallOutcome::Answered(Taken), vec!["call"]));
    }

    #[tokio::test]
    async fn an_unknown_call_is_asked_for_and_made_again_only_when_the_provider_does_not_know_it() {
        let answered = Scripted::new(Ok(Some(Taken)), Ok(Taken));
        assert_eq!(follow(answered, true, SECOND * 60).await, (CallOutcome::Answered(Taken), vec!["ask"]));
        let absent = Scripted::new(Ok(None), Ok(Taken));
        assert_eq!(
            follow(absent, true, SECOND * 60).await,
            (CallOutcome::Answered(Taken), vec!["ask", "call"])
        );
        let away = Scripted::new(Err(CallError::Unavailable("x".into())), Ok(Taken));
        let (outcome, received) = follow(away, true, SECOND * 60).await;
        assert!(matches!(outcome, CallOutcome::Later { unknown: true, .. }), "{outcome:?}");
        assert_eq!(received, ["ask"]);
    }

    #[tokio::test]
    async fn nothing_is_called_when_the_lease_may_have_ended_by_then() {
        let (outcome, received) = follow(Scripted::new(Ok(None), Ok(Taken)), false, SECOND / 10).await;
        assert!(matches!(outcome, CallOutcome::Later { unknown: false, .. }), "{outcome:?}");
        assert!(received.is_empty());
    }

    #[tokio::test]
    async fn a_call_that_is_not_admitted_in_time_is_made_later_and_says_nothing_about_the_provider() {
        for unknown in [false, true] {
            let full = Scripted { full: true, ..Scripted::new(Ok(None), Ok(Taken)) };
            let (outcome, received) = follow(full, unknown, SECOND * 60).await;
            assert!(
                matches!(outcome, CallOutcome::Later { unknown: known, .. } if known == unknown),
                "{outcome:?}"
            );
            assert!(!received.contains(&"call"));
        }
    }

    #[tokio::test]
    async fn a_request_that_a_later_release_has_stored_is_neither_called_nor_given_up() {
        for unknown in [false, true] {
            let provider = Arc::new(Scripted::new(Ok(None), Ok(Taken)));
            let request = r#"{"later": true}"#.to_owned();
            let known = Known { age: SECOND * 3_600, ..leased(unknown).known };
            let stored = Leased { request, known, ..leased(unknown) };
            let (outcome, ..) = caller(provider.clone()).tried(&stored, Instant::now() + SECOND * 60).await;
            assert!(
                matches!(outcome, CallOutcome::Later { unknown: known, .. } if known == unknown),
                "{outcome:?}"
            );
            assert!(provider.received.lock().unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn silence_is_an_unknown_outcome() {
        let silent = Scripted { slow: true, ..Scripted::new(Ok(None), Ok(Taken)) };
        let (outcome, _) = follow(silent, false, SECOND * 60).await;
        assert!(matches!(outcome, CallOutcome::Later { unknown: true, .. }), "{outcome:?}");
    }

    #[tokio::test]
    async fn an_answer_and_a_call_that_is_given_up_have_a_command_and_a_later_try_has_none() {
        let answered = command::<Mail>(&message(), &CallOutcome::Answered(Taken));
        assert_eq!(
            answered.map(|command| command.full_name()),
            Some("millrace.notifications.MarkNotificationSent")
        );
        let why = GaveUp { reason: "no".to_owned(), unknown: false };
        let gave_up = command::<Mail>(&message(), &CallOutcome::GiveUp(why));
        assert_eq!(
            gave_up.map(|command| command.full_name()),
            Some("millrace.notifications.MarkNotificationFailed")
        );
        let later = CallOutcome::Later { unknown: true, error: String::new() };
        assert_eq!(command::<Mail>(&message(), &later), None);
    }
}
