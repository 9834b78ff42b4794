//! The span of a timer of a saga that was due.

use std::time::SystemTime;

use super::{Context, Kind, Span, queue};

/// A timer of an instance whose first input is sampled.
pub(crate) struct Timer {
    above: Context,
    own: Context,
    name: String,
    instance: String,
    began: SystemTime,
}

impl Timer {
    /// The timer `timer` of the instance fires; `id` is its own each time it is set.
    pub(crate) fn begin(
        saga: &str,
        instance: &str,
        (timer, id): (&str, &str),
        first: Option<&str>,
    ) -> Option<Self> {
        let above = queue::sampled(first?)?;
        let own = above.below(&["timer", saga, instance, id]);
        let name = format!("{saga} timer {timer}");
        Some(Self { above, own, name, instance: instance.to_owned(), began: SystemTime::now() })
    }

    /// The header of the commands that it leads to.
    pub(crate) fn header(&self) -> String {
        self.own.header()
    }

    /// Its step is committed.
    pub(crate) fn end(self) {
        let mut span =
            Span::ending_now((Some(self.above.span), self.own), self.name, Kind::Internal, self.began);
        span.attributes = vec![("millrace.instance", self.instance.as_str().into())];
        queue::record(span);
    }
}
