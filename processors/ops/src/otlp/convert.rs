//! Spans as the exporter takes them.

use std::borrow::Cow;

use millrace_engine::spans::{Context, Kind, Moment, Span, Value};
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

/// The span for the exporter.
pub(super) fn converted(span: Span) -> SpanData {
    let attributes = span.attributes.into_iter().map(|(name, value)| match value {
        Value::Text(text) => KeyValue::new(name, text),
        Value::Number(number) => KeyValue::new(name, number),
    });
    SpanData {
        span_context: context(&span.context, false),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.parent.is_some(),
        span_kind: kind(span.kind),
        name: Cow::Owned(span.name),
        start_time: span.began,
        end_time: span.ended,
        attributes: attributes.collect(),
        dropped_attributes_count: 0,
        events: events(span.moments),
        links: links(&span.links, span.more_links),
        status: span.failed.map_or(Status::Unset, Status::error),
        instrumentation_scope: InstrumentationScope::builder("millrace").build(),
    }
}

fn context(context: &Context, remote: bool) -> SpanContext {
    let (trace, span) = (TraceId::from_bytes(context.trace), SpanId::from_bytes(context.span));
    SpanContext::new(trace, span, TraceFlags::new(context.flags), remote, TraceState::NONE)
}

fn kind(kind: Kind) -> SpanKind {
    match kind {
        Kind::Consumer => SpanKind::Consumer,
        Kind::Client => SpanKind::Client,
        Kind::Server => SpanKind::Server,
        Kind::Internal => SpanKind::Internal,
    }
}

fn events(moments: Vec<Moment>) -> SpanEvents {
    let mut events = SpanEvents::default();
    events.events =
        moments.into_iter().map(|Moment { name, at }| Event::new(name, at, Vec::new(), 0)).collect();
    events
}

fn links(linked: &[Context], more: u32) -> SpanLinks {
    let mut links = SpanLinks::default();
    links.links = linked.iter().map(|linked| Link::new(context(linked, true), Vec::new(), 0)).collect();
    links.dropped_count = more;
    links
}
