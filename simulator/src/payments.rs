//! The payment provider: money over HTTP, moved once for each key.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::Utc;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use crate::behaviour::Behaviour;
use crate::books::{Authorisation, Books, Charge, Due, Entry, Outcome, Refund, Release, Totals};
use crate::holds::{authorise, capture, release};
use crate::http::{
    Refusal, connection, in_work, key_of, prepare, reused, silence, unknown, unprocessable, unwritten,
};
use crate::serve::accept;
use crate::world::World;

const BODY_BYTES_MAX: usize = 16 << 10;

pub(crate) type Shared = State<Arc<World>>;

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, world: Arc<World>, stop: CancellationToken) {
    let router = Router::new()
        .route("/authorisations", post(authorise))
        .route("/authorisations/{key}", get(done_for::<Authorisation>))
        .route("/captures", post(capture))
        .route("/captures/{key}", get(done_for::<Charge>))
        .route("/releases", post(release))
        .route("/releases/{key}", get(done_for::<Release>))
        .route("/charges", post(charge))
        .route("/charges/{key}", get(done_for::<Charge>))
        .route("/refunds", post(refund))
        .route("/refunds/{key}", get(done_for::<Refund>))
        .route("/ledger", get(ledger))
        .route("/ledger/totals", get(totals))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(world);
    accept(listener, stop, |stream| connection(stream, router.clone())).await;
}

/// Something that is done with money, once for each key.
pub(crate) trait Deed: Sized + 'static {
    /// What was done for a key.
    fn of<'b>(books: &'b Books, key: &str) -> Option<&'b Self>;
    /// The line of the ledger that says so.
    fn entry(self) -> Entry;
    /// What became of it.
    fn outcome(&self) -> Outcome;
    /// The money that it is about: an amount in minor units and, where the books know it, its currency.
    fn money(&self) -> Option<(i64, &str)>;
    /// What the caller is told of it.
    fn told(&self) -> Map<String, Value> {
        let Value::Object(mut told) = json!(self.outcome()) else { return Map::new() };
        if let Some((amount, currency)) = self.money() {
            told.insert("amount".to_owned(), amount.into());
            told.insert("currency".to_owned(), currency.into());
        }
        told
    }
}

impl Deed for Charge {
    fn of<'b>(books: &'b Books, key: &str) -> Option<&'b Self> {
        books.charge(key)
    }

    fn entry(self) -> Entry {
        Entry::Charge(self)
    }

    fn outcome(&self) -> Outcome {
        self.outcome.clone()
    }

    fn money(&self) -> Option<(i64, &str)> {
        Some((self.due.amount, &self.due.currency))
    }
}

impl Deed for Refund {
    fn of<'b>(books: &'b Books, key: &str) -> Option<&'b Self> {
        books.refund(key)
    }

    fn entry(self) -> Entry {
        Entry::Refund(self)
    }

    fn outcome(&self) -> Outcome {
        Outcome::Refunded { reference: self.reference.clone() }
    }

    fn money(&self) -> Option<(i64, &str)> {
        Some((self.amount, &self.currency))
    }
}

/// What became of what a key asked for.
struct Settled {
    declined: bool,
    /// Whether it was done just now.
    new: bool,
    told: Map<String, Value>,
}

impl Settled {
    fn of<D: Deed>(deed: &D, new: bool) -> Self {
        let declined = matches!(deed.outcome(), Outcome::Declined { .. });
        Self { declined, new, told: deed.told() }
    }
}

/// Does what a key asks for unless it was done before, and answers. The same key with something else is refused.
pub(crate) async fn once<D: Deed>(
    world: &Arc<World>,
    key: &str,
    same: impl Fn(&D) -> bool + Send + 'static,
    decide: impl FnOnce(&World, &Books) -> Result<D, Refusal> + Send + 'static,
) -> Result<Response, Refusal> {
    prepare(world, key, |books| D::of(books, key).is_some()).await?;
    let Settled { declined, new, told } = work(world, key, same, decide).await?;
    if new {
        silence(world.behaviour.is_silent_after_charge(key), world).await?;
    }
    let status = match (declined, new) {
        (true, _) => StatusCode::PAYMENT_REQUIRED,
        (_, true) => StatusCode::CREATED,
        (_, false) => StatusCode::OK,
    };
    Ok((status, Json(told)).into_response())
}

/// Settles what a key asks for: at once, or after work that goes on when the caller has gone.
async fn work<D: Deed>(
    world: &Arc<World>,
    key: &str,
    same: impl Fn(&D) -> bool + Send + 'static,
    decide: impl FnOnce(&World, &Books) -> Result<D, Refusal> + Send + 'static,
) -> Result<Settled, Refusal> {
    if !world.behaviour.is_slow(key) || D::of(world.ledger().books(), key).is_some() {
        return settle(world, key, same, decide);
    }
    let under_way = world.take_up(key).ok_or_else(in_work)?;
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
fn settle<D: Deed>(
    world: &World,
    key: &str,
    same: impl Fn(&D) -> bool,
    decide: impl FnOnce(&World, &Books) -> Result<D, Refusal>,
) -> Result<Settled, Refusal> {
    let mut ledger = world.ledger();
    if let Some(known) = D::of(ledger.books(), key) {
        return if same(known) { Ok(Settled::of(known, false)) } else { Err(reused()) };
    }
    let deed = decide(world, ledger.books())?;
    let settled = Settled::of(&deed, true);
    ledger.append(deed.entry()).map_err(unwritten)?;
    let mut word = settled.told.clone();
    word.insert("key".to_owned(), key.into());
    world.tell(key, Value::Object(word));
    Ok(settled)
}

/// Tells what was done for a key.
async fn done_for<D: Deed>(State(world): Shared, Path(key): Path<String>) -> Response {
    match D::of(world.ledger().books(), &key) {
        Some(deed) => Json(deed.told()).into_response(),
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

async fn charge(
    State(world): Shared,
    headers: HeaderMap,
    Json(body): Json<DueBody>,
) -> Result<Response, Refusal> {
    let (key, due) = body.checked(&headers)?;
    let (wanted, named) = (due.clone(), key.clone());
    let decide = move |world: &World, _: &Books| {
        let captured = || Outcome::Captured { reference: world.behaviour.reference("charge", &named) };
        let outcome = if_there(&world.behaviour, &named, captured);
        Ok(Charge { key: named, due, authorisation: None, outcome, at: Utc::now() })
    };
    once(&world, &key, move |known: &Charge| known.due == wanted, decide).await
}

#[derive(Deserialize)]
struct RefundBody {
    #[serde(default)]
    key: String,
    charge: String,
    amount: i64,
}

/// All refunds of a charge are at most the charge.
async fn refund(
    State(world): Shared,
    headers: HeaderMap,
    Json(body): Json<RefundBody>,
) -> Result<Response, Refusal> {
    let key = key_of(&headers, &body.key)?;
    let RefundBody { charge, amount, .. } = body;
    let (of, named) = (charge.clone(), key.clone());
    let same = move |known: &Refund| (known.amount, &known.charge) == (amount, &of);
    let decide = move |world: &World, books: &Books| {
        let Some(captured) = books.captured(&charge).cloned() else {
            return Err(unprocessable("charge-unknown", "charge: no captured charge has this reference"));
        };
        if !(1..=captured.left).contains(&amount) {
            let reason = format!("amount: {amount} is not between 1 and {}, what is left", captured.left);
            return Err(unprocessable("refund-exceeds-charge", reason));
        }
        let reference = world.behaviour.reference("refund", &named);
        let currency = captured.currency;
        Ok(Refund { key: named, charge, amount, currency, reference, at: Utc::now() })
    };
    once(&world, &key, same, decide).await
}

async fn ledger(State(world): Shared) -> Result<Response, Refusal> {
    let (path, length) = world.ledger().written();
    let file = tokio::fs::File::open(path).await.map_err(unwritten)?;
    let lines = Body::from_stream(ReaderStream::new(file.take(length)));
    Ok(([("content-type", "application/x-ndjson")], lines).into_response())
}

async fn totals(State(world): Shared) -> Json<Totals> {
    Json(world.ledger().books().totals().clone())
}
