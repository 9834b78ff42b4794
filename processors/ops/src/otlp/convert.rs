//! Spans as OTLP has them.

use std::time::{SystemTime, UNIX_EPOCH};

use millrace_engine::spans::{Context, Kind, Moment, Span, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self, ResourceSpans, ScopeSpans, Status};

/// The bit that says that the next one is known, and the one that says that the other span is of another process.
const IS_REMOTE_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// A request with spans of a resource.
pub(super) fn request(resource: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope { name: "millrace".to_owned(), ..InstrumentationScope::default() };
    let spans = spans.into_iter().map(converted).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
    let resource = Some(resource.clone());
    let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
    ExportTraceServiceRequest { resource_spans }
}

/// An attribute.
pub(super) fn attribute(name: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Number(number) => any_value::Value::IntValue(number),
    };
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn converted(span: Span) -> v1::Span {
    let remote = if span.parent.is_some() { IS_REMOTE } else { 0 };
    v1::Span {
        trace_id: span.context.trace.to_vec(),
        span_id: span.context.span.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        flags: u32::from(span.context.flags) | IS_REMOTE_KNOWN | remote,
        name: span.name,
        kind: kind(span.kind) as i32,
        start_time_unix_nano: nanoseconds(span.began),
        end_time_unix_nano: nanoseconds(span.ended),
        attributes: span.attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
        events: span.moments.iter().map(event).collect(),
        links: span.links.iter().map(link).collect(),
        dropped_links_count: span.more_links,
        status: span.failed.map(|message| Status { message, code: StatusCode::Error as i32 }),
        ..v1::Span::default()
    }
}

fn kind(kind: Kind) -> SpanKind {
    match kind {
        Kind::Consumer => SpanKind::Consumer,
        Kind::Client => SpanKind::Client,
        Kind::Server => SpanKind::Server,
        Kind::Internal => SpanKind::Internal,
    }
}

fn event(Moment { name, at }: &Moment) -> Event {
    Event { time_unix_nano: nanoseconds(*at), name: (*name).to_owned(), ..Event::default() }
}

fn link(Context { trace, span, flags }: &Context) -> Link {
    let flags = u32::from(*flags) | IS_REMOTE_KNOWN | IS_REMOTE;
    Link { trace_id: trace.to_vec(), span_id: span.to_vec(), flags, ..Link::default() }
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    u64::try_from(since).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CONTEXT: Context = Context { trace: [1; 16], span: [2; 8], flags: 3 };

    #[test]
    fn a_span_has_its_place_its_times_and_why_it_failed() {
        let began = UNIX_EPOCH + Duration::from_nanos(5);
        let name = "orders OrderPlaced".to_owned();
        let mut span = Span::ending_now((Some([9; 8]), CONTEXT), name, Kind::Consumer, began);
        span.attributes = vec![("text", "a".into()), ("number", 7.into())];
        span.moments = vec![Moment { name: "written to Kafka", at: began }];
        (span.links, span.more_links, span.failed) = (vec![CONTEXT], 4, Some("no".to_owned()));
        let it = converted(span);
        assert_eq!((it.trace_id, it.span_id, it.parent_span_id), (vec![1; 16], vec![2; 8], vec![9; 8]));
        assert_eq!((it.flags, it.kind, it.start_time_unix_nano), (0x303, 5, 5));
        assert!(it.end_time_unix_nano > 5);
        let number = any_value::Value::IntValue(7);
        assert_eq!(it.attributes[1].value.as_ref().unwrap().value, Some(number));
        assert_eq!((it.events[0].time_unix_nano, it.links[0].flags, it.dropped_links_count), (5, 0x303, 4));
        let status = it.status.unwrap();
        assert_eq!((status.code, &*status.message), (2, "no"));
    }

    #[test]
    fn a_span_that_is_the_first_of_its_trace_has_no_parent_and_no_status() {
        let it = converted(Span::ending_now((None, CONTEXT), "batch".to_owned(), Kind::Internal, UNIX_EPOCH));
        assert_eq!((it.parent_span_id.len(), it.flags, it.status), (0, 0x103, None));
    }
}
