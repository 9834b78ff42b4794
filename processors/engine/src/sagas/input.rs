//! The inputs of an instance, from records, timers and operators.

use chrono::{DateTime, Utc};
use millrace_domain::{Input, Recorded, Saga};
use millrace_schemas::{AvroRecord as _, CommandRejected, Kind, WriterSchema, context_of, short_name};
use millrace_store::names::Namespace;
use uuid::Uuid;

use super::Shared;
use crate::commands::Identity;
use crate::envelope;
use crate::error::{Fault, WorkError};
use crate::record::Record;

/// An input that an instance has received.
pub(super) struct Received {
    pub(super) instance: String,
    /// The id by which a second copy is recognised.
    pub(super) id: String,
    what: What,
    /// This Millrace instance's name as a source, if the input is a record.
    own_source: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) traceparent: Option<String>,
}

/// The kinds of inputs.
pub(super) enum What {
    Event(Box<Recorded>),
    Rejection(CommandRejected),
    Timer(String, DateTime<Utc>),
    ByHand(String),
}

impl Received {
    /// An event or a rejection with its id; `None` when the saga does not react to it.
    pub(super) fn to<S: Saga>(id: String, what: What) -> Option<Self> {
        let instance = match &what {
            What::Event(event) => S::instance(&Input::Event(event)),
            What::Rejection(rejection) => S::instance(&Input::Rejection(rejection)),
            What::Timer(..) | What::ByHand(_) => None,
        };
        let instance = instance?;
        Some(Self { instance, id, what, own_source: None, correlation_id: None, traceparent: None })
    }

    /// A due timer, with the time by the database's clock; each time it is set it has another id.
    pub(super) fn timer(instance: &str, name: &str, id: Uuid, now: DateTime<Utc>) -> Self {
        Self::without_record(instance, id, What::Timer(name.to_owned(), now))
    }

    /// An operator cancels the instance.
    pub(super) fn by_hand(instance: &str, why: &str) -> Self {
        Self::without_record(instance, Uuid::now_v7(), What::ByHand(why.to_owned()))
    }

    fn without_record(instance: &str, id: Uuid, what: What) -> Self {
        let (instance, id) = (instance.to_owned(), id.to_string());
        Self { instance, id, what, own_source: None, correlation_id: None, traceparent: None }
    }

    /// The input for the saga.
    pub(super) fn input(&self) -> Input<'_> {
        match &self.what {
            What::Event(event) => Input::Event(event),
            What::Rejection(rejection) => Input::Rejection(rejection),
            What::Timer(name, now) => Input::Timer(name, *now),
            What::ByHand(why) => Input::Cancel(why),
        }
    }

    /// The command that caused it.
    pub(super) fn command(&self) -> Option<Uuid> {
        match &self.what {
            What::Event(event) => event.causation_id.as_deref().and_then(|id| Uuid::parse_str(id).ok()),
            What::Rejection(rejection) => Uuid::parse_str(&rejection.command_id).ok(),
            What::Timer(..) | What::ByHand(_) => None,
        }
    }

    /// Whether it was caused by the command of this id that the instance has sent. Another producer may use the same id, since ids
    /// are predictable. The id of an event shows which command caused it; rejections are checked earlier.
    pub(super) fn is_by_our_command(&self, id: Uuid) -> bool {
        match (&self.what, &self.own_source) {
            (What::Event(event), Some(source)) => {
                let command = Identity { source: source.clone(), id: id.to_string() };
                command.has_led_to(&event.id)
            }
            _ => true,
        }
    }

    /// Whether it must be the answer to a command of the instance: a rejection is given only to the instance that sent the command.
    pub(super) fn must_be_an_answer(&self) -> bool {
        matches!(self.what, What::Rejection(_))
    }

    /// A text for people: `OrderPlaced`, `ReserveStock rejected: stock-insufficient`, `timer deadline`.
    pub(super) fn text(&self) -> String {
        match &self.what {
            What::Event(event) => short_name(event.event.full_name()).to_owned(),
            What::Rejection(CommandRejected { command_type, code, .. }) => {
                format!("{} rejected: {code}", short_name(command_type))
            }
            What::Timer(name, _) => format!("timer {name}"),
            What::ByHand(why) => format!("cancelled by an operator: {why}"),
        }
    }
}

/// Decodes a record to an input of the instance that is its ordering key; `None` when the saga does not react to it.
pub(super) async fn decode<S: Saga>(
    shared: &Shared,
    record: &Record,
) -> Result<Result<Option<Received>, Fault>, WorkError> {
    let opened = shared.registry.open(record.value.as_deref()).await?;
    let what = opened.and_then(|(writer, body)| content(&shared.namespace, record, &writer, body));
    let input = what.and_then(|what| addressed::<S>(shared, record, what));
    if let Ok(Some(input)) = &input {
        record.set_ordering_key(input.instance.as_bytes().to_vec());
    }
    Ok(input)
}

/// An event or a rejection, of the context whose events or rejections the topic carries.
fn content(
    namespace: &Namespace,
    record: &Record,
    writer: &WriterSchema,
    body: &[u8],
) -> Result<What, Fault> {
    if writer.full_name() != CommandRejected::FULL_NAME {
        return Ok(What::Event(Box::new(envelope::event(namespace, record, writer, body)?)));
    }
    let rejection: CommandRejected = writer.decode(body)?;
    let rejected = (Kind::Rejection, context_of(&rejection.command_type));
    match namespace.carried_by(&record.topic) {
        Some(carried) if carried == rejected => Ok(What::Rejection(rejection)),
        _ => {
            let what = format!("a rejection of {}", rejection.command_type);
            Err(Fault::unknown_type(&what, &record.topic))
        }
    }
}

fn addressed<S: Saga>(shared: &Shared, record: &Record, what: What) -> Result<Option<Received>, Fault> {
    let header = |name: &str| record.header(name).map(str::to_owned);
    let missing =
        || Fault::hopeless("header-missing", format!("the record has no header `{}`", envelope::ID));
    let id = header(envelope::ID).ok_or_else(missing)?;
    let foreign =
        matches!(&what, What::Rejection(rejection) if rejection.command_source != shared.namespace.source());
    let input = if foreign { None } else { Received::to::<S>(id, what) };
    let (correlation_id, own_source) = (header(envelope::CORRELATION_ID), Some(shared.namespace.source()));
    Ok(input.map(|input| Received { correlation_id, own_source, ..input }))
}
