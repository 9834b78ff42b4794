//! Operations on money: each is done once for its key, and answered in the same way again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::behaviour::Behaviour;
use crate::books::{Books, Due, Entry, Outcome};
use crate::http::{Refusal, in_work, key_of, prepare, reused, silence, unknown, unprocessable, unwritten};
use crate::world::World;

pub(crate) type Shared = State<Arc<World>>;

/// An operation on money, done once for each key.
pub(crate) trait Operation: Sized + 'static {
    /// What was done for a key.
    fn of<'b>(books: &'b Books, key: &str) -> Option<&'b Self>;
    /// The line of the ledger that says so.
    fn entry(self) -> Entry;
    /// The outcome.
    fn outcome(&self) -> Outcome;
    /// The money that it is about: an amount in minor units and, where the books know it, its currency.
    fn money(&self) -> Option<(i64, &str)>;
    /// The body of its answer.
    fn body(&self) -> Map<String, Value> {
        let Value::Object(mut body) = json!(self.outcome()) else { return Map::new() };
        if let Some((amount, currency)) = self.money() {
            body.insert("amount".to_owned(), amount.into());
            body.insert("currency".to_owned(), currency.into());
        }
        body
    }
}

/// What became of what a key asked for.
struct Settled {
    declined: bool,
    /// Whether it was done just now.
    new: bool,
    body: Map<String, Value>,
}

impl Settled {
    fn of<D: Operation>(operation: &D, new: bool) -> Self {
        let declined = matches!(operation.outcome(), Outcome::Declined { .. });
        Self { declined, new, body: operation.body() }
    }
}

/// Does what a key asks for unless it was done before, and answers. The same key with something else is refused.
pub(crate) async fn once<D: Operation>(
    world: &Arc<World>,
    key: &str,
    same: impl Fn(&D) -> bool + Send + 'static,
    decide: impl FnOnce(&World, &Books) -> Result<D, Refusal> + Send + 'static,
) -> Result<Response, Refusal> {
    prepare(world, key, |books| D::of(books, key).is_some()).await?;
    let Settled { declined, new, body } = work(world, key, same, decide).await?;
    if new {
        silence(world.behaviour.is_silent_after_charge(key), world).await?;
    }
    let status = match (declined, new) {
        (true, _) => StatusCode::PAYMENT_REQUIRED,
        (_, true) => StatusCode::CREATED,
        (_, false) => StatusCode::OK,
    };
    Ok((status, Json(body)).into_response())
}

/// Settles what a key asks for: at once, or after work that goes on when the caller has gone.
async fn work<D: Operation>(
    world: &Arc<World>,
    key: &str,
    same: impl Fn(&D) -> bool + Send + 'static,
    decide: impl FnOnce(&World, &Books) -> Result<D, Refusal> + Send + 'static,
) -> Result<Settled, Refusal> {
    if !world.behaviour.is_slow(key) || D::of(world.ledger().books(), key).is_some() {
        return settle(world, key, same, decide);
    }
    let under_way = world.claim(key).ok_or_else(in_work)?;
    let (world, key) = (world.clone(), key.to_owned());
    let worked = tokio::spawn(async move {
        tokio::time::sleep(world.behaviour.work).await;
        let settled = settle(&world, &key, same, decide);
        drop(under_way);
        settled
    });
    worked.await.unwrap_or(Err(Refusal::Unanswered))
}

/// What became of what a key asks for.
fn settle<D: Operation>(
    world: &World,
    key: &str,
    same: impl Fn(&D) -> bool,
    decide: impl FnOnce(&World, &Books) -> Result<D, Refusal>,
) -> Result<Settled, Refusal> {
    let mut ledger = world.ledger();
    if let Some(known) = D::of(ledger.books(), key) {
        return if same(known) { Ok(Settled::of(known, false)) } else { Err(reused()) };
    }
    let operation = decide(world, ledger.books())?;
    let settled = Settled::of(&operation, true);
    ledger.append(operation.entry()).map_err(unwritten)?;
    let mut webhook = settled.body.clone();
    webhook.insert("key".to_owned(), key.into());
    world.send_webhook(key, Value::Object(webhook));
    Ok(settled)
}

/// Answers what was done for a key.
pub(crate) async fn done_for<D: Operation>(State(world): Shared, Path(key): Path<String>) -> Response {
    match D::of(world.ledger().books(), &key) {
        Some(operation) => Json(operation.body()).into_response(),
        None => unknown("key-unknown"),
    }
}

/// A call that wants money.
#[derive(Deserialize)]
pub(crate) struct DueBody {
    #[serde(default)]
    key: String,
    #[serde(flatten)]
    due: Due,
}

impl DueBody {
    /// The key, and the money that is wanted.
    pub(crate) fn checked(self, headers: &HeaderMap) -> Result<(String, Due), Refusal> {
        let key = key_of(headers, &self.key)?;
        if self.due.amount < 1 || self.due.currency.len() != 3 {
            let reason = "amount: 1 or more minor units, and a currency of three letters";
            return Err(unprocessable("amount-invalid", reason));
        }
        Ok((key, self.due))
    }
}

/// What becomes of a call that wants money: it is there, or it is not.
pub(crate) fn if_there(behaviour: &Behaviour, key: &str, there: impl FnOnce() -> Outcome) -> Outcome {
    if behaviour.declines(key) { declined("funds-insufficient", "the account is empty") } else { there() }
}

pub(crate) fn declined(code: &str, reason: &str) -> Outcome {
    Outcome::Declined { code: code.to_owned(), reason: reason.to_owned() }
}
