//! The span of a call to an external system.

use std::time::SystemTime;

use uuid::Uuid;

use super::{Context, Kind, Span, queue};
use crate::outbox::Cause;

/// A call that is being made for an event that is sampled.
pub(crate) struct Call {
    above: Context,
    own: Context,
    effect: &'static str,
    key: Uuid,
    attempt: i32,
    event: String,
    began: SystemTime,
}

impl Call {
    /// The call begins; the command that answers it belongs to its span.
    pub(crate) fn begin(effect: &'static str, key: Uuid, attempt: i32, cause: &mut Cause) -> Option<Self> {
        let above = queue::sampled(cause.traceparent.as_deref()?)?;
        let own = above.below(&["call", &key.to_string(), &attempt.to_string()]);
        cause.traceparent = Some(own.header());
        Some(Self { above, own, effect, key, attempt, event: cause.id.clone(), began: SystemTime::now() })
    }

    /// The call has this outcome: the last two of `answered`, `later` and `gave up` have a reason.
    pub(crate) fn end(self, outcome: &str, reason: Option<&str>) {
        let name = format!("call {}", self.effect);
        let mut span = Span::ending_now((Some(self.above.span), self.own), name, Kind::Client, self.began);
        span.attributes = vec![
            ("millrace.effect", self.effect.into()),
            ("millrace.call", self.key.to_string().as_str().into()),
            ("millrace.attempt", i64::from(self.attempt).into()),
            ("millrace.caused_by", self.event.as_str().into()),
            ("millrace.outcome", outcome.into()),
        ];
        span.failed = reason.map(str::to_owned);
        queue::record(span);
    }
}
