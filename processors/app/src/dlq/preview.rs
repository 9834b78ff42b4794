//! `millrace dlq redrive --dry-run`: what would follow, tried in a transaction that is rolled back.

use millrace_engine::commands::Identity;
use millrace_engine::retry::Retries;
use millrace_engine::{Fault, Outcome, Record, WorkError};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::layout::Side;
use millrace_ops::schema::Decoder;
use millrace_schemas::short_name;
use millrace_store::outbox::{self, Written};
use millrace_store::{command, dead_letter};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::cli::Which;
use super::desk::{Desk, Setback, Work};
use super::id::Id;
use super::letter::{Letter, hex};
use crate::output::{self, Format, Table};

/// Of a payload that cannot be decoded, this much is shown.
const BYTES_SHOWN: usize = 256;

/// What would follow from redriving a letter.
#[derive(Debug, Default, Serialize)]
struct Preview {
    id: Option<Id>,
    /// `applied`, `duplicate`, `waits`, `fails`, `sent` of a document, or `refused` when it cannot even be tried.
    outcome: &'static str,
    code: Option<String>,
    message: Option<String>,
    /// The command's receipt as it would be.
    receipt: Option<Value>,
    /// What the command would write to the outbox.
    events: Vec<Event>,
    /// Rows and documents as they would be; a tally's sums are not shown.
    rows: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct Event {
    context: String,
    stream: String,
    version: Option<i64>,
    #[serde(rename = "type")]
    type_: String,
    data: Value,
}

/// Shows what would follow for each of the chosen letters by itself.
pub(super) async fn preview(config: &Config, format: Format, which: &Which) -> Result<(), Failure> {
    let desk = Desk::new(config)?;
    let mut decoder = Decoder::new(config)?;
    let mut previews = Vec::new();
    for letter in desk.chosen(which).await? {
        let preview = match tried(&desk, &mut decoder, &letter).await {
            Ok(preview) => preview,
            Err(Setback::Failed(failure)) => return Err(failure),
            Err(Setback::Refused(reason)) => Preview::told("refused", None, reason),
            Err(Setback::Contended) => {
                Preview::told("refused", None, "its key is in use: try again".to_owned())
            }
        };
        previews.push(Preview { id: Some(letter.id), ..preview });
    }
    let text: String = previews.iter().map(Preview::text).collect();
    output::print(format, &text, &serde_json::json!(previews))?;
    verdict(&previews)
}

/// A trial that ends like the record's last one is a failure, and so is one that cannot be made.
fn verdict(previews: &[Preview]) -> Result<(), Failure> {
    match previews.iter().filter(|preview| matches!(preview.outcome, "fails" | "waits" | "refused")).count() {
        0 => Ok(()),
        count => Err(Failure::refused(format!(
            "{count} of {} letters would not have their effect",
            previews.len()
        ))),
    }
}

async fn tried(desk: &Desk<'_>, decoder: &mut Decoder, letter: &Letter) -> Result<Preview, Setback> {
    if letter.status != "dead" {
        return Err(Setback::Refused(format!("it is {} already", letter.status)));
    }
    if letter.is_of_a_document() {
        let row = serde_json::from_str(&desk.document(letter).await?.body).unwrap_or_default();
        return Ok(Preview { outcome: "sent", rows: vec![row], ..Preview::default() });
    }
    let Work { retries, record } = desk.work(letter)?;
    let database = desk.ledgers.side(letter.id.side);
    let fail = |error| Setback::Failed(database.failure(error));
    let mut transaction = database.pool.begin().await.map_err(fail)?;
    // As a redrive does first: a letter that is dead answers for its record.
    dead_letter::mark(&mut transaction, letter.id.row, "redriven").await.map_err(fail)?;
    let mut preview = match outcome(&retries, &mut transaction, &record).await {
        // What is the record's fault shows in an error, too; its transaction is of no more use.
        Err(error) => {
            let Some(Fault { code, message, .. }) = error.fault() else {
                return Err(desk.setback(letter.id.side, error));
            };
            return Ok(Preview::told("fails", Some(code.to_owned()), message));
        }
        Ok(preview) => preview,
    };
    if letter.id.side == Side::Write && preview.outcome == "applied" {
        preview.receipt = receipt(&mut transaction, &record).await.map_err(fail)?;
        let rows = written(&mut transaction, preview.receipt.as_ref()).await.map_err(fail)?;
        preview.events = decoded(decoder, rows).await?;
    }
    transaction.rollback().await.map_err(fail)?;
    Ok(preview)
}

/// Folds the record, and reads back what it changed: a fold itself only tells what is published.
async fn outcome(
    retries: &Retries,
    connection: &mut PgConnection,
    record: &Record,
) -> Result<Preview, WorkError> {
    let outcome = retries.fold(connection, &[record]).await?.outcomes.pop();
    Ok(match outcome {
        Some(Outcome::Applied) => {
            let documents = retries.role.documents(connection, &[record]).await?;
            let row = |body: String| serde_json::from_str(&body).unwrap_or(Value::String(body));
            let rows = documents.into_iter().map(|document| row(document.body)).collect();
            Preview { outcome: "applied", rows, ..Preview::default() }
        }
        Some(Outcome::Waits) => {
            let message = "an earlier record of its key is missing, and is to come first";
            Preview::told("waits", None, message.to_owned())
        }
        Some(Outcome::Failed(Fault { code, message, .. })) => {
            Preview::told("fails", Some(code.to_owned()), message)
        }
        Some(Outcome::Duplicate) | None => {
            Preview::told("duplicate", None, "it had its effect before".to_owned())
        }
    })
}

async fn receipt(connection: &mut PgConnection, record: &Record) -> sqlx::Result<Option<Value>> {
    let Ok(Identity { id, source }) = Identity::of(record) else { return Ok(None) };
    command::receipt(connection, (&source, &id)).await
}

/// What this transaction wrote to the outbox, found by the streams that the receipt names.
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
    fn told(outcome: &'static str, code: Option<String>, message: String) -> Self {
        Self { outcome, code, message: Some(message), ..Self::default() }
    }

    fn text(&self) -> String {
        let mut table = Table::new(&[]);
        let reason =
            [self.code.as_deref(), self.message.as_deref()].into_iter().flatten().collect::<Vec<_>>();
        let id = self.id.map(|id| id.to_string()).unwrap_or_default();
        table.row([id, self.outcome.to_owned(), reason.join(": ")]);
        if let Some(receipt) = &self.receipt {
            let text = |name: &str| receipt.get(name).filter(|value| !value.is_null()).map(Value::to_string);
            let told = ["status", "code", "message", "versions"].into_iter().filter_map(text);
            table.row([String::new(), "receipt".to_owned(), told.collect::<Vec<_>>().join(" ")]);
        }
        for event in &self.events {
            table.row([String::new(), "event".to_owned(), event.text()]);
        }
        for row in &self.rows {
            table.row([String::new(), "row".to_owned(), row.to_string()]);
        }
        table.render()
    }
}

impl Event {
    fn text(&self) -> String {
        let Self { context, stream, version, type_, data } = self;
        let version = version.map(|version| format!(" version {version}")).unwrap_or_default();
        format!("{context}/{stream}{version} {} {data}", short_name(type_))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_would_follow_is_shown_below_the_letter() {
        let event = Event {
            context: "orders".to_owned(),
            stream: "10248".to_owned(),
            version: Some(1),
            type_: "millrace.orders.OrderPlaced".to_owned(),
            data: json!({"total": 1}),
        };
        let receipt = Some(json!({"status": "completed", "code": null, "versions": {"10248": 1}}));
        let preview = Preview {
            id: "w12".parse().ok(),
            outcome: "applied",
            receipt,
            events: vec![event],
            rows: vec![json!({"order_id": "10248"})],
            ..Preview::default()
        };
        let expected = [
            "w12  applied",
            "     receipt  \"completed\" {\"10248\":1}",
            "     event    orders/10248 version 1 OrderPlaced {\"total\":1}",
            "     row      {\"order_id\":\"10248\"}",
        ];
        assert_eq!(preview.text().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_failure_says_its_code_and_reason_and_is_one() {
        let preview = Preview::told("fails", Some("too-large".to_owned()), "2 MB".to_owned());
        assert_eq!(preview.text().trim(), "fails  too-large: 2 MB");
        let applied = Preview { outcome: "applied", ..Preview::default() };
        assert!(verdict(&[Preview { outcome: "applied", ..Preview::default() }]).is_ok());
        let message = verdict(&[applied, preview]).unwrap_err().to_string();
        assert_eq!(message, "1 of 2 letters would not have their effect");
    }
}
