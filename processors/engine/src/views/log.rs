//! Logs: one document for each event. The document has the event's id, so a second copy changes nothing.

use async_trait::async_trait;
use millrace_domain::{Log, Recorded};
use millrace_store::Group;
use serde_json::Value;
use sqlx::PgConnection;

use super::{Shared, intake};
use crate::database::Pool;
use crate::elastic::Document;
use crate::error::WorkError;
use crate::reason::Reason;
use crate::record::Record;
use crate::registry::Registry;
use crate::role::{Folded, Role};
use crate::sequence::Placed;

/// Publishes the documents of one generation of the log `L`.
pub struct LogRole<L> {
    shared: Shared,
    group: Group,
    index: String,
    log: std::marker::PhantomData<fn() -> L>,
}

impl<L: Log> LogRole<L> {
    /// The role that fills a generation of the log.
    pub fn new(shared: Shared, generation: i32) -> Self {
        let group = shared.group(L::NAME, generation);
        let index = shared.namespace.index(L::NAME, generation);
        Self { shared, group, index, log: std::marker::PhantomData }
    }
}

fn document<L: Log>(event: &Recorded, fields: Value) -> Result<Document, WorkError> {
    let body = serde_json::to_string(&L::document(event, fields));
    let body = body.map_err(|error| {
        WorkError::Refused(Reason::because(format_args!("event {} cannot be written", event.id), error))
    })?;
    Ok(Document { id: event.id.clone(), version: event.version, stream: Some(event.stream.clone()), body })
}

/// The documents of a batch's events.
async fn documents<L: Log>(
    registry: &Registry,
    batch: &[&Record],
    events: &[Placed],
) -> Result<Vec<Document>, WorkError> {
    let mut documents = Vec::with_capacity(events.len());
    for (at, event) in events {
        let value = batch.get(*at).and_then(|record| record.value.as_deref());
        let fields = registry.open(value).await?.and_then(|(writer, body)| Ok(writer.fields(body)?));
        documents.push(document::<L>(event, fields.map_err(WorkError::Faulty)?)?);
    }
    Ok(documents)
}

#[async_trait]
impl<L: Log> Role for LogRole<L> {
    fn group(&self) -> &Group {
        &self.group
    }

    fn database(&self) -> &Pool {
        &self.shared.pool
    }

    fn index(&self) -> Option<&str> {
        Some(&self.index)
    }

    async fn fold(&self, _: &mut PgConnection, batch: &[&Record]) -> Result<Folded, WorkError> {
        let Shared { registry, namespace, .. } = &self.shared;
        let (decoded, outcomes) = intake::decode(registry, namespace, batch).await?;
        let documents = documents::<L>(registry, batch, &decoded).await?;
        Ok(Folded { outcomes, documents, ..Folded::default() })
    }

    async fn documents(
        &self,
        connection: &mut PgConnection,
        batch: &[&Record],
    ) -> Result<Vec<Document>, WorkError> {
        let decoded = intake::decode_all(connection, &self.shared, batch).await?;
        documents::<L>(&self.shared.registry, batch, &decoded).await
    }

    fn forget(&self) {}
}
