//! Reviews: what customers think of products, one of each customer and product.

mod refusals;
#[cfg(test)]
mod tests;
mod write;

use millrace_schemas::Message;
use millrace_schemas::reviews::{
    Command, EditReview, Event, ReviewEdited, ReviewWithdrawn, ReviewWritten, WithdrawReview,
};
use serde::{Deserialize, Serialize};

use crate::rules::{self, Checked, Text};
use crate::{Context, Emitted, Reference, References, Refusal, Rejection, Streams, emit};

const RATING_MAX: i32 = 5;
const TITLE: Text = Text::new("title", refusals::TITLE_INVALID, 1, 200);
const TEXT: Text = Text::new("text", rules::refusals::TEXT_INVALID, 1, 5_000).of_lines();
const REASON: Text = Text::new("reason", rules::refusals::REASON_INVALID, 1, 500);

/// The context of reviews; a stream is what one customer says of one product, and its id names both.
#[derive(Debug)]
pub struct Reviews;

/// A review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// The product.
    pub product_id: String,
    /// Who wrote it.
    pub customer_id: String,
    /// What it says.
    pub content: Content,
    /// Whether it was taken back, so that another one may be written.
    pub withdrawn: bool,
}

/// What a review says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// 1 to 5.
    pub rating: i32,
    /// In a few words.
    pub title: String,
    /// In many words.
    pub text: String,
}

/// The content that four records spell alike.
macro_rules! content {
    ($record:expr) => {
        Content { rating: $record.rating, title: $record.title.clone(), text: $record.text.clone() }
    };
}
use content;

type Decision = Result<Vec<Emitted<Event>>, Rejection>;

impl Context for Reviews {
    const NAME: &'static str = "reviews";
    const STATE_VERSION: i32 = 1;
    const REFUSALS: &[Refusal] = refusals::ALL;
    type State = Review;
    type Command = Command;
    type Event = Event;
    // No other context refers to a review.
    type Public = ();

    fn streams(command: &Command) -> Vec<String> {
        rules::streams([command.key()])
    }

    fn references(command: &Command) -> Vec<Reference> {
        match command {
            Command::WriteReview(command) => write::references(command),
            Command::EditReview(_) | Command::WithdrawReview(_) => Vec::new(),
        }
    }

    fn decide(streams: &Streams<Review>, references: &References, command: &Command) -> Decision {
        let review = streams.get(command.key());
        match command {
            Command::WriteReview(command) => write::write(review, references, command),
            Command::EditReview(command) => edit(standing(review, &command.review_id)?, command),
            Command::WithdrawReview(command) => withdraw(standing(review, &command.review_id)?, command),
        }
    }

    fn evolve(state: Option<Review>, event: &Event) -> Option<Review> {
        match event {
            Event::ReviewWritten(event) => {
                state.filter(|review| !review.withdrawn).or_else(|| Some(Review::written(event)))
            }
            Event::ReviewEdited(event) => state.map(|review| Review { content: content!(event), ..review }),
            Event::ReviewWithdrawn(_) => state.map(|review| Review { withdrawn: true, ..review }),
        }
    }

    fn public(_state: &Review) {}
}

impl Review {
    fn written(event: &ReviewWritten) -> Self {
        let ReviewWritten { product_id, customer_id, .. } = event.clone();
        Self { product_id, customer_id, content: content!(event), withdrawn: false }
    }
}

impl Content {
    fn check(&self) -> Checked {
        let Self { rating, title, text } = self;
        if !(1..=RATING_MAX).contains(rating) {
            let message = format!("rating is {rating}: send 1 to {RATING_MAX}");
            return Err(refusals::RATING_INVALID.because(message));
        }
        TITLE.check(title)?;
        TEXT.check(text)
    }
}

fn edit(review: &Review, command: &EditReview) -> Decision {
    let content = content!(command);
    content.check()?;
    rules::time("edited_at", command.edited_at)?;
    // The same content again is accepted without an event.
    if review.content == content {
        return Ok(Vec::new());
    }
    let Review { product_id, customer_id, content: Content { rating: previous_rating, .. }, .. } =
        review.clone();
    let EditReview { review_id, rating, title, text, edited_at } = command.clone();
    Ok(vec![emit(ReviewEdited {
        review_id,
        product_id,
        customer_id,
        rating,
        previous_rating,
        title,
        text,
        edited_at,
    })])
}

fn withdraw(review: &Review, command: &WithdrawReview) -> Decision {
    let WithdrawReview { review_id, reason } = command.clone();
    REASON.check(&reason)?;
    let Review { product_id, customer_id, content: Content { rating: previous_rating, .. }, .. } =
        review.clone();
    Ok(vec![emit(ReviewWithdrawn { review_id, product_id, customer_id, previous_rating, reason })])
}

/// A review that was written and not withdrawn.
fn standing<'a>(review: Option<&'a Review>, review_id: &str) -> Result<&'a Review, Rejection> {
    let id = rules::quoted(review_id);
    match review {
        None => Err(refusals::REVIEW_UNKNOWN
            .because(format!("review_id {id} was never written: send WriteReview, or correct the id"))),
        Some(review) if review.withdrawn => Err(refusals::REVIEW_WITHDRAWN
            .because(format!("review_id {id} was withdrawn: send WriteReview to write it again"))),
        Some(review) => Ok(review),
    }
}
