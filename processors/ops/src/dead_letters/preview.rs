//! Dry runs of redrives, in transactions that are rolled back.

use millrace_engine::commands::Identity;
use millrace_engine::retry::Retries;
use millrace_engine::{Fault, Outcome as Folded, Record, WorkError};
use millrace_store::outbox::{self, Written};
use millrace_store::{command, dead_letter};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::id::Id;
use super::letter::{Letter, hex};
use super::work::{Choice, DeadLetters, LetterError, Work};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::listener::Listener;
use crate::schema::Decoder;

/// Bytes that are shown of a payload that cannot be decoded.
const BYTES_SHOWN: usize = 256;

/// The result of a dry run.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RedrivePreview")]
pub struct Preview {
    /// The letter.
    pub id: Id,
    /// The outcome.
    pub outcome: Outcome,
    /// The error code, if it would fail.
    pub code: Option<String>,
    /// Why it would fail, would wait or cannot be tried.
    pub message: Option<String>,
    /// The receipt that the command would have.
    pub receipt: Option<Value>,
    /// The rows that the command would write to the outbox.
    pub events: Vec<Event>,
    /// The resulting rows and documents; sums of tallies are not shown.
    pub rows: Vec<Value>,
}

/// The outcome of a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "RedriveOutcome")]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Its record would have its effect.
    Applied,
    /// Its record had its effect before.
    Duplicate,
    /// Its record would wait for an earlier one of its key.
    Waits,
    /// Its record would fail again.
    Fails,
    /// Its document would be sent.
    Sent,
    /// It cannot be tried.
    Refused,
}

impl Outcome {
    /// The text in the output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Duplicate => "duplicate",
            Self::Waits => "waits",
            Self::Fails => "fails",
            Self::Sent => "sent",
            Self::Refused => "refused",
        }
    }

    /// Whether the letter would be settled.
    pub fn settles(self) -> bool {
        !matches!(self, Self::Waits | Self::Fails | Self::Refused)
    }
}

/// A row that a command would write to the outbox.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RedriveRecord")]
pub struct Event {
    /// The context.
    pub context: String,
    /// The stream.
    pub stream: String,
    /// Its version; `None` for a rejection.
    pub version: Option<i64>,
    /// The full name of its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Its fields; its first bytes in hexadecimal when they cannot be decoded.
    pub data: Value,
}

/// Tries each of the chosen letters separately. Changes nothing.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such letter; when a component does not answer.
pub async fn preview(
    config: &Config,
    choice: &Choice,
    listener: &dyn Listener,
) -> Result<Vec<Preview>, Failure> {
    let letters = DeadLetters::new(config)?;
    let mut decoder = Decoder::new(config)?;
    let mut previews = Vec::new();
    for letter in letters.chosen(choice, listener).await? {
        previews.push(match tried(&letters, &mut decoder, &letter).await {
            Ok(preview) => preview,
            Err(LetterError::Failed(failure)) => return Err(failure),
            Err(LetterError::Refused(reason)) => Preview::of(letter.id, Outcome::Refused).because(reason),
            Err(LetterError::Contended) => {
                Preview::of(letter.id, Outcome::Refused).because("its key is in use: try again".to_owned())
            }
        });
    }
    Ok(previews)
}

async fn tried(
    letters: &DeadLetters<'_>,
    decoder: &mut Decoder,
    letter: &Letter,
) -> Result<Preview, LetterError> {
    if letter.status != "dead" {
        return Err(LetterError::Refused(format!("it is {} already", letter.status)));
    }
    if letter.is_of_a_document() {
        let row = serde_json::from_str(&letters.document(letter).await?.body).unwrap_or_default();
        return Ok(Preview { rows: vec![row], ..Preview::of(letter.id, Outcome::Sent) });
    }
    let Work { retries, record } = letters.work(letter)?;
    let database = letters.tables.side(letter.id.side);
    let fail = |error| LetterError::Failed(database.failure(error));
    let mut transaction = database.pool.begin().await.map_err(fail)?;
    // As in a redrive: the record of an open letter would be skipped.
    dead_letter::mark(&mut transaction, letter.id.row, "redriven").await.map_err(fail)?;
    let mut preview = match outcome(&retries, &mut transaction, (letter.id, &record)).await {
        // An error may also be a fault of the record; then the transaction cannot be used any more.
        Err(error) => {
            let Some(fault) = error.fault() else {
                return Err(letters.letter_error(letter.id.side, error));
            };
            return Ok(Preview::failing(letter.id, fault));
        }
        Ok(preview) => preview,
    };
    if letter.id.side == Side::Write && preview.outcome == Outcome::Applied {
        preview.receipt = receipt(&mut transaction, &record).await.map_err(fail)?;
        let rows = written(&mut transaction, preview.receipt.as_ref()).await.map_err(fail)?;
        preview.events = decoded(decoder, rows).await?;
    }
    transaction.rollback().await.map_err(fail)?;
    Ok(preview)
}

/// Folds the record and reads what it has changed: the fold returns only documents.
async fn outcome(
    retries: &Retries,
    connection: &mut PgConnection,
    (id, record): (Id, &Record),
) -> Result<Preview, WorkError> {
    let outcome = retries.fold(connection, &[record], None).await?.outcomes.pop();
    Ok(match outcome {
        Some(Folded::Applied) => {
            let documents = retries.role.documents(connection, &[record]).await?;
            let row = |body: String| serde_json::from_str(&body).unwrap_or(Value::String(body));
            let rows = documents.into_iter().map(|document| row(document.body)).collect();
            Preview { rows, ..Preview::of(id, Outcome::Applied) }
        }
        Some(Folded::Waits) => {
            let reason = "an earlier record of its key is missing, and is to come first";
            Preview::of(id, Outcome::Waits).because(reason.to_owned())
        }
        Some(Folded::Failed(fault)) => Preview::failing(id, fault),
        Some(Folded::Duplicate) | None => {
            Preview::of(id, Outcome::Duplicate).because("it had its effect before".to_owned())
        }
    })
}

async fn receipt(connection: &mut PgConnection, record: &Record) -> sqlx::Result<Option<Value>> {
    let Ok(Identity { id, source }) = Identity::of(record) else { return Ok(None) };
    command::receipt(connection, (&source, &id)).await
}

/// The rows that this transaction has written to the outbox, found by the streams in the receipt.
async fn written(connection: &mut PgConnection, receipt: Option<&Value>) -> sqlx::Result<Vec<Written>> {
    let text = |name: &str| receipt.and_then(|receipt| receipt.get(name)).and_then(Value::as_str);
    let versions = receipt.and_then(|receipt| receipt.get("versions")).and_then(Value::as_object);
    let streams = versions.into_iter().flat_map(|versions| versions.keys().map(String::as_str));
    let streams = streams.chain(text("stream")).collect();
    outbox::written_now(connection, (text("context"), streams), text("id")).await
}

async fn decoded(decoder: &mut Decoder, rows: Vec<Written>) -> Result<Vec<Event>, Failure> {
    let mut events = Vec::new();
    for (context, stream, version, type_, payload) in rows {
        let data = decoder.json(&payload).await?;
        let data = data.unwrap_or_else(|_| Value::String(hex(&payload, BYTES_SHOWN)));
        events.push(Event { context, stream, version, type_, data });
    }
    Ok(events)
}

impl Preview {
    fn of(id: Id, outcome: Outcome) -> Self {
        let (code, message, receipt) = (None, None, None);
        Self { id, outcome, code, message, receipt, events: Vec::new(), rows: Vec::new() }
    }

    fn because(self, message: String) -> Self {
        Self { message: Some(message), ..self }
    }

    fn failing(id: Id, Fault { code, message, .. }: Fault) -> Self {
        Self { code: Some(code.to_owned()), ..Self::of(id, Outcome::Fails).because(message) }
    }
}
