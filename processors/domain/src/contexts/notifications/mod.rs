//! Notifications: e-mails to customers, and customers' preferences.

mod preferences;
mod queue;
mod refusals;
#[cfg(test)]
mod tests;

use millrace_schemas::Message;
use millrace_schemas::notifications::{
    Command, Event, MarkNotificationFailed, MarkNotificationSent, NotificationFailed, NotificationSent,
};
use serde::{Deserialize, Serialize};

use crate::rules::{self, Text};
use crate::{Context, Emitted, Reference, References, Refusal, Rejection, Streams, emit};

const REASON: Text = Text::new("reason", rules::refusals::REASON_INVALID, 1, 500);

/// The context of notifications; a stream is one notification, or the preferences of a customer and has their id.
#[derive(Debug)]
pub struct Notifications;

/// The kinds of streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// One notification.
    Notification(Notification),
    /// A customer's preference.
    Preferences(Preferences),
}

/// A notification. Its text is in its event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The customer.
    pub customer_id: String,
    /// Its status.
    pub status: Status,
}

/// The status of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is to be sent.
    Queued,
    /// It is not going to be sent.
    Suppressed,
    /// It was sent.
    Sent,
    /// It could not be sent.
    Failed,
}

/// A customer's preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// Whether they want no notifications.
    pub stopped: bool,
}

type Decision = Result<Vec<Emitted<Event>>, Rejection>;

impl Context for Notifications {
    const NAME: &'static str = "notifications";
    const STATE_VERSION: i32 = 1;
    const REFUSALS: &[Refusal] = refusals::ALL;
    type State = Stream;
    type Command = Command;
    type Event = Event;
    // No other context refers to a notification.
    type Public = ();

    fn streams(command: &Command) -> Vec<String> {
        match command {
            Command::QueueNotification(command) => {
                rules::streams([command.notification_id.as_str(), command.customer_id.as_str()])
            }
            Command::AllowNotifications(_)
            | Command::MarkNotificationFailed(_)
            | Command::MarkNotificationSent(_)
            | Command::StopNotifications(_) => rules::streams([command.key()]),
        }
    }

    fn references(command: &Command) -> Vec<Reference> {
        match command {
            Command::QueueNotification(command) => queue::references(command),
            Command::StopNotifications(command) => preferences::references(command),
            Command::AllowNotifications(_)
            | Command::MarkNotificationFailed(_)
            | Command::MarkNotificationSent(_) => Vec::new(),
        }
    }

    fn decide(streams: &Streams<Stream>, references: &References, command: &Command) -> Decision {
        let stream = streams.get(command.key());
        match command {
            Command::QueueNotification(command) => queue::queue(streams, references, command),
            Command::MarkNotificationSent(command) => sent(stream, command),
            Command::MarkNotificationFailed(command) => failed(stream, command),
            Command::StopNotifications(command) => preferences::stop(stream, command),
            Command::AllowNotifications(command) => preferences::allow(stream, command),
        }
    }

    fn evolve(state: Option<Stream>, event: &Event) -> Option<Stream> {
        match event {
            Event::NotificationQueued(event) => Stream::new(state, &event.customer_id, Status::Queued),
            Event::NotificationSuppressed(event) => {
                Stream::new(state, &event.customer_id, Status::Suppressed)
            }
            Event::NotificationSent(_) => state.map(|stream| stream.ended(Status::Sent)),
            Event::NotificationFailed(_) => state.map(|stream| stream.ended(Status::Failed)),
            Event::NotificationsStopped(_) => Stream::preferring(state, true),
            Event::NotificationsAllowed(_) => Stream::preferring(state, false),
        }
    }

    fn public(_state: &Stream) {}
}

impl Stream {
    fn new(known: Option<Self>, customer_id: &str, status: Status) -> Option<Self> {
        let customer_id = customer_id.to_owned();
        known.or(Some(Self::Notification(Notification { customer_id, status })))
    }

    fn ended(self, status: Status) -> Self {
        match self {
            Self::Notification(notification) if notification.status == Status::Queued => {
                Self::Notification(Notification { status, ..notification })
            }
            other => other,
        }
    }

    fn preferring(known: Option<Self>, stopped: bool) -> Option<Self> {
        match known {
            Some(notification @ Self::Notification(_)) => Some(notification),
            Some(Self::Preferences(_)) | None => Some(Self::Preferences(Preferences { stopped })),
        }
    }
}

fn sent(stream: Option<&Stream>, command: &MarkNotificationSent) -> Decision {
    let MarkNotificationSent { notification_id } = command.clone();
    let customer_id = queued(stream, &notification_id)?.customer_id.clone();
    Ok(vec![emit(NotificationSent { notification_id, customer_id })])
}

fn failed(stream: Option<&Stream>, command: &MarkNotificationFailed) -> Decision {
    let MarkNotificationFailed { notification_id, reason } = command.clone();
    let customer_id = queued(stream, &notification_id)?.customer_id.clone();
    REASON.check(&reason)?;
    Ok(vec![emit(NotificationFailed { notification_id, customer_id, reason })])
}

/// A notification that was neither sent nor given up.
fn queued<'a>(stream: Option<&'a Stream>, notification_id: &str) -> Result<&'a Notification, Rejection> {
    let id = rules::quoted(notification_id);
    match stream {
        None | Some(Stream::Preferences(_)) => Err(refusals::NOTIFICATION_UNKNOWN.because(format!(
            "notification_id {id} was never queued: send QueueNotification, or correct the id"
        ))),
        Some(Stream::Notification(known)) if known.status == Status::Queued => Ok(known),
        Some(Stream::Notification(_)) => Err(refusals::NOTIFICATION_NOT_QUEUED.because(format!(
            "notification_id {id} was sent, failed or suppressed already: queue another one"
        ))),
    }
}

/// Notifications and customers share the ids of this context's streams.
fn taken(field: &str, id: &str) -> Rejection {
    let id = rules::quoted(id);
    let message = format!("{field} {id} is the id of both a notification and a customer: take another one");
    refusals::ID_TAKEN.because(message)
}
