//! The spans of a batch: one for each sampled record, and one for the batch, which is linked with them.

use std::time::{Duration, SystemTime};

use millrace_schemas::short_name;
use millrace_store::{Group, Place};

use super::span::cut;
use super::{Context, Kind, Moment, Span, Value, queue, unacknowledged};
use crate::envelope;
use crate::error::WorkError;
use crate::outcome::Outcome;
use crate::record::Record;
use crate::role::{Folded, Role};

/// Links of a batch, at most: more are only counted, as collectors do.
const LINKS_MAX: usize = 128;

/// The header `traceparent` of what follows from a record: the context of the record's span in this group when it is recorded, else
/// that of the record itself. `None` when it has none that is valid.
pub(crate) fn continued(group: &Group, record: &Record) -> Option<String> {
    let given = record.header(envelope::TRACEPARENT)?;
    match queue::sampled(given) {
        Some(above) => Some(own(group, record, &above).header()),
        None => envelope::trace(given),
    }
}

/// The context of a record's span.
fn own(group: &Group, record: &Record, above: &Context) -> Context {
    let place = format!("{}-{}", record.partition, record.offset);
    above.below(&[&group.own_name(), &record.topic, &place])
}

/// Attributes of a record's span, at most.
const ATTRIBUTES_MAX: usize = 13;

/// Folds a batch with the spans of its sampled records, which are recorded once it is committed. Documents of drained records are
/// acknowledged with the batch that drains them, `with`.
///
/// # Errors
/// Those of `folding`.
pub(crate) async fn traced(
    role: &dyn Role,
    records: &[&Record],
    with: Option<&Place>,
    folding: impl Future<Output = Result<Folded, WorkError>>,
) -> Result<Folded, WorkError> {
    let batch = Batch::of(records);
    let folded = folding.await?;
    Ok(match batch {
        Some(batch) => batch.folded(role, records, with, folded),
        None => folded,
    })
}

/// A batch that is about to be folded.
struct Batch {
    began: SystemTime,
    /// Its sampled records: place in the batch and context.
    sampled: Vec<(usize, Context)>,
}

impl Batch {
    /// `None` when no record is sampled.
    fn of(records: &[&Record]) -> Option<Self> {
        if !queue::is_on() {
            return None;
        }
        let context = |record: &&Record| queue::sampled(record.header(envelope::TRACEPARENT)?);
        let sampled = records.iter().enumerate().filter_map(|(at, record)| Some((at, context(record)?)));
        let sampled: Vec<(usize, Context)> = sampled.collect();
        (!sampled.is_empty()).then(|| Self { began: SystemTime::now(), sampled })
    }

    /// As [`traced`].
    fn folded(self, role: &dyn Role, records: &[&Record], with: Option<&Place>, folded: Folded) -> Folded {
        let group = role.group();
        let mut made =
            Made { whole: Context::new_trace(), began: self.began, spans: Vec::new(), documents: Vec::new() };
        for (at, above) in self.sampled {
            let (Some(record), Some(outcome)) = (records.get(at), folded.outcomes.get(at)) else { continue };
            let note = folded.noted.as_ref().map(|noted| noted.get(&at));
            if let (Some(None), Outcome::Applied) = (note, outcome) {
                continue;
            }
            let span = made.span(group, record, &above, outcome, note.flatten().map(String::as_str));
            if let (Some(index), Outcome::Applied) = (role.index(), outcome) {
                let place = with.cloned().unwrap_or_else(|| record.place());
                made.documents.push(unacknowledged::Document::new(group, index, place, span.context));
            }
            made.spans.push(span);
        }
        if made.spans.is_empty() {
            return folded;
        }
        let (name, count) = (format!("batch {}", role_name(group)), records.len());
        let earlier = folded.remember;
        let remember = move || {
            earlier.into_iter().for_each(|earlier| earlier());
            made.record(name, count);
        };
        Folded { remember: Some(Box::new(remember)), ..folded }
    }
}

/// What is recorded when the batch is committed.
struct Made {
    /// The context of the batch's own span.
    whole: Context,
    began: SystemTime,
    spans: Vec<Span>,
    documents: Vec<unacknowledged::Document>,
}

impl Made {
    fn span(
        &self,
        group: &Group,
        record: &Record,
        above: &Context,
        outcome: &Outcome,
        note: Option<&str>,
    ) -> Span {
        // Another attempt at the record, or another copy of it, has a span of its own; only the one that applied it is continued.
        let context = match outcome {
            Outcome::Applied => own(group, record, above),
            _ => above.any_below(),
        };
        let kind = record.header(envelope::TYPE).map_or("record", |name| cut(short_name(name)));
        let name = format!("{} {kind}", role_name(group));
        let mut span = Span::ending_now((Some(above.span), context), name, Kind::Consumer, self.began);
        span.attributes = attributes(group, record, outcome, note);
        span.moments = in_kafka(record).into_iter().collect();
        span.links = vec![self.whole];
        span.failed = outcome.fault().map(|fault| format!("{}: {}", fault.code, fault.message));
        span
    }

    /// Now the batch is committed.
    fn record(self, name: String, records: usize) {
        let ended = SystemTime::now();
        let mut whole = Span::ending_now((None, self.whole), name, Kind::Internal, self.began);
        whole.attributes = vec![("messaging.batch.message_count", number(records))];
        whole.links = self.spans.iter().take(LINKS_MAX).map(|span| span.context).collect();
        whole.more_links = u32::try_from(self.spans.len().saturating_sub(LINKS_MAX)).unwrap_or(u32::MAX);
        unacknowledged::wait(self.documents, ended);
        self.spans.into_iter().for_each(|span| queue::record(Span { ended, ..span }));
        queue::record(whole);
    }
}

fn number(count: usize) -> Value {
    Value::Number(i64::try_from(count).unwrap_or(i64::MAX))
}

/// `orders` of `millrace.orders`.
fn role_name(group: &Group) -> &str {
    group.id.rsplit('.').next().unwrap_or(&group.id)
}

/// When a producer or Debezium wrote the record.
fn in_kafka(record: &Record) -> Option<Moment> {
    let since = record.stamped_at()?.timestamp_millis();
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(since).ok()?);
    Some(Moment { name: "written to Kafka", at })
}

/// By OpenTelemetry's conventions for messaging; what they have no name for begins with `millrace`.
fn attributes(
    group: &Group,
    record: &Record,
    outcome: &Outcome,
    note: Option<&str>,
) -> Vec<(&'static str, Value)> {
    let mut all = Vec::with_capacity(ATTRIBUTES_MAX);
    all.extend([
        ("messaging.system", Value::from("kafka")),
        ("messaging.operation.type", "process".into()),
        ("messaging.consumer.group.name", (&*group.own_name()).into()),
        ("messaging.destination.name", (&*record.topic).into()),
        ("messaging.destination.partition.id", Value::Text(record.partition.to_string())),
        ("messaging.kafka.offset", record.offset.into()),
        ("millrace.outcome", outcome_name(outcome).into()),
    ]);
    let mut add = |name, text: Option<&str>| all.extend(text.map(|text| (name, text.into())));
    add("messaging.message.id", record.header(envelope::ID));
    add("messaging.message.conversation_id", record.header(envelope::CORRELATION_ID));
    add("messaging.kafka.message.key", record.key_text());
    add("millrace.caused_by", record.header(envelope::CAUSATION_ID));
    add("millrace.result", note);
    add("error.type", outcome.fault().map(|fault| fault.code));
    all
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Duplicate => "duplicate",
        Outcome::Waits => "waits",
        Outcome::Failed(_) => "failed",
    }
}
