//! The spans of calls to an external system: of an attempt, and of a webhook that reports an outcome.

use std::time::SystemTime;

use uuid::Uuid;

use super::{Context, Kind, Span, queue};
use crate::outbox::Cause;

/// The outcome of a webhook that writes something; it is reached once.
const TAKEN: &str = "taken";

/// A call that is being made, or whose outcome is reported, for an event that is sampled.
pub(crate) struct Call {
    above: Context,
    own: Context,
    name: &'static str,
    kind: Kind,
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
        let (name, kind, event, began) = ("call", Kind::Client, cause.id.clone(), SystemTime::now());
        Some(Self { above, own, name, kind, effect, key, attempt, event, began })
    }

    /// A webhook reports the outcome of the call; the command that follows from it belongs to its span.
    pub(crate) fn reported(effect: &'static str, key: Uuid, attempt: i32, cause: &mut Cause) -> Option<Self> {
        let above = queue::sampled(cause.traceparent.as_deref()?)?;
        let own = above.below(&["webhook", &key.to_string()]);
        cause.traceparent = Some(own.header());
        let (name, kind, event, began) = ("webhook", Kind::Server, cause.id.clone(), SystemTime::now());
        Some(Self { above, own, name, kind, effect, key, attempt, event, began })
    }

    /// The call has this outcome, with a reason unless it was answered.
    pub(crate) fn end(self, outcome: &str, reason: Option<&str>) {
        let name = format!("{} {}", self.name, self.effect);
        let own =
            if self.kind == Kind::Server && outcome != TAKEN { self.above.any_below() } else { self.own };
        let mut span = Span::ending_now((Some(self.above.span), own), name, self.kind, self.began);
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
