//! What is recorded, and below which span.

use std::sync::{LazyLock, Mutex, PoisonError};

use millrace_store::{Group, Place};
use uuid::Uuid;

use super::unacknowledged::{Document, wait};
use super::*;
use crate::offsets::Claim;
use crate::outbox::Cause;

/// The spans of this process, which has one queue for all tests.
static RECORDED: LazyLock<Mutex<(Spans, Vec<Span>)>> =
    LazyLock::new(|| Mutex::new((take(1_000).unwrap(), Vec::new())));

/// A trace of its own for each test, begun here so that spans are recorded.
fn sampled(trace: u8) -> Context {
    LazyLock::force(&RECORDED);
    Context { trace: [trace; 16], span: [1; 8], flags: 1 }
}

fn recorded(of: &Context) -> Vec<Span> {
    let mut recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner);
    let (spans, all) = &mut *recorded;
    spans.waiting(all, usize::MAX);
    all.iter().filter(|span| span.context.trace == of.trace).cloned().collect()
}

fn cause(of: &Context) -> Cause {
    let traceparent = Some(of.header());
    Cause { id: "e1".to_owned(), correlation_id: None, traceparent, occurred_at: None }
}

/// Name, whether it is directly below, and why it failed.
fn told(of: &Context, span: &Span) -> (String, bool, Option<String>) {
    (span.name.clone(), span.parent == Some(of.span), span.failed.clone())
}

#[test]
fn a_call_is_below_the_effect_and_what_answers_it_below_the_call() {
    let (above, mut cause) = (sampled(11), cause(&sampled(11)));
    let call = Call::begin("payment", Uuid::nil(), 2, &mut cause).unwrap();
    call.end("later", Some("no answer"));
    let spans = recorded(&above);
    assert_eq!(spans.len(), 1);
    assert_eq!(told(&above, &spans[0]), ("call payment".to_owned(), true, Some("no answer".to_owned())));
    assert_eq!(cause.traceparent, Some(spans[0].context.header()));
    assert!(spans[0].attributes.contains(&("millrace.attempt", 2.into())));
}

#[test]
fn a_call_for_what_is_not_sampled_has_no_span_and_leaves_the_trace_as_it_was() {
    let above = Context { flags: 0, ..sampled(12) };
    let mut cause = cause(&above);
    assert!(Call::begin("payment", Uuid::nil(), 1, &mut cause).is_none());
    assert!(Call::reported("payment", Uuid::nil(), 1, &mut cause).is_none());
    assert_eq!(cause.traceparent, Some(above.header()));
}

#[test]
fn the_webhook_that_is_taken_has_the_span_of_its_command_and_every_other_one_of_its_own() {
    let above = sampled(13);
    let told_of = |outcome, wrong| {
        let mut cause = cause(&above);
        Call::reported("payment", Uuid::nil(), 1, &mut cause).unwrap().end(outcome, wrong);
        cause.traceparent.unwrap()
    };
    let header = told_of("taken", None);
    assert_eq!([told_of("known", None), told_of("other", Some("another amount"))], [&*header, &*header]);
    let spans = recorded(&above);
    let headers: Vec<bool> = spans.iter().map(|span| span.context.header() == header).collect();
    assert_eq!(headers, [true, false, false]);
    assert_ne!(spans[1].context, spans[2].context);
    assert!(spans.iter().all(|span| span.name == "webhook payment" && span.parent == Some(above.span)));
    assert_eq!(spans[2].failed.as_deref(), Some("another amount"));
}

#[test]
fn a_timer_has_a_span_each_time_it_is_set_and_the_same_at_every_attempt() {
    let above = sampled(14);
    let begin = |id| Timer::begin("orders", "o1", ("late", id), Some(&above.header())).unwrap();
    assert_eq!(begin("1").header(), begin("1").header());
    assert_ne!(begin("1").header(), begin("2").header());
    begin("1").end();
    assert_eq!(told(&above, &recorded(&above)[0]), ("orders timer late".to_owned(), true, None));
    assert!(Timer::begin("orders", "o1", ("late", "1"), None).is_none());
}

#[test]
fn a_request_goes_on_with_the_trace_of_its_caller_or_begins_one_and_fails_when_we_do() {
    let above = sampled(15);
    Request::begin(Some(&above.header())).unwrap().end("POST x".to_owned(), "shop", 503);
    let spans = recorded(&above);
    assert_eq!(told(&above, &spans[0]), ("POST x".to_owned(), true, Some("status 503".to_owned())));
    assert!(Request::begin(Some(&Context { flags: 0, ..above }.header())).is_none());
    let begun = Request::begin(Some("no trace")).unwrap();
    let own = Context::sampled(&begun.header()).unwrap();
    begun.end("POST y".to_owned(), "shop", 409);
    assert_eq!(
        recorded(&own).iter().map(|span| (span.parent, span.failed.clone())).next(),
        Some((None, None))
    );
}

#[test]
fn a_document_has_a_span_once_it_is_acknowledged_and_none_when_its_partition_is_given_back() {
    let above = sampled(16);
    let group = Group { id: "m.orders".to_owned(), generation: 1 };
    let document = |partition, offset| {
        let place = Place { topic: "orders".to_owned(), partition, offset };
        Document::new(&group, "m-orders-g1", place, above)
    };
    wait(vec![document(0, 1), document(0, 2), document(1, 1)], std::time::SystemTime::now());
    let claim = |partition| Claim {
        group: group.clone(),
        topic: "orders".to_owned(),
        partition,
        epoch: 1,
        applied: 3,
        published: 0,
        topic_id: None,
        answered_below: 0,
        held: false,
    };
    acknowledged(&claim(0), 2);
    given_back(&claim(1));
    acknowledged(&claim(1), 2);
    assert_eq!(recorded(&above).len(), 1, "offset 2 is not acknowledged, and partition 1 is another's");
    acknowledged(&claim(0), 3);
    let names: Vec<String> = recorded(&above).into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["index m-orders-g1", "index m-orders-g1"]);
}
