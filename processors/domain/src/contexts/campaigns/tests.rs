//! Campaigns: which commands are accepted and which are refused.

use millrace_schemas::campaigns::{
    AddAudienceChunk, AddAudienceChunkRecipient, AudienceChunkResolved, AudienceChunkResolvedRecipient,
    AudienceRequested, CampaignFailed, CampaignLaunched, CreateCampaign, DefineSegment, DeliveriesChanged,
    DeliveriesChangedChange, DeliveriesQueued, DeliveriesQueuedRecipient, DeliveriesRetried, FailCampaign,
    LaunchCampaign, ReceiptsUnmatched, RecordReceipts, RecordReceiptsReceipt, SegmentDefined,
};
use proptest::prelude::*;

use super::*;
use crate::testing::{Decided, Given, given};

const RULES: &str = r#"{"fact": "orders", "is": ">=", "value": 1}"#;
const AS_OF: i64 = 1_700_000_000_000_000;

fn define(segment_id: &str, rules: &str) -> DefineSegment {
    let [segment_id, name, rules] = [segment_id, "Buyers", rules].map(str::to_owned);
    DefineSegment { segment_id, name, rules }
}

fn defined(rules: &str) -> Event {
    let [segment_id, name, rules] = ["buyers", "Buyers", rules].map(str::to_owned);
    SegmentDefined { segment_id, name, rules }.into()
}

fn create() -> CreateCampaign {
    let [campaign_id, segment_id, name, channel, subject, message] =
        ["spring", "buyers", "Spring", "email", "Hello {name}", "Dear {contact_name}"].map(str::to_owned);
    CreateCampaign { campaign_id, segment_id, name, channel, subject, message }
}

fn created() -> Event {
    let CreateCampaign { campaign_id, segment_id, name, channel, subject, message } = create();
    let rules = RULES.to_owned();
    CampaignCreated { campaign_id, segment_id, name, channel, subject, message, rules }.into()
}

fn launch() -> LaunchCampaign {
    LaunchCampaign { campaign_id: "spring".to_owned(), as_of: AS_OF }
}

fn requested(number: i32, after: &str) -> Event {
    let [campaign_id, channel, rules, after] = ["spring", "email", RULES, after].map(str::to_owned);
    AudienceRequested { campaign_id, channel, rules, as_of: AS_OF, number, after }.into()
}

fn customer(customer_id: &str) -> AddAudienceChunkRecipient {
    let (name, address) = (format!("Name of {customer_id}"), format!("{customer_id}@example.com"));
    AddAudienceChunkRecipient { customer_id: customer_id.to_owned(), name, contact_name: None, address }
}

fn add(number: i32, customers: &[&str], last: bool) -> AddAudienceChunk {
    let recipients = customers.iter().map(|customer_id| customer(customer_id)).collect();
    AddAudienceChunk { campaign_id: "spring".to_owned(), number, recipients, last }
}

fn resolved(number: i32, customers: &[&str]) -> Event {
    let resolved = |customer_id: &&str| {
        let AddAudienceChunkRecipient { customer_id, name, contact_name, address } = customer(customer_id);
        AudienceChunkResolvedRecipient { customer_id, name, contact_name, address }
    };
    let (chunk_id, campaign_id) = (chunk_id("spring", number), "spring".to_owned());
    let recipients = customers.iter().map(resolved).collect();
    AudienceChunkResolved { chunk_id, campaign_id, number, recipients }.into()
}

fn launched(audience: i64, chunks: i32) -> Event {
    CampaignLaunched { campaign_id: "spring".to_owned(), audience, chunks }.into()
}

fn queued(number: i32, customers: &[&str]) -> Event {
    let recipient = |(number, customer_id): (i32, &&str)| {
        let AddAudienceChunkRecipient { customer_id, name, contact_name, address } = customer(customer_id);
        DeliveriesQueuedRecipient { number, customer_id, name, contact_name, address }
    };
    let CreateCampaign { campaign_id, channel, subject, message, .. } = create();
    let recipients = (1..).zip(customers).map(recipient).collect();
    let chunk_id = chunk_id("spring", number);
    DeliveriesQueued { chunk_id, campaign_id, channel, subject, message, recipients }.into()
}

fn failed() -> Event {
    CampaignFailed { campaign_id: "spring".to_owned(), reason: "no way".to_owned() }.into()
}

fn fail() -> FailCampaign {
    FailCampaign { campaign_id: "spring".to_owned(), reason: "no way".to_owned() }
}

/// A campaign whose first chunk is awaited.
fn resolving() -> Given<Campaigns> {
    given::<Campaigns>([defined(RULES), created(), requested(1, "")])
}

/// A launched campaign to two customers.
fn sending() -> Given<Campaigns> {
    given::<Campaigns>([
        created(),
        requested(1, ""),
        resolved(1, &["a", "b"]),
        launched(2, 1),
        queued(1, &["a", "b"]),
    ])
}

fn receipt(number: i32, attempt: i32, status: &str) -> RecordReceiptsReceipt {
    RecordReceiptsReceipt { number, attempt, status: status.to_owned(), retryable: false, reason: None }
}

fn busy(number: i32, attempt: i32) -> RecordReceiptsReceipt {
    let reason = Some("busy".to_owned());
    RecordReceiptsReceipt { retryable: true, reason, ..receipt(number, attempt, "failed") }
}

fn record(receipts: &[RecordReceiptsReceipt]) -> RecordReceipts {
    RecordReceipts { chunk_id: "spring/1".to_owned(), receipts: receipts.to_vec() }
}

/// What changed, as number, attempt, from and to.
fn changes(decided: &Decided<Campaigns>) -> Vec<(i32, i32, String, String)> {
    let events = decided.outcome.iter().flatten();
    let changes = events.filter_map(|emitted| match &emitted.event {
        Event::DeliveriesChanged(event) => Some(event.changes.clone()),
        _ => None,
    });
    changes.flatten().map(|one| (one.number, one.attempt, one.from, one.to)).collect()
}

fn change(number: i32, attempt: i32, from: &str, to: &str) -> (i32, i32, String, String) {
    (number, attempt, from.to_owned(), to.to_owned())
}

#[test]
fn a_segment_is_defined_and_defined_anew() {
    given::<Campaigns>([]).when(define("buyers", RULES)).then([defined(RULES)]);
    let other = r#"{"not": {"fact": "tags", "is": "has", "value": "vip"}}"#;
    given::<Campaigns>([defined(RULES)]).when(define("buyers", other)).then([defined(other)]);
}

#[test]
fn rules_that_are_empty_or_not_known_are_refused() {
    for rules in ["", "{}", r#"{"all": []}"#, r#"{"fact": "orders", "is": "~", "value": 1}"#] {
        given::<Campaigns>([]).when(define("buyers", rules)).then_rejected("rules-invalid");
    }
}

#[test]
fn ids_are_taken_once_and_leave_room_for_chunks() {
    for id in ["", "a/1", &"x".repeat(181), &"\u{1F600}".repeat(121)] {
        given::<Campaigns>([]).when(define(id, RULES)).then_rejected("id-invalid");
    }
    given::<Campaigns>([]).when(define(&"x".repeat(180), RULES)).outcome.expect("it fits");
    given::<Campaigns>([created()]).when(define("spring", RULES)).then_rejected("id-taken");
    let same = CreateCampaign { campaign_id: "buyers".to_owned(), ..create() };
    given::<Campaigns>([defined(RULES)]).when(same).then_rejected("id-taken");
    let of_segment =
        CreateCampaign { segment_id: "other".to_owned(), campaign_id: "buyers".to_owned(), ..create() };
    given::<Campaigns>([defined(RULES)]).when(of_segment).then_rejected("id-taken");
}

#[test]
fn a_campaign_keeps_the_rules_that_its_segment_had() {
    given::<Campaigns>([defined(RULES)]).when(create()).then([created()]);
    given::<Campaigns>([defined("{}"), defined(RULES)]).when(create()).then([created()]);
    given::<Campaigns>([]).when(create()).then_rejected("segment-unknown");
    given::<Campaigns>([defined(RULES), created()]).when(create()).then_rejected("campaign-exists");
}

#[test]
fn a_message_that_cannot_be_written_is_refused() {
    let refused = |campaign: CreateCampaign, code| {
        given::<Campaigns>([defined(RULES)]).when(campaign).then_rejected(code);
    };
    refused(CreateCampaign { message: " ".to_owned(), ..create() }, "message-invalid");
    refused(CreateCampaign { message: "x".repeat(2_001), ..create() }, "message-invalid");
    refused(CreateCampaign { subject: String::new(), ..create() }, "subject-invalid");
    refused(CreateCampaign { message: "Dear {nome}".to_owned(), ..create() }, "placeholder-invalid");
    refused(CreateCampaign { subject: "{".to_owned(), ..create() }, "placeholder-invalid");
    refused(CreateCampaign { channel: "fax".to_owned(), ..create() }, "channel-unknown");
    refused(CreateCampaign { name: String::new(), ..create() }, "name-invalid");
}

#[test]
fn a_launch_asks_for_the_audience_once() {
    given::<Campaigns>([defined(RULES), created()]).when(launch()).then([requested(1, "")]);
    resolving().when(launch()).then_rejected("campaign-launched");
    sending().when(launch()).then_rejected("campaign-launched");
    given::<Campaigns>([created(), requested(1, ""), failed()])
        .when(launch())
        .then_rejected("campaign-failed");
    given::<Campaigns>([defined(RULES)]).when(launch()).then_rejected("campaign-unknown");
    let never = LaunchCampaign { as_of: i64::MAX, ..launch() };
    given::<Campaigns>([created()]).when(never).then_rejected("time-invalid");
}

#[test]
fn a_chunk_is_kept_and_the_next_one_is_asked_for_behind_its_last_customer() {
    resolving().when(add(1, &["a", "b"], false)).then([resolved(1, &["a", "b"]), requested(2, "b")]);
    resolving().when(add(2, &["a"], false)).then_rejected("chunk-unexpected");
    sending().when(add(1, &["a"], true)).then_rejected("campaign-launched");
    given::<Campaigns>([created()]).when(add(1, &["a"], true)).then_rejected("campaign-not-launched");
}

#[test]
fn with_the_last_chunk_every_message_is_queued_at_once() {
    let past = [created(), requested(1, ""), resolved(1, &["a", "b"]), requested(2, "b")];
    given::<Campaigns>(past).when(add(2, &["c"], true)).then([
        resolved(2, &["c"]),
        launched(3, 2),
        queued(1, &["a", "b"]),
        queued(2, &["c"]),
    ]);
}

#[test]
fn an_audience_may_be_empty_and_may_end_with_a_full_chunk() {
    resolving().when(add(1, &[], true)).then([launched(0, 0)]);
    let past = [created(), requested(1, ""), resolved(1, &["a"]), requested(2, "a")];
    given::<Campaigns>(past).when(add(2, &[], true)).then([launched(1, 1), queued(1, &["a"])]);
}

#[test]
fn an_audience_beyond_the_last_chunk_fails_the_campaign_and_sends_nothing() {
    let past = [created(), requested(CHUNKS_MAX, "a")];
    let decided = given::<Campaigns>(past).when(add(CHUNKS_MAX, &["b"], false));
    let events = decided.outcome.expect("it is accepted");
    assert!(
        matches!(&events[1].event, Event::CampaignFailed(event) if event.reason.contains("split the segment"))
    );
    assert_eq!(events.len(), 2);
}

#[test]
fn a_chunk_has_few_enough_customers_each_once() {
    resolving().when(add(1, &[], false)).then_rejected("recipients-empty");
    resolving().when(add(1, &["a", "a"], true)).then_rejected("recipient-repeated");
    resolving().when(add(1, &[""], true)).then_rejected("id-invalid");
    let names: Vec<String> = (0..=RECIPIENTS_MAX).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    resolving().when(add(1, &names, true)).then_rejected("recipients-too-many");
    resolving().when(add(1, &names[1..], true)).outcome.expect("a thousand fit");
    let mut long = add(1, &["a"], true);
    long.recipients[0].name = "x".repeat(CHUNK_BYTES_MAX);
    resolving().when(long).then_rejected("recipients-too-many");
}

#[test]
fn the_largest_chunk_fits_a_record() {
    let name = "\u{1F600}".repeat(CHUNK_BYTES_MAX / RECIPIENTS_MAX / 4 - 5);
    let long = |number: usize| {
        let contact_name = Some(String::new());
        let (customer_id, address) = (number.to_string(), "a@b.c".to_owned());
        AddAudienceChunkRecipient { customer_id, name: name.clone(), contact_name, address }
    };
    let recipients: Vec<_> = (0..RECIPIENTS_MAX).map(long).collect();
    assert!(fitting(&recipients) == RECIPIENTS_MAX);
    let mut campaign = create();
    (campaign.subject, campaign.message) = ("\u{1F600}".repeat(200), "\u{1F600}".repeat(2_000));
    let commands = [
        Command::from(define("buyers", RULES)),
        campaign.into(),
        launch().into(),
        AddAudienceChunk { recipients, ..add(1, &[], true) }.into(),
    ];
    let past = given::<Campaigns>([]).after(commands);
    let largest = past.accepted().iter().map(|event| event.encode().expect("bytes").len()).max();
    assert!((490_000..900_000).contains(&largest.expect("events")), "{largest:?}");
    let all: Vec<_> = (1..=1_000).map(|number| busy(number, 1)).collect();
    let again = past.after([record(&all).into()]);
    let retried = again.accepted().last().expect("an event");
    assert!(matches!(retried, Event::DeliveriesRetried(event) if event.recipients.len() == 1_000));
    assert!(retried.encode().expect("bytes").len() < 900_000);
}

#[test]
fn an_audience_that_cannot_be_found_fails_the_campaign() {
    resolving().when(fail()).then([failed()]);
    given::<Campaigns>([created()]).when(fail()).then_rejected("campaign-not-launched");
    sending().when(fail()).then_rejected("campaign-launched");
    resolving().when(FailCampaign { reason: String::new(), ..fail() }).then_rejected("reason-invalid");
}

#[test]
fn receipts_say_what_became_of_messages() {
    let changed = |number, customer_id: &str, to: &str| {
        let [from, to, customer_id] = ["queued", to, customer_id].map(str::to_owned);
        DeliveriesChangedChange { number, attempt: 1, from, to, reason: None, customer_id }
    };
    let (chunk_id, campaign_id) = ("spring/1".to_owned(), "spring".to_owned());
    let changes = vec![changed(1, "a", "sent"), changed(2, "b", "failed")];
    let expected = DeliveriesChanged { chunk_id, campaign_id, changes };
    sending().when(record(&[receipt(1, 1, "sent"), receipt(2, 1, "failed")])).then([expected.into()]);
}

#[test]
fn a_receipt_that_comes_again_or_late_changes_nothing() {
    let delivered = sending().after([record(&[receipt(1, 1, "delivered")]).into()]);
    delivered.when(record(&[receipt(1, 1, "delivered"), receipt(1, 1, "sent"), busy(1, 1)])).then([]);
    let failed = sending().after([record(&[receipt(1, 1, "failed")]).into()]);
    failed.when(record(&[receipt(1, 1, "failed"), busy(1, 1), receipt(1, 1, "sent")])).then([]);
    let retried = sending().after([record(&[busy(1, 1)]).into()]);
    retried.when(record(&[busy(1, 1), receipt(1, 1, "sent"), receipt(1, 1, "failed")])).then([]);
}

#[test]
fn what_has_arrived_has_arrived_whatever_was_said_before() {
    for earlier in [receipt(1, 1, "sent"), receipt(1, 1, "failed"), busy(1, 1)] {
        let past = sending().after([record(&[earlier]).into()]);
        let decided = past.when(record(&[receipt(1, 1, "delivered")]));
        assert_eq!(changes(&decided).len(), 1);
        assert_eq!(changes(&decided)[0].3, "delivered");
    }
}

#[test]
fn a_message_that_may_be_tried_again_is_tried_three_times_and_then_dead() {
    let mut past = sending();
    for attempt in 1..ATTEMPTS_MAX {
        let decided = given_copy(&past).when(record(&[busy(2, attempt)]));
        assert_eq!(changes(&decided), [change(2, attempt + 1, "queued", "queued")]);
        let events: Vec<Event> =
            decided.outcome.expect("accepted").into_iter().map(|one| one.event).collect();
        let [_, Event::DeliveriesRetried(DeliveriesRetried { recipients, message, .. })] = events.as_slice()
        else {
            panic!("{events:?}")
        };
        assert_eq!((recipients[0].customer_id.as_str(), recipients[0].attempt), ("b", attempt + 1));
        assert_eq!((recipients.len(), message.as_str()), (1, "Dear {contact_name}"));
        past = past.after([record(&[busy(2, attempt)]).into()]);
    }
    let decided = past.when(record(&[busy(2, ATTEMPTS_MAX)]));
    assert_eq!(changes(&decided), [change(2, ATTEMPTS_MAX, "queued", "dead")]);
    assert_eq!(decided.outcome.expect("accepted").len(), 1, "nothing is retried any more");
}

/// The same past once more.
fn given_copy(past: &Given<Campaigns>) -> Given<Campaigns> {
    let events =
        [created(), requested(1, ""), resolved(1, &["a", "b"]), launched(2, 1), queued(1, &["a", "b"])];
    given::<Campaigns>(events.into_iter().chain(past.accepted().iter().cloned()))
}

#[test]
fn a_receipt_of_an_unknown_message_is_kept() {
    let kept = |chunk_id: &str, one: RecordReceiptsReceipt| -> Event {
        let RecordReceiptsReceipt { number, attempt, status, retryable, reason } = one;
        let receipt = millrace_schemas::campaigns::ReceiptsUnmatchedReceipt {
            number,
            attempt,
            status,
            retryable,
            reason,
        };
        ReceiptsUnmatched { chunk_id: chunk_id.to_owned(), receipts: vec![receipt] }.into()
    };
    for (number, attempt) in [(0, 1), (-1, 1), (3, 1), (1, 2), (1, 0), (1, -1)] {
        let unknown = receipt(number, attempt, "sent");
        sending().when(record(std::slice::from_ref(&unknown))).then([kept("spring/1", unknown)]);
    }
    let early = receipt(1, 1, "sent");
    given::<Campaigns>([]).when(record(std::slice::from_ref(&early))).then([kept("spring/1", early.clone())]);
    let past = [created(), requested(1, ""), resolved(1, &["a"])];
    given::<Campaigns>(past)
        .when(record(std::slice::from_ref(&early)))
        .then([kept("spring/1", early.clone())]);
    let campaigns = RecordReceipts { chunk_id: "spring".to_owned(), receipts: vec![early.clone()] };
    given::<Campaigns>([created()]).when(campaigns).then([kept("spring", early)]);
}

#[test]
fn an_unmatched_receipt_does_not_stand_in_the_way_of_the_chunk() {
    let past = given::<Campaigns>([defined(RULES)]).after([
        record(&[receipt(1, 1, "sent")]).into(),
        create().into(),
        launch().into(),
        add(1, &["a"], true).into(),
    ]);
    assert!(matches!(past.states().get("spring/1"), Some(Stream::Chunk(chunk)) if chunk.template.is_some()));
}

#[test]
fn receipts_are_bounded_and_say_what_is_known() {
    sending().when(record(&[])).then_rejected("receipts-count-invalid");
    sending().when(record(&vec![receipt(1, 1, "sent"); 1_001])).then_rejected("receipts-count-invalid");
    sending().when(record(&[receipt(1, 1, "read")])).then_rejected("receipt-status-unknown");
    let long = RecordReceiptsReceipt { reason: Some("x".repeat(101)), ..busy(1, 1) };
    sending().when(record(&[long])).then_rejected("reason-invalid");
}

#[test]
fn what_cannot_have_happened_changes_nothing() {
    let state =
        |events: &[Event]| events.iter().cloned().fold(None, |state, event| Campaigns::evolve(state, &event));
    for (past, impossible) in [
        (vec![defined(RULES)], launched(1, 1)),
        (vec![defined(RULES)], created()),
        (vec![created()], defined("{}")),
        (vec![created()], created()),
        (vec![resolved(1, &["a"])], failed()),
        (vec![created()], queued(1, &["a"])),
        (vec![], queued(1, &["a"])),
    ] {
        assert_eq!(state(&[past.clone(), vec![impossible]].concat()), state(&past));
    }
}

fn any_receipt(attempts: i32) -> impl Strategy<Value = RecordReceiptsReceipt> {
    (1..=2, 1..=attempts, 0..4).prop_map(|(number, attempt, kind)| match kind {
        0 => receipt(number, attempt, "sent"),
        1 => receipt(number, attempt, "delivered"),
        2 => receipt(number, attempt, "failed"),
        _ => busy(number, attempt),
    })
}

/// The progress of a message: a later status is greater.
fn progress(job: &Job) -> (bool, i32, bool, bool) {
    let ended = matches!(job.status, JobStatus::Failed | JobStatus::Dead);
    (job.status == JobStatus::Delivered, job.attempt, ended, job.status == JobStatus::Sent || ended)
}

fn jobs(past: &Given<Campaigns>) -> Vec<Job> {
    match past.states().get("spring/1") {
        Some(Stream::Chunk(chunk)) => chunk.jobs.clone(),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn a_message_never_goes_back_and_nothing_that_came_twice_counts(
        receipts in prop::collection::vec(any_receipt(4), 1..30),
    ) {
        let mut past = sending();
        for one in &receipts {
            let before = jobs(&past);
            past = past.after([record(std::slice::from_ref(one)).into()]);
            let after = jobs(&past);
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(progress(before) <= progress(after), "{before:?} {after:?}");
            }
            past = past.after([record(std::slice::from_ref(one)).into()]);
            if one.attempt <= after[usize::try_from(one.number - 1).expect("a place")].attempt {
                prop_assert_eq!(jobs(&past), after);
            }
        }
    }

    #[test]
    fn what_a_vendor_says_of_one_attempt_comes_to_the_same_in_any_order(
        (reported, mixed) in prop::sample::subsequence(vec![0, 1, 2], 0..=3).prop_flat_map(|reported| {
            (Just(reported.clone()), Just(reported).prop_shuffle())
        }),
        retryable in any::<bool>(),
    ) {
        let receipts = |reported: &[i32]| -> Vec<Command> {
            let one = |kind: &i32| match kind {
                0 => receipt(1, 1, "sent"),
                1 => RecordReceiptsReceipt { retryable, ..receipt(1, 1, "failed") },
                _ => receipt(1, 1, "delivered"),
            };
            reported.iter().map(|kind| record(&[one(kind)]).into()).collect()
        };
        let status = |reported: &[i32]| jobs(&sending().after(receipts(reported)))[0].status;
        prop_assert_eq!(status(&reported), status(&mixed));
    }
}
