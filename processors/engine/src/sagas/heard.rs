//! What an instance hears, and where it comes from.

use chrono::{DateTime, Utc};
use millrace_domain::{Heard, Recorded, Saga};
use millrace_schemas::{AvroRecord as _, CommandRejected, Kind, WriterSchema, context_of, short_name};
use millrace_store::names::Namespace;
use uuid::Uuid;

use super::Shared;
use crate::commands::Identity;
use crate::envelope;
use crate::error::{Fault, WorkError};
use crate::record::Record;

/// Something that is shown to an instance.
pub(super) struct Input {
    pub(super) instance: String,
    /// Tells a second copy from the first.
    pub(super) id: String,
    what: What,
    /// This instance's name as a source, where the record came from Kafka.
    own_source: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) traceparent: Option<String>,
}

/// What it is.
pub(super) enum What {
    Event(Box<Recorded>),
    Rejection(CommandRejected),
    Timer(String, DateTime<Utc>),
    ByHand(String),
}

impl Input {
    /// An event or a rejection with its id; `None` when it is not the saga's business.
    pub(super) fn to<S: Saga>(id: String, what: What) -> Option<Self> {
        let instance = match &what {
            What::Event(event) => S::instance(&Heard::Event(event)),
            What::Rejection(rejection) => S::instance(&Heard::Rejection(rejection)),
            What::Timer(..) | What::ByHand(_) => None,
        };
        let instance = instance?;
        Some(Self { instance, id, what, own_source: None, correlation_id: None, traceparent: None })
    }

    /// A timer that is due, and the time by the database's clock; each setting of it has an id of its own.
    pub(super) fn timer(instance: &str, name: &str, id: Uuid, now: DateTime<Utc>) -> Self {
        Self::without_record(instance, id, What::Timer(name.to_owned(), now))
    }

    /// An operator's wish.
    pub(super) fn by_hand(instance: &str, why: &str) -> Self {
        Self::without_record(instance, Uuid::now_v7(), What::ByHand(why.to_owned()))
    }

    fn without_record(instance: &str, id: Uuid, what: What) -> Self {
        let (instance, id) = (instance.to_owned(), id.to_string());
        Self { instance, id, what, own_source: None, correlation_id: None, traceparent: None }
    }

    /// As the saga is shown it.
    pub(super) fn heard(&self) -> Heard<'_> {
        match &self.what {
            What::Event(event) => Heard::Event(event),
            What::Rejection(rejection) => Heard::Rejection(rejection),
            What::Timer(name, now) => Heard::Timer(name, *now),
            What::ByHand(why) => Heard::Cancel(why),
        }
    }

    /// The command that led to it.
    pub(super) fn command(&self) -> Option<Uuid> {
        match &self.what {
            What::Event(event) => event.causation_id.as_deref().and_then(|id| Uuid::parse_str(id).ok()),
            What::Rejection(rejection) => Uuid::parse_str(&rejection.command_id).ok(),
            What::Timer(..) | What::ByHand(_) => None,
        }
    }

    /// Whether the command that led to it is ours. A stranger's may have the same id, since ours can be foreseen; of an
    /// event the id tells whose command it was, of a rejection that was looked at before.
    pub(super) fn is_by_our_command(&self, id: Uuid) -> bool {
        match (&self.what, &self.own_source) {
            (What::Event(event), Some(source)) => {
                let command = Identity { source: source.clone(), id: id.to_string() };
                command.has_led_to(&event.id)
            }
            _ => true,
        }
    }

    /// A rejection is shown only to the instance that has sent the command.
    pub(super) fn must_be_an_answer(&self) -> bool {
        matches!(self.what, What::Rejection(_))
    }

    /// What it is, for people: `OrderPlaced`, `ReserveStock rejected: stock-insufficient`, `timer deadline`.
    pub(super) fn told(&self) -> String {
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

/// What a record says, and to which instance, whose turn it keeps; `None` when it is not the saga's business.
pub(super) async fn decode<S: Saga>(
    shared: &Shared,
    record: &Record,
) -> Result<Result<Option<Input>, Fault>, WorkError> {
    let opened = shared.registry.open(record.value.as_deref()).await?;
    let what = opened.and_then(|(writer, body)| said(&shared.namespace, record, &writer, body));
    let input = what.and_then(|what| addressed::<S>(shared, record, what));
    if let Ok(Some(input)) = &input {
        record.keep_turn_of(input.instance.as_bytes().to_vec());
    }
    Ok(input)
}

/// An event or a rejection, of the context whose events or rejections the topic carries.
fn said(namespace: &Namespace, record: &Record, writer: &WriterSchema, body: &[u8]) -> Result<What, Fault> {
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

fn addressed<S: Saga>(shared: &Shared, record: &Record, what: What) -> Result<Option<Input>, Fault> {
    let header = |name: &str| record.header(name).map(str::to_owned);
    let missing =
        || Fault::hopeless("header-missing", format!("the record has no header `{}`", envelope::ID));
    let id = header(envelope::ID).ok_or_else(missing)?;
    let foreign =
        matches!(&what, What::Rejection(rejection) if rejection.command_source != shared.namespace.source());
    let input = if foreign { None } else { Input::to::<S>(id, what) };
    let (correlation_id, traceparent) = (header(envelope::CORRELATION_ID), header(envelope::TRACEPARENT));
    let own_source = Some(shared.namespace.source());
    Ok(input.map(|input| Input { correlation_id, traceparent, own_source, ..input }))
}
