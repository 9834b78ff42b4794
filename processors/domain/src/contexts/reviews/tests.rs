//! Reviews: which commands are accepted and which are refused.

use millrace_schemas::catalog::{self, ProductAdded};
use millrace_schemas::customers;
use millrace_schemas::reviews::WriteReview;
use proptest::prelude::*;

use super::*;
use crate::contexts::customers::examples::registered;
use crate::contexts::{catalog::Catalog, customers::Customers};
use crate::testing::{Given, given};

const JULY_4_1996: i64 = 836_438_400_000_000;

fn product() -> catalog::Event {
    let [product_id, name, category, currency] = ["1", "Chai", "Beverages", "USD"].map(str::to_owned);
    ProductAdded { product_id, name, category, price: 1_800, currency }.into()
}

fn customer() -> customers::Event {
    registered("VINET", "Vins et alcools Chevalier").into()
}

fn past(events: impl IntoIterator<Item = Event>) -> Given<Reviews> {
    given::<Reviews>(events).and::<Catalog>([product()]).and::<Customers>([customer()])
}

fn write() -> WriteReview {
    let [review_id, product_id, customer_id] = ["1:VINET", "1", "VINET"].map(str::to_owned);
    let [title, text] = ["Good", "Warm\nand sweet."].map(str::to_owned);
    WriteReview { review_id, product_id, customer_id, rating: 4, title, text, written_at: JULY_4_1996 }
}

fn written() -> Event {
    let WriteReview { review_id, product_id, customer_id, rating, title, text, written_at } = write();
    ReviewWritten { review_id, product_id, customer_id, rating, title, text, written_at }.into()
}

fn edit() -> EditReview {
    let [review_id, title, text] = ["1:VINET", "Fine", "It grew cold."].map(str::to_owned);
    EditReview { review_id, rating: 2, title, text, edited_at: JULY_4_1996 }
}

fn edited() -> Event {
    let EditReview { review_id, rating, title, text, edited_at } = edit();
    let [product_id, customer_id] = ["1", "VINET"].map(str::to_owned);
    ReviewEdited { review_id, product_id, customer_id, rating, previous_rating: 4, title, text, edited_at }
        .into()
}

fn withdraw() -> WithdrawReview {
    WithdrawReview { review_id: "1:VINET".into(), reason: "wrong product".into() }
}

fn withdrawn(previous_rating: i32) -> Event {
    let [review_id, product_id, customer_id, reason] =
        ["1:VINET", "1", "VINET", "wrong product"].map(str::to_owned);
    ReviewWithdrawn { review_id, product_id, customer_id, previous_rating, reason }.into()
}

fn refused(command: WriteReview, code: &str) {
    assert_eq!(Reviews::references(&command.clone().into()), [], "a malformed review refers to nothing");
    past([]).when(command).then_rejected(code);
}

#[test]
fn a_customer_reviews_a_product() {
    past([]).when(write()).then([written()]);
}

#[test]
fn a_review_refers_to_its_product_and_to_its_customer() {
    let expected = [Reference::to::<Catalog>("1"), Reference::to::<Customers>("VINET")];
    assert_eq!(Reviews::references(&write().into()), expected);
    assert_eq!(Reviews::references(&edit().into()), []);
}

#[test]
fn a_review_is_never_written_without_its_references() {
    given::<Reviews>([]).when(write()).then_rejected("product-unknown");
    given::<Reviews>([]).and::<Catalog>([product()]).when(write()).then_rejected("customer-unknown");
}

#[test]
fn a_customer_reviews_a_product_only_once() {
    past([written()]).when(write()).then_rejected("review-exists");
    refused(WriteReview { review_id: "another".into(), ..write() }, "review-id-invalid");
}

#[test]
fn the_rejection_of_an_id_says_what_it_must_be() {
    let command = WriteReview { review_id: "r1".into(), product_id: "te:a".into(), ..write() };
    let rejection = past([]).when(command).outcome.expect_err("a rejection");
    assert!(rejection.message.contains(r#"send "te~1a:VINET""#), "{}", rejection.message);
}

#[test]
fn ids_that_are_too_long_for_one_stream_are_rejected() {
    let product_id = "x".repeat(195);
    let review_id = format!("{product_id}:VINET");
    refused(WriteReview { review_id, product_id, ..write() }, "id-invalid");
}

#[test]
fn a_rating_is_1_to_5() {
    for rating in [i32::MIN, 0, 6] {
        refused(WriteReview { rating, ..write() }, "rating-invalid");
        past([written()]).when(EditReview { rating, ..edit() }).then_rejected("rating-invalid");
    }
    for rating in 1..=5 {
        assert!(past([]).when(WriteReview { rating, ..write() }).outcome.is_ok());
    }
}

#[test]
fn an_invalid_field_is_rejected() {
    refused(WriteReview { product_id: String::new(), ..write() }, "id-invalid");
    refused(WriteReview { customer_id: "\0".into(), ..write() }, "id-invalid");
    refused(WriteReview { title: " ".into(), ..write() }, "title-invalid");
    refused(WriteReview { title: "x".repeat(201), ..write() }, "title-invalid");
    refused(WriteReview { text: "x".repeat(5_001), ..write() }, "text-invalid");
    refused(WriteReview { written_at: i64::MAX, ..write() }, "time-invalid");
}

#[test]
fn a_review_is_edited_and_the_event_says_the_rating_before() {
    past([written()]).when(edit()).then([edited()]);
}

#[test]
fn editing_to_the_same_content_is_accepted_and_nothing_happens() {
    past([written(), edited()]).when(edit()).then([]);
}

#[test]
fn an_edit_follows_the_rules_of_a_review() {
    past([written()]).when(EditReview { title: String::new(), ..edit() }).then_rejected("title-invalid");
    past([written()]).when(EditReview { text: "\0".into(), ..edit() }).then_rejected("text-invalid");
    past([written()]).when(EditReview { edited_at: i64::MIN, ..edit() }).then_rejected("time-invalid");
}

#[test]
fn a_review_is_withdrawn_once_with_the_rating_that_it_had() {
    past([written()]).when(withdraw()).then([withdrawn(4)]);
    past([written(), edited()]).when(withdraw()).then([withdrawn(2)]);
    past([written(), withdrawn(4)]).when(withdraw()).then_rejected("review-withdrawn");
}

#[test]
fn a_withdrawal_needs_a_reason() {
    let command = WithdrawReview { reason: " ".into(), ..withdraw() };
    past([written()]).when(command).then_rejected("reason-invalid");
}

#[test]
fn a_withdrawn_review_is_not_edited_but_may_be_written_again() {
    let past = || past([written(), withdrawn(4)]);
    past().when(edit()).then_rejected("review-withdrawn");
    past().when(write()).then([written()]);
}

#[test]
fn a_review_that_was_never_written_cannot_go_on() {
    past([]).when(edit()).then_rejected("review-unknown");
    past([]).when(withdraw()).then_rejected("review-unknown");
}

#[test]
fn what_cannot_have_happened_changes_nothing() {
    assert_eq!(Reviews::evolve(None, &edited()), None);
    let edited = [written(), edited()].iter().fold(None, Reviews::evolve);
    assert_eq!(Reviews::evolve(edited.clone(), &written()), edited);
}

/// Mostly valid values, so that most sequences make progress.
fn any_command() -> impl Strategy<Value = Command> {
    let rating = prop_oneof![20 => 1..=5_i32, 1 => any::<i32>()];
    let text = prop_oneof![20 => "[a-z]{1,5}", 1 => any::<String>()];
    let review_id = prop_oneof![20 => Just("1:VINET".to_owned()), 1 => any::<String>()];
    (rating, text, review_id, 0..4).prop_map(|(rating, title, review_id, kind)| match kind {
        0 => EditReview { review_id, rating, title, ..edit() }.into(),
        1 => WithdrawReview { review_id, reason: title }.into(),
        _ => WriteReview { review_id, rating, title, ..write() }.into(),
    })
}

/// What readers who only add and take away come to.
fn counted(event: &Event) -> i32 {
    match event {
        Event::ReviewWritten(event) => event.rating,
        Event::ReviewEdited(event) => event.rating - event.previous_rating,
        Event::ReviewWithdrawn(event) => -event.previous_rating,
    }
}

proptest! {
    #[test]
    fn whatever_is_sent_the_ratings_of_the_events_add_up_to_the_one_that_stands(
        commands in prop::collection::vec(any_command(), 0..20),
    ) {
        let after = past([]).after(commands);
        let standing = after.states().values().filter(|review| !review.withdrawn);
        let rating: i32 = standing.map(|review| review.content.rating).sum();
        prop_assert_eq!(after.accepted().iter().map(counted).sum::<i32>(), rating);
    }
}
