//! The decision to queue a notification, or to suppress it.

use millrace_schemas::notifications::{NotificationQueued, NotificationSuppressed, QueueNotification};

use super::{Decision, Stream, refusals, taken};
use crate::contexts::customers::{self, CustomerPublic, Customers};
use crate::rules::{self, Checked, Text};
use crate::{Reference, References, Streams, emit};

const SUBJECT: Text = Text::new("subject", rules::refusals::SUBJECT_INVALID, 1, 200);
const BODY: Text = Text::new("body", refusals::BODY_INVALID, 1, 10_000).of_lines();

/// The customer. A malformed notification refers to nothing, since it is rejected anyway.
pub(super) fn references(command: &QueueNotification) -> Vec<Reference> {
    check(command).map_or_else(|_| Vec::new(), |()| vec![Reference::to::<Customers>(&command.customer_id)])
}

/// Queues a notification for a customer who wants it and can get it.
pub(super) fn queue(
    streams: &Streams<Stream>,
    references: &References,
    command: &QueueNotification,
) -> Decision {
    check(command)?;
    check_free(streams.get(&command.notification_id), &command.notification_id)?;
    let wants_none = match streams.get(&command.customer_id) {
        Some(Stream::Notification(_)) => return Err(taken("customer_id", &command.customer_id)),
        Some(Stream::Preferences(preferences)) => preferences.stopped,
        None => false,
    };
    let missing = customers::refusals::CUSTOMER_MISSING;
    let customer = references.required::<Customers>(missing, "customer_id", &command.customer_id)?;
    match customer.email.clone() {
        _ if wants_none => suppress(command, "the customer wants no notifications"),
        None => suppress(command, "the customer has no e-mail address"),
        Some(address) => send(command, customer, address),
    }
}

fn send(command: &QueueNotification, customer: CustomerPublic, address: String) -> Decision {
    let QueueNotification { notification_id, customer_id, subject, body } = command.clone();
    let recipient = customer.name;
    Ok(vec![emit(NotificationQueued { notification_id, customer_id, recipient, address, subject, body })])
}

fn suppress(command: &QueueNotification, reason: &str) -> Decision {
    let QueueNotification { notification_id, customer_id, .. } = command.clone();
    Ok(vec![emit(NotificationSuppressed { notification_id, customer_id, reason: reason.to_owned() })])
}

fn check(command: &QueueNotification) -> Checked {
    rules::id("notification_id", &command.notification_id)?;
    rules::id("customer_id", &command.customer_id)?;
    if command.notification_id == command.customer_id {
        return Err(taken("notification_id", &command.notification_id));
    }
    SUBJECT.check(&command.subject)?;
    BODY.check(&command.body)
}

fn check_free(stream: Option<&Stream>, notification_id: &str) -> Checked {
    match stream {
        None => Ok(()),
        Some(Stream::Preferences(_)) => Err(taken("notification_id", notification_id)),
        Some(Stream::Notification(_)) => {
            let id = rules::quoted(notification_id);
            let message =
                format!("notification_id {id} was already queued: take another id for another notification");
            Err(refusals::NOTIFICATION_EXISTS.because(message))
        }
    }
}
