//! Documents that Elasticsearch refused: their current versions are sent again.

use millrace_engine::{Document, Record, Role};
use millrace_store::outbox::Span;
use sqlx::PgConnection;

use super::letter::Letter;
use super::work::{DeadLetters, LetterError};
use crate::layout::Side;
use crate::outbox;

impl DeadLetters<'_> {
    /// Sends the document of a letter. A newer version in the index stays.
    pub(super) async fn publish(&self, letter: &Letter) -> Result<(), LetterError> {
        let (index, document) = self.found(letter).await?;
        let sent = self.roles.elastic().bulk(&index, &[document]).await;
        match sent.map_err(|error| self.letter_error(Side::Read, error))?.pop() {
            None => Ok(()),
            Some(again) => {
                Err(LetterError::Refused(format!("Elasticsearch refuses it again: {}", again.reason)))
            }
        }
    }

    /// The current document of a letter.
    pub(super) async fn document(&self, letter: &Letter) -> Result<Document, LetterError> {
        self.found(letter).await.map(|(_, document)| document)
    }

    /// The index, and the document.
    async fn found(&self, letter: &Letter) -> Result<(String, Document), LetterError> {
        let role = self.retries(letter).map_err(LetterError::Refused)?.role;
        let index = role.index().map(str::to_owned);
        let index = index.ok_or_else(|| {
            LetterError::Refused(format!(
                "{} is not published (`elasticsearch.publish` is false)",
                letter.group
            ))
        })?;
        let read = self.tables.side(Side::Read);
        let connection = read.pool.acquire().await.map_err(|error| LetterError::Failed(read.failure(error)));
        let document = self.as_now(letter, &*role, &mut *connection?).await?;
        let missing = || {
            let way_on = "discard the letter; `millrace verify --repair` sends documents that are missing";
            LetterError::Refused(format!("its row or event is not there: {way_on}"))
        };
        document.map(|document| (index, document)).ok_or_else(missing)
    }

    /// The current document: of the row, or for a log of the event in the outbox.
    async fn as_now(
        &self,
        letter: &Letter,
        role: &dyn Role,
        connection: &mut PgConnection,
    ) -> Result<Option<Document>, LetterError> {
        let fail = |error| self.letter_error(Side::Read, error);
        let id = letter.key.as_deref().unwrap_or_default();
        let documents = match self.event(letter).await? {
            Some(event) => role.documents(connection, &[&event]).await.map_err(fail)?,
            None => role.documents_of(connection, &[id]).await.map_err(fail)?,
        };
        Ok(documents.into_iter().find(|document| document.id == id))
    }

    async fn event(&self, letter: &Letter) -> Result<Option<Record>, LetterError> {
        let (Some(stream), Some(version)) = (&letter.stream, letter.version) else { return Ok(None) };
        let namespace = &self.config.namespace;
        let Some(context) = namespace.event_context(&letter.topic) else { return Ok(None) };
        let span =
            Span { context: context.to_owned(), stream: stream.clone(), above: version - 1, upto: version };
        let write = self.tables.side(Side::Write);
        let events = outbox::events(&write.pool, namespace, &[span]).await;
        let events = events.map_err(|error| LetterError::Failed(write.failure(error)))?;
        Ok(events.into_iter().next().map(|event| event.record))
    }
}
