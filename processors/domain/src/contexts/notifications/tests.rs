//! Notifications: which commands are accepted and which are refused.

use millrace_schemas::customers::{self, CustomerRegistered};
use millrace_schemas::notifications::{
    AllowNotifications, NotificationQueued, NotificationSuppressed, NotificationsAllowed,
    NotificationsStopped, QueueNotification, StopNotifications,
};
use proptest::prelude::*;

use super::*;
use crate::contexts::customers::Customers;
use crate::contexts::customers::examples::registered;
use crate::testing::{Given, given};

fn customer(customer_id: &str, email: Option<&str>) -> customers::Event {
    let email = email.map(str::to_owned);
    CustomerRegistered { email, ..registered(customer_id, "Ana Trujillo") }.into()
}

fn past(events: impl IntoIterator<Item = Event>) -> Given<Notifications> {
    given::<Notifications>(events)
        .and::<Customers>([customer("ANATR", Some("ana@example.com")), customer("ALFKI", None)])
}

fn queue() -> QueueNotification {
    let [notification_id, customer_id] = ["n1", "ANATR"].map(str::to_owned);
    let [subject, body] = ["Your order", "Dear Ana,\n\n\tit is on its way.\r\n"].map(str::to_owned);
    QueueNotification { notification_id, customer_id, subject, body }
}

fn queued() -> Event {
    let QueueNotification { notification_id, customer_id, subject, body } = queue();
    let [recipient, address] = ["Ana Trujillo", "ana@example.com"].map(str::to_owned);
    NotificationQueued { notification_id, customer_id, recipient, address, subject, body }.into()
}

fn suppressed(customer_id: &str, reason: &str) -> Event {
    let [notification_id, customer_id, reason] = ["n1", customer_id, reason].map(str::to_owned);
    NotificationSuppressed { notification_id, customer_id, reason }.into()
}

fn mark_sent() -> MarkNotificationSent {
    MarkNotificationSent { notification_id: "n1".into() }
}

fn sent() -> Event {
    NotificationSent { notification_id: "n1".into(), customer_id: "ANATR".into() }.into()
}

fn mark_failed() -> MarkNotificationFailed {
    MarkNotificationFailed { notification_id: "n1".into(), reason: "mailbox unknown".into() }
}

fn failed() -> Event {
    let [notification_id, customer_id, reason] = ["n1", "ANATR", "mailbox unknown"].map(str::to_owned);
    NotificationFailed { notification_id, customer_id, reason }.into()
}

fn stop() -> StopNotifications {
    StopNotifications { customer_id: "ANATR".into() }
}

fn stopped() -> Event {
    NotificationsStopped { customer_id: "ANATR".into() }.into()
}

fn allow() -> AllowNotifications {
    AllowNotifications { customer_id: "ANATR".into() }
}

fn allowed() -> Event {
    NotificationsAllowed { customer_id: "ANATR".into() }.into()
}

fn refused(command: QueueNotification, code: &str) {
    assert_eq!(Notifications::references(&command.clone().into()), [], "a malformed one refers to nothing");
    past([]).when(command).then_rejected(code);
}

#[test]
fn a_notification_is_queued_with_the_name_and_address_of_its_time() {
    past([]).when(queue()).then([queued()]);
}

#[test]
fn a_notification_touches_two_streams_and_refers_to_the_customer() {
    assert_eq!(Notifications::streams(&queue().into()), ["ANATR", "n1"]);
    let customer = Reference::to::<Customers>("ANATR");
    assert_eq!(Notifications::references(&queue().into()), [customer]);
    assert_eq!(Notifications::references(&mark_sent().into()), []);
}

#[test]
fn a_notification_is_queued_only_once() {
    for ended in [sent(), failed()] {
        past([queued(), ended]).when(queue()).then_rejected("notification-exists");
    }
    past([queued()]).when(queue()).then_rejected("notification-exists");
    past([suppressed("ANATR", "")]).when(queue()).then_rejected("notification-exists");
}

#[test]
fn a_customer_who_wants_no_notifications_gets_none() {
    past([stopped()]).when(queue()).then([suppressed("ANATR", "the customer wants no notifications")]);
    past([stopped(), allowed()]).when(queue()).then([queued()]);
}

#[test]
fn a_customer_without_an_email_address_gets_none() {
    let command = QueueNotification { customer_id: "ALFKI".into(), ..queue() };
    past([]).when(command).then([suppressed("ALFKI", "the customer has no e-mail address")]);
}

#[test]
fn a_malformed_notification_is_rejected() {
    refused(QueueNotification { notification_id: String::new(), ..queue() }, "id-invalid");
    refused(QueueNotification { customer_id: "\0".into(), ..queue() }, "id-invalid");
    for subject in ["", " ", "two\nlines", "\0", &"x".repeat(201)] {
        refused(QueueNotification { subject: subject.into(), ..queue() }, "subject-invalid");
    }
    for body in ["", "\n", "\0", "\u{1b}[2J", &"x".repeat(10_001)] {
        refused(QueueNotification { body: body.into(), ..queue() }, "body-invalid");
    }
}

#[test]
fn a_notification_is_never_queued_without_its_customer() {
    given::<Notifications>([]).when(queue()).then_rejected("customer-unknown");
}

#[test]
fn a_queued_notification_is_sent_or_fails_once() {
    past([queued()]).when(mark_sent()).then([sent()]);
    past([queued()]).when(mark_failed()).then([failed()]);
    for ended in [sent(), failed()] {
        past([queued(), ended.clone()]).when(mark_sent()).then_rejected("notification-not-queued");
        past([queued(), ended]).when(mark_failed()).then_rejected("notification-not-queued");
    }
}

#[test]
fn a_suppressed_or_unknown_notification_is_not_sent() {
    past([suppressed("ANATR", "")]).when(mark_sent()).then_rejected("notification-not-queued");
    past([suppressed("ANATR", "")]).when(mark_failed()).then_rejected("notification-not-queued");
    past([]).when(mark_sent()).then_rejected("notification-unknown");
    past([]).when(mark_failed()).then_rejected("notification-unknown");
}

#[test]
fn a_failure_needs_a_reason() {
    let silent = MarkNotificationFailed { reason: " ".into(), ..mark_failed() };
    past([queued()]).when(silent).then_rejected("reason-invalid");
}

#[test]
fn a_customer_stops_and_allows_notifications() {
    past([]).when(stop()).then([stopped()]);
    past([stopped()]).when(stop()).then_rejected("notifications-stopped");
    past([stopped()]).when(allow()).then([allowed()]);
    past([stopped(), allowed()]).when(allow()).then_rejected("notifications-allowed");
    past([stopped(), allowed()]).when(stop()).then([stopped()]);
    past([]).when(allow()).then_rejected("notifications-allowed");
}

#[test]
fn only_a_customer_that_exists_stops_notifications() {
    assert_eq!(Notifications::references(&stop().into()), [Reference::to::<Customers>("ANATR")]);
    let malformed = StopNotifications { customer_id: "\0".into() };
    assert_eq!(Notifications::references(&malformed.clone().into()), []);
    past([]).when(malformed).then_rejected("id-invalid");
}

#[test]
fn a_notification_and_a_customer_never_share_a_stream() {
    refused(QueueNotification { notification_id: "ANATR".into(), ..queue() }, "id-taken");
    let as_customer = QueueNotification { notification_id: "n2".into(), customer_id: "n1".into(), ..queue() };
    past([queued()]).when(as_customer).then_rejected("id-taken");
    let as_notification =
        QueueNotification { notification_id: "ANATR".into(), customer_id: "ALFKI".into(), ..queue() };
    past([stopped()]).when(as_notification).then_rejected("id-taken");
    past([queued()]).when(StopNotifications { customer_id: "n1".into() }).then_rejected("id-taken");
    past([queued()]).when(AllowNotifications { customer_id: "n1".into() }).then_rejected("id-taken");
    let preferences = MarkNotificationSent { notification_id: "ANATR".into() };
    past([stopped()]).when(preferences).then_rejected("notification-unknown");
}

#[test]
fn what_cannot_have_happened_changes_nothing() {
    let state = |events: &[Event]| events.iter().fold(None, Notifications::evolve);
    assert_eq!(state(&[sent()]), None);
    for (past, impossible) in [
        (vec![queued()], stopped()),
        (vec![queued()], queued()),
        (vec![queued(), sent()], failed()),
        (vec![suppressed("ANATR", "")], sent()),
        (vec![stopped()], queued()),
        (vec![stopped()], sent()),
    ] {
        assert_eq!(state(&[past.clone(), vec![impossible]].concat()), state(&past));
    }
}

/// Mostly valid values, so that most sequences make progress; notifications and customers may want the same ids.
fn any_command() -> impl Strategy<Value = Command> {
    let id = || prop_oneof![10 => "n[12]", 5 => Just("ANATR".to_owned()), 1 => any::<String>()];
    let customer = prop_oneof![20 => Just("ANATR".to_owned()), 5 => Just("ALFKI".to_owned()), 1 => "n[12]"];
    let text = prop_oneof![20 => Just("fine".to_owned()), 1 => any::<String>()];
    (0..6, id(), customer, text).prop_map(|(kind, notification_id, customer_id, text)| match kind {
        0 | 1 => QueueNotification { notification_id, customer_id, subject: text.clone(), body: text }.into(),
        2 => MarkNotificationSent { notification_id }.into(),
        3 => MarkNotificationFailed { notification_id, reason: text }.into(),
        4 => StopNotifications { customer_id }.into(),
        _ => AllowNotifications { customer_id }.into(),
    })
}

/// How many of the events are the given notification's, and end it.
fn ends(events: &[Event], id: &str) -> usize {
    let ends = |event: &&Event| match event {
        Event::NotificationSuppressed(_) | Event::NotificationSent(_) | Event::NotificationFailed(_) => {
            event.key() == id
        }
        Event::NotificationQueued(_) | Event::NotificationsStopped(_) | Event::NotificationsAllowed(_) => {
            false
        }
    };
    events.iter().filter(ends).count()
}

proptest! {
    #[test]
    fn no_sequence_of_commands_panics_or_ends_a_notification_twice(
        commands in prop::collection::vec(any_command(), 0..40),
    ) {
        let past = past([]).after(commands);
        for (id, stream) in past.states() {
            let ended = match stream {
                Stream::Notification(notification) => usize::from(notification.status != Status::Queued),
                Stream::Preferences(_) => 0,
            };
            prop_assert_eq!(ends(past.accepted(), id), ended);
        }
    }
}
