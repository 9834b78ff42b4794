//! What a customer does beside ordering: carts that they give up, and reviews that they write.

use millrace_schemas::carts::Event as Carts;
use millrace_schemas::reviews::Event as Reviews;

use super::CustomerRow;

impl CustomerRow {
    pub(super) fn shopped(self, event: &Carts) -> Self {
        match event {
            Carts::CartAbandoned(_) => Self { carts_abandoned: self.carts_abandoned.wrapping_add(1), ..self },
            Carts::CartCheckedOut(_)
            | Carts::CartCreated(_)
            | Carts::CartItemAdded(_)
            | Carts::CartItemRemoved(_)
            | Carts::CartQuantityChanged(_)
            | Carts::CartReopened(_) => self,
        }
    }

    pub(super) fn reviewed(self, event: &Reviews) -> Self {
        match event {
            Reviews::ReviewWritten(event) => self.rated(1, i64::from(event.rating)),
            Reviews::ReviewEdited(event) => {
                self.rated(0, i64::from(event.rating).wrapping_sub(event.previous_rating.into()))
            }
            Reviews::ReviewWithdrawn(event) => {
                self.rated(-1, i64::from(event.previous_rating).wrapping_neg())
            }
        }
    }

    fn rated(self, reviews: i64, rating: i64) -> Self {
        let (reviews, rating_sum) =
            (self.reviews.wrapping_add(reviews), self.rating_sum.wrapping_add(rating));
        Self { reviews, rating_sum, rating_hundredths: hundredths(rating_sum, reviews), ..self }
    }
}

/// Half up; ratings are more than 0.
fn hundredths(sum: i64, reviews: i64) -> Option<i64> {
    let (twice, reviews) = (sum.checked_mul(200)?, Some(reviews).filter(|reviews| *reviews > 0)?);
    twice.checked_add(reviews)?.checked_div(reviews.checked_mul(2)?)
}

/// A cart that was given up before that event said whose it was is counted for no customer.
pub(super) fn of_cart(event: &Carts) -> Option<&str> {
    match event {
        Carts::CartAbandoned(event) => Some(event.customer_id.as_str()).filter(|id| !id.is_empty()),
        Carts::CartCheckedOut(event) => Some(&event.customer_id),
        Carts::CartCreated(event) => Some(&event.customer_id),
        Carts::CartItemAdded(_)
        | Carts::CartItemRemoved(_)
        | Carts::CartQuantityChanged(_)
        | Carts::CartReopened(_) => None,
    }
}

pub(super) fn of_review(event: &Reviews) -> &str {
    match event {
        Reviews::ReviewWritten(event) => &event.customer_id,
        Reviews::ReviewEdited(event) => &event.customer_id,
        Reviews::ReviewWithdrawn(event) => &event.customer_id,
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::Event;
    use millrace_schemas::carts::{CartAbandoned, CartCreated};

    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, fold_view, strings};
    use crate::views::customers::CustomerView;
    use crate::views::tests::{review_edited, review_withdrawn, review_written};

    fn row_after(streams: &[Vec<Event>]) -> CustomerRow {
        let rows = assert_same_rows_in_any_order::<CustomerView>(streams);
        rows.into_values().next().expect("one row")
    }

    fn created(cart_id: &str) -> Event {
        let [cart_id, customer_id, currency] = strings([cart_id, "VINET", "USD"]);
        Event::Carts(CartCreated { cart_id, customer_id, currency }.into())
    }

    fn abandoned(cart_id: &str, customer_id: &str) -> Event {
        let [cart_id, reason, customer_id] = strings([cart_id, "forgotten", customer_id]);
        Event::Carts(CartAbandoned { cart_id, reason, customer_id }.into())
    }

    #[test]
    fn carts_that_were_given_up_are_counted() {
        let row = row_after(&[
            vec![created("1"), abandoned("1", "VINET")],
            vec![created("2")],
            vec![created("3"), abandoned("3", "VINET")],
        ]);
        assert_eq!(row.carts_abandoned, 2);
    }

    #[test]
    fn a_cart_whose_customer_is_not_known_is_not_counted() {
        let rows = fold_view::<CustomerView>(&[created("1"), abandoned("1", "")]);
        assert_eq!(rows.values().map(|row| row.carts_abandoned).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn reviews_are_counted_and_their_ratings_averaged_as_they_stand() {
        let row = row_after(&[
            vec![review_written("1", "VINET", 5), review_edited("1", "VINET", 5, 2)],
            vec![review_written("2", "VINET", 4), review_withdrawn("2", "VINET", 4)],
            vec![review_written("3", "VINET", 3)],
        ]);
        assert_eq!((row.reviews, row.rating_sum, row.rating_hundredths), (2, 5, Some(250)));
    }

    #[test]
    fn an_average_is_rounded_half_up_and_missing_without_reviews() {
        assert_eq!([hundredths(8, 3), hundredths(9, 8), hundredths(0, 0)], [Some(267), Some(113), None]);
    }
}
