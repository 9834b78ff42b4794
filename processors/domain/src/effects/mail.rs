//! Notifications as e-mails.

use millrace_schemas::notifications::{Event, MarkNotificationFailed, MarkNotificationSent};
use millrace_schemas::{Command, Event as AnyEvent};
use serde::{Deserialize, Serialize};

use super::words;
use crate::contexts::notifications::Notifications;
use crate::{Context, Effect, GaveUp, Recorded};

const REASON_MAX: usize = 500;

/// The effect that sends mails. A mail server supports neither idempotency keys nor queries, so a mail is sent at most once.
#[derive(Debug)]
pub struct Mail;

/// A mail to one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The notification that it carries.
    pub notification_id: String,
    /// The recipient's name.
    pub recipient: String,
    /// The recipient's e-mail address.
    pub address: String,
    /// The subject.
    pub subject: String,
    /// The text.
    pub body: String,
}

/// The mail server has accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken;

impl Effect for Mail {
    const NAME: &'static str = "mail";
    const CONTEXTS: &'static [&'static str] = &[Notifications::NAME];
    type Request = Message;
    type Answer = Taken;

    fn request(event: &Recorded) -> Option<Message> {
        let AnyEvent::Notifications(event) = &event.event else { return None };
        match event.clone() {
            Event::NotificationQueued(event) => Some(Message {
                notification_id: event.notification_id,
                recipient: event.recipient,
                address: event.address,
                subject: event.subject,
                body: event.body,
            }),
            Event::NotificationFailed(_)
            | Event::NotificationSent(_)
            | Event::NotificationSuppressed(_)
            | Event::NotificationsAllowed(_)
            | Event::NotificationsStopped(_) => None,
        }
    }

    fn answered(request: &Message, _: &Taken) -> Option<Command> {
        let notification_id = request.notification_id.clone();
        Some(Command::Notifications(MarkNotificationSent { notification_id }.into()))
    }

    /// Whether or not it was delivered, it is not sent again; the reason says what is known.
    fn gave_up(request: &Message, why: &GaveUp) -> Option<Command> {
        let (notification_id, reason) = (request.notification_id.clone(), words(&why.reason, REASON_MAX));
        Some(Command::Notifications(MarkNotificationFailed { notification_id, reason }.into()))
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::notifications::{NotificationQueued, NotificationSent};

    use super::*;
    use crate::testing::recorded;

    fn message() -> Message {
        let queued = NotificationQueued {
            notification_id: "n1".to_owned(),
            customer_id: "c1".to_owned(),
            recipient: "Ana".to_owned(),
            address: "ana@example.com".to_owned(),
            subject: "Hello".to_owned(),
            body: "one\ntwo".to_owned(),
        };
        Mail::request(&recorded(&AnyEvent::Notifications(queued.into()), 1)).unwrap()
    }

    #[test]
    fn a_queued_notification_is_mailed_and_nothing_else_is() {
        let Message { notification_id, recipient, address, subject, body } = message();
        let sent = [notification_id, recipient, address, subject, body];
        assert_eq!(sent, ["n1", "Ana", "ana@example.com", "Hello", "one\ntwo"]);
        let (notification_id, customer_id) = ("n1".to_owned(), "c1".to_owned());
        let sent = AnyEvent::Notifications(NotificationSent { notification_id, customer_id }.into());
        assert_eq!(Mail::request(&recorded(&sent, 1)), None);
    }

    #[test]
    fn a_mail_was_sent_or_the_command_says_why_not() {
        let notification_id = "n1".to_owned();
        let sent =
            Command::Notifications(MarkNotificationSent { notification_id: notification_id.clone() }.into());
        assert_eq!(Mail::answered(&message(), &Taken), Some(sent));
        for unknown in [true, false] {
            let why = GaveUp { reason: "no such\nmailbox".to_owned(), unknown };
            let (notification_id, reason) = (notification_id.clone(), "no such mailbox".to_owned());
            let failed = Command::Notifications(MarkNotificationFailed { notification_id, reason }.into());
            assert_eq!(Mail::gave_up(&message(), &why), Some(failed));
        }
    }

    #[test]
    fn messages_and_answers_survive_storage() {
        let stored = serde_json::to_string(&message()).unwrap();
        assert_eq!(serde_json::from_str::<Message>(&stored).unwrap(), message());
        let stored = serde_json::to_string(&Taken).unwrap();
        assert_eq!(serde_json::from_str::<Taken>(&stored).unwrap(), Taken);
    }
}
