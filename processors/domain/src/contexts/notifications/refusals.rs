//! Refusals of notifications.

use crate::contexts::customers;
use crate::refusal::refusals;
use crate::rules::refusals as shared;

refusals! {
    shared: [
        customers::refusals::CUSTOMER_MISSING,
        shared::ID_INVALID,
        shared::REASON_INVALID,
        shared::SUBJECT_INVALID,
    ];
    BODY_INVALID = "body-invalid" when "the body is empty or too long, or has control characters";
    ID_TAKEN = "id-taken" when "a notification and a customer would have the same id";
    NOTIFICATION_EXISTS = "notification-exists" when "a notification with this id was already queued";
    NOTIFICATION_NOT_QUEUED = "notification-not-queued" when "the notification was already sent, failed or suppressed";
    NOTIFICATION_UNKNOWN = "notification-unknown" when "the notification was never queued";
    NOTIFICATIONS_ALLOWED = "notifications-allowed" when "the customer has not stopped notifications";
    NOTIFICATIONS_STOPPED = "notifications-stopped" when "the customer has already stopped notifications";
}
