//! Decisions about whether a customer wants notifications.

use millrace_schemas::notifications::{
    AllowNotifications, NotificationsAllowed, NotificationsStopped, StopNotifications,
};

use super::{Decision, Stream, refusals, taken};
use crate::contexts::customers::Customers;
use crate::{Reference, Rejection, emit, rules};

/// The customer: a misspelt id would leave them with notifications that they do not want.
pub(super) fn references(command: &StopNotifications) -> Vec<Reference> {
    let id = rules::id("customer_id", &command.customer_id);
    id.map_or_else(|_| Vec::new(), |()| vec![Reference::to::<Customers>(&command.customer_id)])
}

/// From now on the customer gets none.
pub(super) fn stop(stream: Option<&Stream>, command: &StopNotifications) -> Decision {
    let StopNotifications { customer_id } = command.clone();
    rules::id("customer_id", &customer_id)?;
    if stopped(stream, &customer_id)? {
        let id = rules::quoted(&customer_id);
        let message =
            format!("customer_id {id} gets no notifications already: send AllowNotifications to change that");
        return Err(refusals::NOTIFICATIONS_STOPPED.because(message));
    }
    Ok(vec![emit(NotificationsStopped { customer_id })])
}

/// From now on the customer gets them again.
pub(super) fn allow(stream: Option<&Stream>, command: &AllowNotifications) -> Decision {
    let AllowNotifications { customer_id } = command.clone();
    if !stopped(stream, &customer_id)? {
        let id = rules::quoted(&customer_id);
        let message =
            format!("customer_id {id} has not stopped notifications: send StopNotifications to do that");
        return Err(refusals::NOTIFICATIONS_ALLOWED.because(message));
    }
    Ok(vec![emit(NotificationsAllowed { customer_id })])
}

fn stopped(stream: Option<&Stream>, customer_id: &str) -> Result<bool, Rejection> {
    match stream {
        None => Ok(false),
        Some(Stream::Preferences(preferences)) => Ok(preferences.stopped),
        Some(Stream::Notification(_)) => Err(taken("customer_id", customer_id)),
    }
}
